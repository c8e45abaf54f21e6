"""The values that are read from Kafka and written to it: contiguous columns, not one object per record.

Keys and values are ``pyarrow.LargeBinaryArray``: int64 offsets into one buffer, a validity bitmap where a value is
null. A null is not an empty value.
"""

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import KafkaError

from pipeline.batch import Headers, Source

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
_LENGTH = struct.Struct("<i")  # of a header's name, or of its value; -1: the value is null


@dataclass(frozen=True, slots=True)
class PartitionRecords:
    """Records of one source partition in offset order, n of them.

    ``next_offset`` is the position behind the records and behind whatever transaction markers and gaps are known to
    follow them. n may be 0: then only ``next_offset`` matters. ``offsets`` is int64 [n]; ``timestamps_ms`` is
    int64 [n], milliseconds since the epoch, -1 where a record has none; ``keys`` and ``values`` have n entries.
    ``headers`` is None where no record has any, else n entries as ``encode_headers`` makes them, null for no headers.
    """

    source: Source
    next_offset: int
    offsets: Int64s
    timestamps_ms: Int64s
    keys: pa.LargeBinaryArray
    values: pa.LargeBinaryArray
    headers: pa.LargeBinaryArray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.offsets)

    def headers_of(self, row: int) -> Headers:
        """Return the headers of one record."""
        encoded = None if self.headers is None else self.headers[row].as_py()
        return () if encoded is None else decode_headers(encoded)


class PartitionError(NamedTuple):
    """An error of reading a source. The partition is -1, and the topic may be empty, where it is of none."""

    source: Source
    error: KafkaError


class Polled(NamedTuple):
    """What one poll returned: at most one entry per source in ``records``."""

    records: list[PartitionRecords]
    errors: list[PartitionError]
    rows: int


@dataclass(frozen=True, slots=True)
class ProducerRecords:
    """Records for one topic, n of them: ``partitions`` int32 [n], ``keys`` and ``values`` with n entries.

    ``headers`` is None where no record has any, else n entries as ``encode_headers`` makes them, null for no headers.
    """

    topic: str
    partitions: Int32s
    keys: pa.LargeBinaryArray
    values: pa.LargeBinaryArray
    headers: pa.LargeBinaryArray | None = None

    def __len__(self) -> int:
        return len(self.partitions)

    def slice(self, start: int, stop: int) -> "ProducerRecords":
        """Return rows [start, stop) without copying."""
        return ProducerRecords(
            self.topic,
            self.partitions[start:stop],
            self.keys.slice(start, stop - start),
            self.values.slice(start, stop - start),
            None if self.headers is None else self.headers.slice(start, stop - start),
        )


class Appended(NamedTuple):
    """How far a batch got into a producer's queue: rows before ``next_row`` are in it.

    ``error`` is why the row ``next_row`` is not; None if all are. ``KafkaError._QUEUE_FULL`` asks to serve delivery
    reports and to go on from that row.
    """

    next_row: int
    error: KafkaError | None


def encode_headers(headers: Headers) -> bytes:
    """Return headers as bytes: of each the length of its name, the name, the length of its value, the value.

    Lengths are little-endian int32; that of a null value is -1. Names are UTF-8; bytes that are not are kept
    (``surrogateescape``).
    """
    parts = []
    for name, value in headers:
        raw = name.encode(errors="surrogateescape")
        parts += [_LENGTH.pack(len(raw)), raw, _LENGTH.pack(-1 if value is None else len(value)), value or b""]
    return b"".join(parts)


def decode_headers(encoded: bytes) -> list[tuple[str, bytes | None]]:
    """Return the headers that ``encode_headers``, or the compiled loop, wrote."""
    headers: list[tuple[str, bytes | None]] = []
    at = 0
    while at < len(encoded):
        (length,) = _LENGTH.unpack_from(encoded, at)
        at += 4
        name = encoded[at : at + length].decode(errors="surrogateescape")
        at += length
        (length,) = _LENGTH.unpack_from(encoded, at)
        at += 4
        headers.append((name, None if length < 0 else encoded[at : at + length]))
        at += max(length, 0)
    return headers
