"""The compiled loops of the consumer: take messages from the queue, group them by partition, copy them to columns.

Messages are C pointers in an int64 array; ``fields`` holds a copy of each one's struct. No loop needs the interpreter
or holds its lock, and no exception of another thread or of a signal handler is raised inside one.

``taken`` is int64 [1]: the number of messages, from the first on, that were taken and not yet destroyed. ``take`` adds
to it; ``copy_out`` and ``destroy`` destroy that many and set it to 0. So the caller's memory has the number wherever an
exception ends the caller.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba import from_dtype, int32, int64, types
from numba.extending import intrinsic

from surgetank.compiled import compiled
from surgetank.kafka.columnar.library import (
    MESSAGE,
    MESSAGE_BYTES,
    consume_batch_queue,
    copy,
    header_get_all,
    message_destroy,
    message_headers,
    message_timestamp,
    string_length,
)
from surgetank.records import Int32s, Int64s

Fields = npt.NDArray[np.void]

PARTITION_EOF = -191  # RD_KAFKA_RESP_ERR__PARTITION_EOF
ERROR_GROUP = -1

# Columns of ``groups``, one row per partition.
TOPIC, PARTITION, ROWS, VALUE_BYTES, KEY_BYTES, HEADER_BYTES, END, NULL_VALUES, NULL_KEYS = range(9)
GROUP_COLUMNS = 9
# Columns of ``places``: the addresses that a partition's columns are written to, ascending, multiples of 8 bytes apart.
(
    AT_OFFSETS,
    AT_TIMESTAMPS,
    AT_VALUE_OFFSETS,
    AT_KEY_OFFSETS,
    AT_HEADER_OFFSETS,
    AT_VALUE_VALIDITY,
    AT_KEY_VALIDITY,
    AT_HEADER_VALIDITY,
    AT_VALUES,
    AT_KEYS,
    AT_HEADERS,
) = range(11)
PLACE_COLUMNS = 11

_INT64S, _INT64S_2D = types.Array(int64, 1, "C"), types.Array(int64, 2, "C")
_INT32S = types.Array(int32, 1, "C")
_FIELDS = types.Array(from_dtype(MESSAGE), 1, "C")
_tuple_of: Any = types.UniTuple  # the type annotations of numba do not cover the following
_carray: Any = numba.carray  # type: ignore[attr-defined]


@intrinsic
def _as_pointer(_: Any, address: Any) -> Any:
    """Return an address as a pointer that ``carray`` takes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(address), generate


_pointer: Any = _as_pointer  # called from compiled code with the address only


@compiled()
def _int64s(address: int, n: int) -> Int64s:
    return _carray(_pointer(address), (n,), np.int64)  # type: ignore[no-any-return]


@compiled()
def _bytes(address: int, n: int) -> npt.NDArray[np.uint8]:
    return _carray(_pointer(address), (n,), np.uint8)  # type: ignore[no-any-return]


@compiled()
def _header_bytes(message: int, scratch: Int64s) -> int:
    """Return the bytes that the encoded headers of a message take, 0 if it has none."""
    at = scratch.ctypes.data
    if message_headers(message, at) != 0:
        return 0
    total, index = 0, 0
    while header_get_all(scratch[0], index, at + 8, at + 16, at + 24) == 0:
        total += 8 + string_length(scratch[1])
        if scratch[2] != 0:
            total += scratch[3]
        index += 1
    return total


