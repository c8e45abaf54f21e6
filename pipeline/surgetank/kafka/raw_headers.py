"""Produces records whose header names are any bytes, which the ordinary client refuses to make, through the C API."""

import ctypes
from collections.abc import Sequence

from confluent_kafka import Producer

from surgetank.kafka.columnar.library import COPY, LIBRARY, raise_for_error
from surgetank.kafka.columnar.producer import handle

# rd_kafka_vtype_t
_TOPIC, _PARTITION, _VALUE, _KEY, _FLAGS, _TIMESTAMP, _HEADER = 1, 3, 4, 5, 7, 8, 9


class _Content(ctypes.Union):
    _fields_ = [
        ("text", ctypes.c_char_p),
        ("number", ctypes.c_int32),
        ("long", ctypes.c_int64),
        ("memory", ctypes.c_void_p * 3),
        ("padding", ctypes.c_char * 64),
    ]


class _Variant(ctypes.Structure):
    """``rd_kafka_vu_t``."""

    _fields_ = [("kind", ctypes.c_int), ("content", _Content)]


def produce_with_headers(
    producer: Producer,
    client_id: str,
    topic: str,
    partition: int,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[bytes, bytes | None]],
    time_ms: int,
) -> None:
    """Append a record to the queue of a producer with this client id; there is no delivery report.

    Names of headers have no zero byte. Raises KafkaException if librdkafka refuses the record, LibraryUnavailableError
    if the producer's C handle is not where it is expected.
    """
    given = (_Variant * (6 + len(headers)))()
    kept: list[object] = []  # memory that the call reads

    def memory(content: bytes | None) -> tuple[int | None, int]:
        if content is None:
            return None, 0
        kept.append(buffer := ctypes.create_string_buffer(content))
        return ctypes.addressof(buffer), len(content)

    given[0].kind, given[0].content.text = _TOPIC, topic.encode()
    given[1].kind, given[1].content.number = _PARTITION, partition
    given[2].kind, given[2].content.memory[:2] = _VALUE, memory(value)
    given[3].kind, given[3].content.memory[:2] = _KEY, memory(key)
    given[4].kind, given[4].content.number = _FLAGS, COPY
    given[5].kind, given[5].content.long = _TIMESTAMP, time_ms
    for variant, (name, content) in zip(given[6:], headers, strict=True):
        variant.kind, variant.content.memory[:] = _HEADER, (memory(name)[0], *memory(content))
    raise_for_error(_produceva()(handle(producer, client_id), given, len(given)))


def _produceva() -> "ctypes._FuncPointer":
    call = LIBRARY.rd_kafka_produceva
    call.restype, call.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    return call
