"""Sorts values by the schema id of their Confluent frame: a byte of 0, then the id, four bytes, big-endian."""

from typing import Any

import numpy as np
import pyarrow as pa
from numba import int64, types

from surgetank.codec.avro.memory import load8, load64
from surgetank.codec.avro.program import Int64s
from surgetank.codec.wire import FRAME_BYTES
from surgetank.compiled import compiled
from surgetank.records import value_bytes

# What a value is that is not one of a known schema, in place of the number of that schema's reader.
NULL, EMPTY, TOO_LARGE, TOO_SHORT, OTHER_MAGIC, OTHER_HEADER, UNKNOWN_ID = range(-7, 0)

_FRAME_BYTES = FRAME_BYTES
_int64s = types.Array(int64, 1, "C")


@compiled(int64(_int64s, int64, int64, _int64s, _int64s, _int64s))
def _sort(array: Any, rows: int, bytes_max: int, ids: Any, readers: Any, numbers: Any) -> int:
    """Write the reader of each row, that of its id, or what it is instead; return how many have that of the first row.

    ``array``: the addresses of the validity bits (0: there are none), offsets and bytes; the array's offset.
    """
    same = 0
    for row in range(rows):
        place = row + array[3]
        begin = load64(array[1] + 8 * place)
        size = load64(array[1] + 8 * place + 8) - begin
        at = array[2] + begin
        found = UNKNOWN_ID
        if array[0] != 0 and (load8(array[0] + (place >> 3)) >> (place & 7)) & 1 == 0:
            found = NULL
        elif size == 0:
            found = EMPTY
        elif size > bytes_max:
            found = TOO_LARGE
        elif size < _FRAME_BYTES:
            found = TOO_SHORT
        elif load8(at) != 0:
            found = OTHER_MAGIC
        else:
            schema_id = load8(at + 1) << 24 | load8(at + 2) << 16 | load8(at + 3) << 8 | load8(at + 4)
            for k in range(len(ids)):
                if ids[k] == schema_id:
                    found = readers[k]
                    break
        numbers[row] = found
        if found == numbers[0]:
            same += 1
    return same


def schema_ids(values: pa.LargeBinaryArray, rows: Int64s) -> Int64s:
    """Return int64 [k]: the schema ids of these rows, int64 [k], whose values are framed."""
    data, starts = value_bytes(values)
    at = starts[rows]
    found = np.zeros(len(rows), dtype=np.int64)
    for byte in range(1, _FRAME_BYTES):
        found = found << 8 | data[at + byte]
    return found


def reader_numbers(values: pa.LargeBinaryArray, ids: Int64s, readers: Int64s, bytes_max: int) -> tuple[Int64s, bool]:
    """Return int64 [n]: of each value's schema id in ``ids`` the number in ``readers``, both int64 [k].

    Or one of the negative numbers above; values of more than ``bytes_max`` bytes are TOO_LARGE. The second says whether
    all numbers are the same.
    """
    numbers = np.empty(len(values), dtype=np.int64)
    addresses = [0 if buffer is None else buffer.address for buffer in values.buffers()]
    array = np.array([*addresses, values.offset], dtype=np.int64)
    same = _sort(array, len(values), bytes_max, ids, readers, numbers)
    return numbers, same == len(values)
