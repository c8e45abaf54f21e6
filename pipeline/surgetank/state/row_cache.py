"""A cache of recently read and written rows of a table, so that repeated keys need no search on disk.

It has two generations: rows are put into the young generation; when it is full it becomes the old one, and rows found
in the old one are copied to the young one. So rows unused while half of the capacity filled are evicted, without the
cost of an access order. Compiled with numba: keys and values stay columns, without a Python object per row.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numba import boolean, int64, types, uint8, void

from surgetank.byte_hash import hash_bytes
from surgetank.compiled import compiled
from surgetank.records import Int64s, large_binary_of, payload_bytes, value_bytes
from surgetank.state.key_hash import (
    READ_BYTES,
    READ_INTS,
    SEED,
    Bools,
    UInt8s,
    copy_bytes,
    equal_bytes,
    table_slots,
)

# Memory of a row besides its key and value: the head and the padding of its entry, its share of the index, its places
# in the columns of an uncommitted write.
ROW_OVERHEAD = 112

_WORD = 8  # bytes
# An entry is a head of four words, the key and the value, each padded to whole words. The words of the head: the hash,
# the number of the write, the lengths of key and value in bytes (32 bits each), the words reserved for the value.
_HASH, _NUMBER, _LENGTHS, _ROOM, _HEAD = 0, 1, 2, 3, 4
_ROOM_WORDS = 4  # values get a multiple of this number of words, so that most of them can grow in place
_FIRST_WORDS = 128
_USED, _ENTRIES = 0, 1


def memory_bytes(keys: pa.LargeBinaryArray, values: pa.LargeBinaryArray) -> int:
    """Return the memory that rows take, in bytes; rows without a value take that of a key. Pure."""
    return ROW_OVERHEAD * len(keys) + payload_bytes(keys) + payload_bytes(values)


class _Generation:
    """Entries one after the other in ``words`` int64, and an open-addressing index of their places, -1: none.

    ``counts`` int64 [2] are the used words and the number of keys.
    """

    def __init__(self) -> None:
        self.words = np.empty(_FIRST_WORDS, dtype=np.int64)
        self.index = np.full(table_slots(0), -1, dtype=np.int64)
        self.counts = np.zeros(2, dtype=np.int64)

    @property
    def used_bytes(self) -> int:
        """The bytes of entries and index."""
        return _WORD * int(self.counts[_USED]) + self.index.nbytes

    def make_room(self, words: int, keys: int, limit: int) -> None:
        """Enlarge the arrays for further entries: by doubling up to ``limit`` bytes, then only as far as needed."""
        if (slots := table_slots(int(self.counts[_ENTRIES]) + keys)) > len(self.index):
            index = np.full(slots, -1, dtype=np.int64)
            _reindex(self.words, self.index, index)
            self.index = index
        needed = int(self.counts[_USED]) + words
        if needed > len(self.words):
            most = (limit - 2 * self.index.nbytes) // _WORD  # the index may double once more
            larger = np.empty(max(needed, min(2 * len(self.words), most)), dtype=np.int64)
            larger[: self.counts[_USED]] = self.words[: self.counts[_USED]]
            self.words = larger


class RowCache:
    """Values by key in at most ``capacity`` bytes. Uncommitted rows, at most a quarter of it, are not evicted."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._committed = 0
        self.clear()

    def __len__(self) -> int:
        """Return the number of cached rows; a row in both generations counts twice."""
        return int(self._young.counts[_ENTRIES] + self._old.counts[_ENTRIES])

    @property
    def used_bytes(self) -> int:
        """The memory of all cached rows in bytes."""
        return self._young.used_bytes + self._old.used_bytes

    def resize(self, capacity: int) -> None:
        """Set the capacity to ``capacity`` bytes, effective with the next values."""
        self._capacity = capacity

    def get(self, keys: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
        """Return the value of each of k keys that are not null, null for keys that are not cached."""
        young, old, k = self._young, self._old, len(keys)
        places, is_old, ends = np.empty(k, dtype=np.int64), np.empty(k, dtype=np.bool_), np.zeros(k + 1, dtype=np.int64)
        key_bytes, key_ends = value_bytes(keys)
        found, words = _find(
            young.words, young.index, old.words, old.index, key_bytes, key_ends, SEED, places, is_old, ends
        )
        data = np.empty(int(ends[-1]), dtype=np.uint8)
        _copy_values(young.words.view(np.uint8), old.words.view(np.uint8), places, is_old, ends, data)
        if words:
            young.make_room(int(words), k, self._limit)
            _move(old.words, places, is_old, young.words, young.index, young.counts)
        column = large_binary_of(ends, data)
        if found == k:
            return column
        validity = np.packbits(places >= 0, bitorder="little")
        buffers = [pa.py_buffer(validity), *column.buffers()[1:]]
        return pa.Array.from_buffers(pa.large_binary(), k, buffers, null_count=k - found)

    def put(self, keys: pa.LargeBinaryArray, values: pa.LargeBinaryArray, number: int) -> None:
        """Cache the values of distinct keys. ``number`` is the number of the write, 0 for rows read from disk.

        Rows of writes that are not committed stay cached whatever is evicted.
        """
        key_bytes, key_ends = value_bytes(keys)
        words = (payload_bytes(keys) + payload_bytes(values)) // _WORD + (_HEAD + 2 + _ROOM_WORDS) * len(keys)
        if self._young.used_bytes + _WORD * words > max(self._limit, 2 * self._pinned_bytes):
            self._start_generation()
        young = self._young
        young.make_room(words, len(keys), self._limit)
        _put(
            key_bytes, key_ends, *value_bytes(values), SEED, number, young.words, young.words.view(np.uint8),
            young.index, young.counts,
        )  # fmt: skip

    def mark_committed(self, through: int) -> None:
        """Allow the rows of writes up to number ``through`` to be evicted."""
        self._committed = max(self._committed, through)

    def clear(self) -> None:
        """Remove all rows, uncommitted ones too."""
        self._young, self._old = _Generation(), _Generation()
        self._pinned_bytes = 0  # the size of the young generation when it was created: its uncommitted rows

    @property
    def _limit(self) -> int:
        return self._capacity // 2

    def _start_generation(self) -> None:
        """Make the young generation the old one, and copy its uncommitted rows to the new one."""
        self._old, self._young = self._young, _Generation()
        keys, words = _count_pinned(self._old.words, self._old.index, self._committed)
        self._young.make_room(int(words), int(keys), self._limit)
        _copy_pinned(
            self._old.words, self._old.index, self._committed, self._young.words, self._young.index, self._young.counts
        )
        self._pinned_bytes = self._young.used_bytes


_WORDS = _INDEX = _COUNTS = _PLACES = int64[::1]
_FLAGS = boolean[::1]
_BYTES = uint8[::1]
_tuple_of: Any = types.UniTuple
_PAIR = _tuple_of(int64, 2)


@compiled()
def _entry_words(words: Int64s, entry: int) -> int:
    size: int = _HEAD + (((words[entry + _LENGTHS] >> int64(32)) + 7) >> 3) + words[entry + _ROOM]
    return size


@compiled()
def _value_at(words: Int64s, entry: int) -> int:
    """Return where the value of an entry starts, in bytes."""
    start: int = _WORD * (entry + _HEAD + (((words[entry + _LENGTHS] >> int64(32)) + 7) >> 3))
    return start


@compiled()
def _slot(words: Int64s, data: UInt8s, index: Int64s, hashed: int, keys: UInt8s, start: int, length: int) -> int:
    """Return the slot of a key in the index, or the empty slot where it belongs. ``data`` are the bytes of words."""
    mask = len(index) - 1
    slot = hashed & mask
    while index[slot] >= 0:
        entry = index[slot]
        if (
            words[entry + _HASH] == hashed
            and words[entry + _LENGTHS] >> int64(32) == length
            and equal_bytes(keys, start, data, _WORD * (entry + _HEAD), length)
        ):
            return slot
        slot = (slot + 1) & mask
    return slot


@compiled()
def _insert(words: Int64s, index: Int64s, entry: int) -> None:
    """Add the place of an entry, whose key is not in the index, to the index."""
    mask = len(index) - 1
    slot = words[entry + _HASH] & mask
    while index[slot] >= 0:
        slot = (slot + 1) & mask
    index[slot] = entry


@compiled()
def _append_copy(source: Int64s, entry: int, words: Int64s, index: Int64s, counts: Int64s) -> None:
    """Copy an entry, whose key is not in the index, to the end of ``words``."""
    at = counts[_USED]
    size = _entry_words(source, entry)
    words[at : at + size] = source[entry : entry + size]
    _insert(words, index, at)
    counts[_USED] += size
    counts[_ENTRIES] += 1


@compiled(void(_WORDS, _INDEX, _INDEX))
def _reindex(words: Int64s, index: Int64s, larger: Int64s) -> None:
    for slot in range(len(index)):
        if index[slot] >= 0:
            _insert(words, larger, index[slot])


@compiled(_PAIR(_WORDS, _INDEX, _WORDS, _INDEX, READ_BYTES, READ_INTS, int64, _PLACES, _FLAGS, _PLACES))
def _find(
    young: Int64s,
    young_index: Int64s,
    old: Int64s,
    old_index: Int64s,
    keys: UInt8s,
    key_ends: Int64s,
    seed: int,
    places: Int64s,
    is_old: Bools,
    ends: Int64s,
) -> tuple[int, int]:
    """Write the entry of each key (-1: none), its generation, and the ends of the values, one after the other.

    Return how many keys were found, and the words of the entries found in the old generation.
    """
    young_data, old_data = young.view(np.uint8), old.view(np.uint8)
    found = words = 0
    for k in range(len(places)):
        start, length = key_ends[k], key_ends[k + 1] - key_ends[k]
        hashed = hash_bytes(keys, start, start + length, seed)
        place = young_index[_slot(young, young_data, young_index, hashed, keys, start, length)]
        is_old[k] = False
        size = int64(0)
        if place >= 0:
            size = young[place + _LENGTHS] & int64(0xFFFFFFFF)
        else:
            place = old_index[_slot(old, old_data, old_index, hashed, keys, start, length)]
            if place >= 0:
                is_old[k] = True
                size = old[place + _LENGTHS] & int64(0xFFFFFFFF)
                words += _entry_words(old, place)
        found += place >= 0
        places[k] = place
        ends[k + 1] = ends[k] + size
    return found, words


@compiled(void(_BYTES, _BYTES, _PLACES, _FLAGS, _PLACES, _BYTES))
def _copy_values(young: UInt8s, old: UInt8s, places: Int64s, is_old: Bools, ends: Int64s, data: UInt8s) -> None:
    """Copy the values of the entries at ``places`` to ``data``."""
    young_words, old_words = young.view(np.int64), old.view(np.int64)
    for k in range(len(places)):
        size = ends[k + 1] - ends[k]
        if places[k] < 0:
            continue
        if is_old[k]:
            copy_bytes(old, _value_at(old_words, places[k]), data, ends[k], size)
        else:
            copy_bytes(young, _value_at(young_words, places[k]), data, ends[k], size)


@compiled(void(_WORDS, _PLACES, _FLAGS, _WORDS, _INDEX, _COUNTS))
def _move(old: Int64s, places: Int64s, is_old: Bools, words: Int64s, index: Int64s, counts: Int64s) -> None:
    """Copy the entries found in the old generation to the young one."""
    for k in range(len(places)):
        if is_old[k]:
            _append_copy(old, places[k], words, index, counts)


@compiled(void(READ_BYTES, READ_INTS, READ_BYTES, READ_INTS, int64, int64, _WORDS, _BYTES, _INDEX, _COUNTS))
def _put(
    keys: UInt8s,
    key_ends: Int64s,
    values: UInt8s,
    value_ends: Int64s,
    seed: int,
    number: int,
    words: Int64s,
    data: UInt8s,
    index: Int64s,
    counts: Int64s,
) -> None:
    """Overwrite the values that fit into the entries of their keys, and append entries for the others."""
    for k in range(len(key_ends) - 1):
        start, length = key_ends[k], key_ends[k + 1] - key_ends[k]
        size = value_ends[k + 1] - value_ends[k]
        hashed = hash_bytes(keys, start, start + length, seed)
        slot = _slot(words, data, index, hashed, keys, start, length)
        entry = index[slot]
        if entry < 0 or words[entry + _ROOM] * _WORD < size:
            counts[_ENTRIES] += entry < 0
            entry = counts[_USED]
            index[slot] = entry
            words[entry + _HASH] = hashed
            words[entry + _LENGTHS] = length << int64(32)
            words[entry + _ROOM] = (size + _WORD * _ROOM_WORDS - 1) // (_WORD * _ROOM_WORDS) * _ROOM_WORDS
            copy_bytes(keys, start, data, _WORD * (entry + _HEAD), length)
            counts[_USED] += _entry_words(words, entry)
        words[entry + _NUMBER] = number
        words[entry + _LENGTHS] = (length << int64(32)) | size
        copy_bytes(values, value_ends[k], data, _value_at(words, entry), size)


@compiled(_PAIR(_WORDS, _INDEX, int64))
def _count_pinned(words: Int64s, index: Int64s, committed: int) -> tuple[int, int]:
    """Return the number and the words of the entries of writes after ``committed``."""
    keys = size = 0
    for slot in range(len(index)):
        if index[slot] >= 0 and words[index[slot] + _NUMBER] > committed:
            keys += 1
            size += _entry_words(words, index[slot])
    return keys, size


@compiled(void(_WORDS, _INDEX, int64, _WORDS, _INDEX, _COUNTS))
def _copy_pinned(old: Int64s, old_index: Int64s, committed: int, words: Int64s, index: Int64s, counts: Int64s) -> None:
    """Copy the entries of writes after ``committed``."""
    for slot in range(len(old_index)):
        entry = old_index[slot]
        if entry >= 0 and old[entry + _NUMBER] > committed:
            _append_copy(old, entry, words, index, counts)
