"""Hashing and grouping of keys in columns, without a Python object per key. Compiled with numba."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import boolean, int32, int64, types, uint8, void

from surgetank.byte_hash import hash_bytes
from surgetank.compiled import compiled
from surgetank.records import Int64s, large_binary, value_bytes

UInt8s = npt.NDArray[np.uint8]
Int32s = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

SEED = int.from_bytes(os.urandom(7), "little")  # keys chosen to collide in one process do not collide in another

READ_BYTES = types.Array(uint8, 1, "C", readonly=True)
READ_INTS = types.Array(int64, 1, "C", readonly=True)


class KeyGroups(NamedTuple):
    """The distinct keys of consecutive ranges of entries.

    ``numbers`` int64 [n] is the number of each entry's key, -1 for an entry without a key. ``first`` int64 [d] is the
    row of each key's first entry. The keys of range r have the numbers [starts[r], starts[r + 1]): ``starts`` int64.
    """

    numbers: Int64s
    first: Int64s
    starts: Int64s


def group_keys(
    keys: pa.LargeBinaryArray, rows: Int64s, ranges: Int64s, usable: Bools, reserved: Sequence[bytes] = ()
) -> KeyGroups:
    """Number the distinct keys of each range of entries in the order of their first entries.

    Entry i has the key ``keys[rows[i]]``; range r has the entries [ranges[r], ranges[r + 1]), and the ranges cover all
    n entries. Entries that are not ``usable``, bool [n], and entries whose key is null or ``reserved`` have no key.
    """
    if keys.null_count:
        usable = usable & keys.is_valid().to_numpy(zero_copy_only=False)[rows]
    n = len(rows)
    index, first = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    starts = np.zeros(len(ranges), dtype=np.int64)
    slots = np.empty(table_slots(int(np.diff(ranges).max(initial=0))), dtype=np.int32)
    _group(
        *value_bytes(keys),
        np.ascontiguousarray(rows),
        ranges,
        usable,
        *value_bytes(large_binary(reserved)),
        SEED,
        slots,
        np.empty(n, dtype=np.int64),
        index,
        first,
        starts,
    )
    return KeyGroups(index, first[: starts[-1]], starts)


def table_slots(entries: int) -> int:
    """Return the size of an open-addressing table for so many entries: a power of two, at most two thirds full."""
    return 1 << max(3, (entries * 3 // 2).bit_length())


@compiled()
def equal_bytes(a: UInt8s, a_start: int, b: UInt8s, b_start: int, length: int) -> bool:
    """Return whether two sequences of ``length`` bytes are equal."""
    one, other = a[a_start : a_start + length], b[b_start : b_start + length]
    for at in range(length):  # noqa: SIM110 - compiled
        if one[at] != other[at]:
            return False
    return True


@compiled()
def copy_bytes(source: UInt8s, start: int, target: UInt8s, target_start: int, length: int) -> None:
    """Copy ``length`` bytes between arrays that do not overlap."""
    read, written = source[start : start + length], target[target_start : target_start + length]
    for at in range(length):
        written[at] = read[at]


@compiled(
    void(
        *(READ_BYTES, READ_INTS),  # the keys
        *(READ_INTS, READ_INTS, types.Array(boolean, 1, "C", readonly=True)),  # rows, ranges, usable
        *(READ_BYTES, READ_INTS),  # the reserved keys
        int64,
        int32[::1],
        *(int64[::1] for _ in range(4)),
    )
)
def _group(
    data: UInt8s,
    ends: Int64s,
    rows: Int64s,
    ranges: Int64s,
    usable: Bools,
    reserved: UInt8s,
    reserved_ends: Int64s,
    seed: int,
    slots: Int32s,
    hashes: Int64s,
    index: Int64s,
    first: Int64s,
    starts: Int64s,
) -> None:
    """Write the arrays of ``KeyGroups``; ``index`` are its numbers. ``slots`` and ``hashes`` are working memory."""
    known = 0
    for r in range(len(ranges) - 1):
        mask = int64(8)
        while mask < (ranges[r + 1] - ranges[r]) * 3 // 2:
            mask *= 2
        mask -= 1
        slots[: mask + 1] = -1
        for i in range(ranges[r], ranges[r + 1]):
            index[i] = -1
            if not usable[i]:
                continue
            start = ends[rows[i]]
            length = ends[rows[i] + 1] - start
            found = hash_bytes(data, start, start + length, seed)
            slot = found & mask
            while slots[slot] >= 0:
                other = int64(slots[slot])
                place = ends[first[other]]
                if (
                    hashes[other] == found
                    and ends[first[other] + 1] - place == length
                    and equal_bytes(data, start, data, place, length)
                ):
                    index[i] = other
                    break
                slot = (slot + 1) & mask
            if index[i] >= 0:
                continue
            for k in range(len(reserved_ends) - 1):
                place = reserved_ends[k]
                if reserved_ends[k + 1] - place == length and equal_bytes(data, start, reserved, place, length):
                    break
            else:
                index[i] = slots[slot] = known
                hashes[known] = found
                first[known] = rows[i]
                known += 1
        starts[r + 1] = known
