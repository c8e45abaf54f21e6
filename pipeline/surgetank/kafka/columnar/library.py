"""Finds librdkafka inside the installed confluent-kafka and declares its functions for ctypes and compiled loops.

Only the public C API is used. A symbol lookup in the extension module also searches the libraries that the module is
linked with, so the location of the library inside the wheel does not matter.

Compiled loops call the functions by symbol names with the prefix ``SYMBOL_PREFIX``. The names are registered with the
compiler's linker when this module is imported, so that compiled code cached on disk finds them too.
"""

import ctypes
from ctypes import c_char_p, c_int, c_int32, c_int64, c_size_t, c_ssize_t, c_void_p
from typing import Any

import confluent_kafka
import numpy as np
from confluent_kafka import KafkaError, KafkaException, cimpl
from llvmlite import binding
from numba import int32, int64, types, void

SYMBOL_PREFIX = "surgetank_"
PRODUCER, CONSUMER = 0, 1  # rd_kafka_type_t
COPY = 0x2  # RD_KAFKA_MSG_F_COPY
CONF_OK = 0  # rd_kafka_conf_res_t

# rd_kafka_message_t. Pointers and size_t are read as int64.
MESSAGE = np.dtype(
    [
        ("error", np.int32),
        ("topic", np.int64),
        ("partition", np.int32),
        ("value", np.int64),
        ("value_length", np.int64),
        ("key", np.int64),
        ("key_length", np.int64),
        ("offset", np.int64),
        ("private", np.int64),
    ],
    align=True,
)
MESSAGE_BYTES = MESSAGE.itemsize

_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "rd_kafka_version_str": (c_char_p, []),
    "rd_kafka_err2str": (c_char_p, [c_int]),
    "rd_kafka_last_error": (c_int, []),
    "rd_kafka_error_code": (c_int, [c_void_p]),
    "rd_kafka_error_string": (c_char_p, [c_void_p]),
    "rd_kafka_error_is_fatal": (c_int, [c_void_p]),
    "rd_kafka_error_is_retriable": (c_int, [c_void_p]),
    "rd_kafka_error_destroy": (None, [c_void_p]),
    "rd_kafka_conf_new": (c_void_p, []),
    "rd_kafka_conf_set": (c_int, [c_void_p, c_char_p, c_char_p, c_char_p, c_size_t]),
    "rd_kafka_conf_destroy": (None, [c_void_p]),
    "rd_kafka_new": (c_void_p, [c_int, c_void_p, c_char_p, c_size_t]),
    "rd_kafka_name": (c_void_p, [c_void_p]),
    "rd_kafka_destroy": (None, [c_void_p]),
    "rd_kafka_poll_set_consumer": (c_int, [c_void_p]),
    "rd_kafka_consumer_close": (c_int, [c_void_p]),
    "rd_kafka_queue_get_consumer": (c_void_p, [c_void_p]),
    "rd_kafka_queue_destroy": (None, [c_void_p]),
    "rd_kafka_topic_partition_list_new": (c_void_p, [c_int]),
    "rd_kafka_topic_partition_list_add": (c_void_p, [c_void_p, c_char_p, c_int32]),
    "rd_kafka_topic_partition_list_set_offset": (c_int, [c_void_p, c_char_p, c_int32, c_int64]),
    "rd_kafka_topic_partition_list_destroy": (None, [c_void_p]),
    "rd_kafka_incremental_assign": (c_void_p, [c_void_p, c_void_p]),
    "rd_kafka_incremental_unassign": (c_void_p, [c_void_p, c_void_p]),
    "rd_kafka_pause_partitions": (c_int, [c_void_p, c_void_p]),
    "rd_kafka_resume_partitions": (c_int, [c_void_p, c_void_p]),
    "rd_kafka_default_topic_conf_dup": (c_void_p, [c_void_p]),
    "rd_kafka_topic_conf_set": (c_int, [c_void_p, c_char_p, c_char_p, c_char_p, c_size_t]),
    "rd_kafka_topic_conf_destroy": (None, [c_void_p]),
    "rd_kafka_topic_new": (c_void_p, [c_void_p, c_char_p, c_void_p]),
    "rd_kafka_topic_name": (c_char_p, [c_void_p]),
    "rd_kafka_topic_destroy": (None, [c_void_p]),
    "rd_kafka_metadata": (c_int, [c_void_p, c_int, c_void_p, c_void_p, c_int]),
    "rd_kafka_metadata_destroy": (None, [c_void_p]),
    "rd_kafka_message_errstr": (c_char_p, [c_void_p]),
    # Called from compiled loops.
    "rd_kafka_consume_batch_queue": (c_ssize_t, [c_void_p, c_int, c_void_p, c_size_t]),
    "rd_kafka_message_timestamp": (c_int64, [c_void_p, c_void_p]),
    "rd_kafka_message_headers": (c_int, [c_void_p, c_void_p]),
    "rd_kafka_header_get_all": (c_int, [c_void_p, c_size_t, c_void_p, c_void_p, c_void_p]),
    "rd_kafka_message_destroy": (None, [c_void_p]),
    "rd_kafka_produce": (c_int, [c_void_p, c_int32, c_int, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p]),
}