@compiled(_tuple_of(int64, 3)(int64, int32, _INT64S, _INT64S, _FIELDS, int64, int64, int64, _INT64S))
def take(
    queue: int,
    timeout_ms: int,
    messages: Int64s,
    taken: Int64s,
    fields: Fields,
    rows_max: int,
    bytes_max: int,
    largest: int,
    scratch: Int64s,
) -> tuple[int, int, int]:
    """Take messages from a queue and copy their structs into ``fields``.

    Waits up to ``timeout_ms`` for the first message, then takes the available ones: a call for many messages would wait
    its whole timeout. ``taken`` must be 0. ``largest`` is the expected maximum size of a record in bytes. Returns the
    number of messages, the bytes of their keys, values and headers, and the size of the largest one.
    """
    n, size, seen = 0, 0, 1
    want = 1
    while want > 0:
        got = consume_batch_queue(queue, timeout_ms if n == 0 else 0, messages.ctypes.data + 8 * n, want)
        if got <= 0:
            break
        taken[0] += got
        for i in range(n, n + got):
            copy(fields.ctypes.data + MESSAGE_BYTES * i, messages[i], MESSAGE_BYTES)
            length = fields[i].value_length + fields[i].key_length
            if fields[i].error == 0:
                length += _header_bytes(messages[i], scratch)
            size += length
            seen = max(seen, length)
        n += got
        if got < want:
            break
        largest = max(largest, seen)
        want = min(rows_max - n, (bytes_max - size) // largest)
    return n, size, seen


@compiled()
def _write_length(address: int, length: int, scratch: Int64s) -> None:
    scratch[4] = length
    copy(address, scratch.ctypes.data + 32, 4)  # little-endian: the low half is first


@compiled()
def _write_headers(message: int, address: int, scratch: Int64s) -> int:
    """Write the headers of a message as ``record_headers.decode_headers`` reads them; return the address after them."""
    at = scratch.ctypes.data
    message_headers(message, at)
    index = 0
    while header_get_all(scratch[0], index, at + 8, at + 16, at + 24) == 0:
        length = string_length(scratch[1])
        _write_length(address, length, scratch)
        copy(address + 4, scratch[1], length)
        address += 4 + length
        if scratch[2] == 0:
            _write_length(address, -1, scratch)
            address += 4
        else:
            _write_length(address, scratch[3], scratch)
            copy(address + 4, scratch[2], scratch[3])
            address += 4 + scratch[3]
        index += 1
    return address


@compiled(int64(_INT64S, _FIELDS, int64, _INT32S, _INT64S_2D, _INT64S))
def group(messages: Int64s, fields: Fields, n: int, group_of: Int32s, groups: Int64s, scratch: Int64s) -> int:
    """Find the partition of each of n messages and the sums of its records. Returns the number of partitions.

    ``group_of`` [n] is set to the row in ``groups``, or ``ERROR_GROUP`` for an error. An end-of-partition event has a
    group and adds no row to it; its offset is in END, else -1. ``groups`` has room for n rows.
    """
    count, current = 0, -1
    for i in range(n):
        message = fields[i]
        if message.error != 0 and message.error != PARTITION_EOF:
            group_of[i] = ERROR_GROUP
            continue
        topic, partition = message.topic, message.partition
        if current < 0 or groups[current, TOPIC] != topic or groups[current, PARTITION] != partition:
            current = 0
            while current < count and (groups[current, TOPIC] != topic or groups[current, PARTITION] != partition):
                current += 1
            if current == count:
                groups[count, :] = 0
                groups[count, TOPIC], groups[count, PARTITION], groups[count, END] = topic, partition, -1
                count += 1
        group_of[i] = current
        if message.error != 0:
            groups[current, END] = message.offset
            continue
        groups[current, ROWS] += 1
        groups[current, VALUE_BYTES] += message.value_length
        groups[current, KEY_BYTES] += message.key_length
        groups[current, NULL_VALUES] += message.value == 0
        groups[current, NULL_KEYS] += message.key == 0
        groups[current, HEADER_BYTES] += _header_bytes(messages[i], scratch)
    return count


@compiled(types.void(_INT64S, _INT64S, _FIELDS, _INT32S, _INT64S_2D, int64, _INT64S_2D, _INT64S))
def copy_out(
    messages: Int64s,
    taken: Int64s,
    fields: Fields,
    group_of: Int32s,
    groups: Int64s,
    count: int,
    places: Int64s,
    scratch: Int64s,
) -> None:
    """Copy the records of the taken messages to the columns of their partitions, in order, and destroy the messages."""
    for g in range(count):
        # Clears what is not written row by row: first offsets, and bitmaps in which bits are set.
        _int64s(places[g, AT_OFFSETS], (places[g, AT_VALUES] - places[g, AT_OFFSETS]) >> 3)[:] = 0
    row_of = np.zeros(count, dtype=np.int64)
    ends = np.zeros((count, 3), dtype=np.int64)  # bytes written of values, keys, headers
    for i in range(taken[0]):
        g = group_of[i]
        message = fields[i]
        if g >= 0 and message.error == 0:
            rows = groups[g, ROWS]
            row = row_of[g]
            row_of[g] = row + 1
            _int64s(places[g, AT_OFFSETS], rows)[row] = message.offset
            _int64s(places[g, AT_TIMESTAMPS], rows)[row] = message_timestamp(messages[i], 0)
            bit = np.uint8(1 << (row & 7))
            if message.value != 0:
                copy(places[g, AT_VALUES] + ends[g, 0], message.value, message.value_length)
                ends[g, 0] += message.value_length
                _bytes(places[g, AT_VALUE_VALIDITY], (rows + 7) >> 3)[row >> 3] |= bit
            if message.key != 0:
                copy(places[g, AT_KEYS] + ends[g, 1], message.key, message.key_length)
                ends[g, 1] += message.key_length
                _bytes(places[g, AT_KEY_VALIDITY], (rows + 7) >> 3)[row >> 3] |= bit
            _int64s(places[g, AT_VALUE_OFFSETS], rows + 1)[row + 1] = ends[g, 0]
            _int64s(places[g, AT_KEY_OFFSETS], rows + 1)[row + 1] = ends[g, 1]
            if groups[g, HEADER_BYTES] > 0:
                start = places[g, AT_HEADERS] + ends[g, 2]
                end = start
                if message_headers(messages[i], scratch.ctypes.data) == 0:
                    end = _write_headers(messages[i], start, scratch)
                if end > start:
                    ends[g, 2] += end - start
                    _bytes(places[g, AT_HEADER_VALIDITY], (rows + 7) >> 3)[row >> 3] |= bit
                _int64s(places[g, AT_HEADER_OFFSETS], rows + 1)[row + 1] = ends[g, 2]
        message_destroy(messages[i])
    taken[0] = 0


@compiled(types.void(_INT64S, _INT64S))
def destroy(messages: Int64s, taken: Int64s) -> None:
    """Destroy the taken messages, which were not copied out."""
    for i in range(taken[0]):
        message_destroy(messages[i])
    taken[0] = 0
