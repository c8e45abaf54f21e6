"""Appends whole batches to the queue of a confluent-kafka producer by a compiled loop.

confluent-kafka owns the producer and makes the transactional calls; this module only uses its C handle. The position of
the handle in the Python object, the first field, is not a public interface: it is checked before its first use, and a
contract test covers it.
"""

import ctypes
import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import Producer
from numba import int32, int64, types

from surgetank.compiled import compiled
from surgetank.kafka.columnar.library import (
    CONF_OK,
    COPY,
    LIBRARY,
    LibraryUnavailableError,
    kafka_error,
    last_error,
    produce,
)
from surgetank.kafka.columnar.plain import PlainProducer
from surgetank.kafka.columnar.results import Appended
from surgetank.records import Int32s, Int64s, OutputRecords

_HANDLE_AT = object.__basicsize__  # after the header of every Python object
_STRUCT_BYTES = 4096  # less than the size of rd_kafka_t
_ERROR_TEXT_BYTES = 512
_EMPTY = np.zeros(1, dtype=np.uint8)  # address of a value without bytes: a null pointer would mean a null value
_NO_NULLS = np.zeros(0, dtype=np.uint8)
_INT64S = types.Array(int64, 1, "C", readonly=True)
_tuple_of: Any = types.UniTuple
_BITMAP = types.Array(types.uint8, 1, "C", readonly=True)


class ColumnarProducer:
    """Implements ``interface.BatchProducer`` for a producer with this client id.

    ``topics`` get librdkafka's topic options ``topic_options``, also for records that the producer itself sends; it
    must not have sent any to them. Raises LibraryUnavailableError if the producer's C handle is not where it is
    expected, or librdkafka rejects an option.
    """

    def __init__(
        self,
        producer: Producer,
        client_id: str,
        topics: Collection[str] = (),
        topic_options: Mapping[str, str] | None = None,
    ) -> None:
        self._producer = producer  # keeps the handle alive
        self._handle = handle(producer, client_id)
        self._plain = PlainProducer(producer)
        for topic in topics:
            _open(self._handle, topic, topic_options or {})

    def append(self, records: OutputRecords, first: int = 0) -> Appended:
        """See ``BatchProducer``. The few records with headers go through the ordinary client."""
        if records.headers is not None:
            return self._plain.append(records, first)
        topic = LIBRARY.rd_kafka_topic_new(self._handle, records.topic.encode(), None)
        if topic is None:
            return Appended(first, kafka_error(LIBRARY.rd_kafka_last_error()))
        try:
            next_row, code = _append(
                topic, records.partitions, *_parts(records.values), *_parts(records.keys), first, len(records)
            )
        finally:
            LIBRARY.rd_kafka_topic_destroy(topic)
        return Appended(next_row, kafka_error(code) if code else None)


def _open(client: int, topic: str, options: Mapping[str, str]) -> None:
    """Create a topic's handle, which librdkafka keeps until the client ends, with options besides the client's own."""
    text = ctypes.create_string_buffer(_ERROR_TEXT_BYTES)
    conf = LIBRARY.rd_kafka_default_topic_conf_dup(client)
    for name, value in options.items():
        if LIBRARY.rd_kafka_topic_conf_set(conf, name.encode(), value.encode(), text, len(text)) != CONF_OK:
            LIBRARY.rd_kafka_topic_conf_destroy(conf)
            raise LibraryUnavailableError(f"librdkafka refuses an option: {text.value.decode(errors='replace')}")
    opened = LIBRARY.rd_kafka_topic_new(client, topic.encode(), conf)  # owns the options, also where it fails
    if opened is None:
        raise LibraryUnavailableError(f"librdkafka refuses {topic}: {kafka_error(LIBRARY.rd_kafka_last_error()).str()}")
    LIBRARY.rd_kafka_topic_destroy(opened)


def handle(producer: Producer, client_id: str) -> int:
    """Return the address of a producer's ``rd_kafka_t``.

    Raises LibraryUnavailableError unless the name found there is that of a producer with this client id. Memory is read
    through the operating system, so that a wrong address raises too.
    """
    found = ctypes.c_int64.from_address(id(producer) + _HANDLE_AT).value
    expected = f"{client_id}#producer-".encode()
    try:
        if (
            found % 8 == 0
            and _memory(found, _STRUCT_BYTES)
            and _memory(LIBRARY.rd_kafka_name(found), len(expected)) == expected
        ):
            return found
    except OSError:
        pass
    raise LibraryUnavailableError("the C handle of confluent_kafka.Producer is not where it was")


def _memory(address: int, size: int) -> bytes:
    """Return bytes of this process's memory. Raises OSError if the address is not mapped, or if not on Linux."""
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    try:
        return os.pread(memory, size, address)
    finally:
        os.close(memory)


def _parts(column: pa.LargeBinaryArray) -> tuple[int, Int64s, npt.NDArray[np.uint8], int]:
    """Return the data address, offsets int64 [n + 1], validity bitmap (empty: no nulls) and its first bit."""
    validity, offsets, data = column.buffers()
    n, at = len(column), column.offset
    ends = np.frombuffer(offsets, np.int64, n + 1, 8 * at) if n else np.zeros(1, dtype=np.int64)
    bitmap = np.frombuffer(validity, np.uint8) if column.null_count else _NO_NULLS
    address = data.address if data is not None and data.size else _EMPTY.ctypes.data
    return address, ends, bitmap, at


@compiled()
def _is_null(bitmap: npt.NDArray[np.uint8], bit: int) -> bool:
    return len(bitmap) > 0 and (bitmap[bit >> 3] >> (bit & 7)) & 1 == 0


@compiled(
    _tuple_of(int64, 2)(
        int64,
        types.Array(int32, 1, "C", readonly=True),
        *(int64, _INT64S, _BITMAP, int64),
        *(int64, _INT64S, _BITMAP, int64),
        int64,
        int64,
    )
)
def _append(
    topic: int,
    partitions: Int32s,
    values: int,
    value_ends: Int64s,
    value_validity: npt.NDArray[np.uint8],
    value_bit: int,
    keys: int,
    key_ends: Int64s,
    key_validity: npt.NDArray[np.uint8],
    key_bit: int,
    first: int,
    n: int,
) -> tuple[int, int]:
    """Produce rows [first, n) in order. Returns the first rejected row and the error code, or n and 0."""
    for row in range(first, n):
        value, value_length = values + value_ends[row], value_ends[row + 1] - value_ends[row]
        if _is_null(value_validity, value_bit + row):
            value, value_length = 0, 0
        key, key_length = keys + key_ends[row], key_ends[row + 1] - key_ends[row]
        if _is_null(key_validity, key_bit + row):
            key, key_length = 0, 0
        if produce(topic, partitions[row], COPY, value, value_length, key, key_length, 0) != 0:
            return row, last_error()
    return n, 0