class LibraryUnavailableError(RuntimeError):
    """librdkafka cannot be called directly; the message gives the reason."""


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(cimpl.__file__)
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise LibraryUnavailableError(f"the installed confluent-kafka does not export librdkafka: {error}") from None
    found, expected = library.rd_kafka_version_str().decode(), confluent_kafka.libversion()[0]
    if found != expected:
        raise LibraryUnavailableError(f"librdkafka {found} was found, but confluent-kafka uses {expected}")
    if ctypes.sizeof(c_void_p) != 8 or ctypes.sizeof(c_size_t) != 8:
        raise LibraryUnavailableError("the compiled loops need a platform with 64-bit pointers")
    return library


def _external(name: str, function: Any, signature: Any) -> Any:
    """Return a function that compiled loops may call; pointers are int64."""
    binding.add_symbol(SYMBOL_PREFIX + name, ctypes.cast(function, c_void_p).value)
    return types.ExternalFunction(SYMBOL_PREFIX + name, signature)


LIBRARY = _load()
consume_batch_queue = _external(
    "consume_batch_queue", LIBRARY.rd_kafka_consume_batch_queue, int64(int64, int32, int64, int64)
)
message_timestamp = _external("message_timestamp", LIBRARY.rd_kafka_message_timestamp, int64(int64, int64))
message_headers = _external("message_headers", LIBRARY.rd_kafka_message_headers, int32(int64, int64))
header_get_all = _external("header_get_all", LIBRARY.rd_kafka_header_get_all, int32(int64, int64, int64, int64, int64))
message_destroy = _external("message_destroy", LIBRARY.rd_kafka_message_destroy, void(int64))
produce = _external("produce", LIBRARY.rd_kafka_produce, int32(int64, int32, int32, int64, int64, int64, int64, int64))
last_error = _external("last_error", LIBRARY.rd_kafka_last_error, int32())
copy = _external("memcpy", ctypes.CDLL(None).memcpy, int64(int64, int64, int64))
string_length = _external("strlen", ctypes.CDLL(None).strlen, int64(int64))


def kafka_error(code: int, text: str = "") -> KafkaError:
    """Return the error with this code; without ``text`` it has librdkafka's own text."""
    return KafkaError(code, text or LIBRARY.rd_kafka_err2str(code).decode(errors="replace"))


def raise_for_code(code: int) -> None:
    """Raise KafkaException unless the code means success."""
    if code:
        raise KafkaException(kafka_error(code))


def raise_for_error(error: int | None) -> None:
    """Raise KafkaException for an ``rd_kafka_error_t``, which is destroyed; None is success."""
    if error is None:
        return
    try:
        raise KafkaException(
            KafkaError(
                LIBRARY.rd_kafka_error_code(error),
                LIBRARY.rd_kafka_error_string(error).decode(errors="replace"),
                bool(LIBRARY.rd_kafka_error_is_fatal(error)),
                bool(LIBRARY.rd_kafka_error_is_retriable(error)),
            )
        )
    finally:
        LIBRARY.rd_kafka_error_destroy(error)
