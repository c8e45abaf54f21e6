"""A table of the scores of feature rows: bounded, without a Python object per row. Compiled with numba.

A row is found by a hash, and is the same only if all its bytes are the same: NaNs with different bits are different
rows, and so are 0.0 and -0.0. Open addressing with a bounded search: a row may be in one of ``WAYS`` neighbouring
slots, where the oldest one gives way to a new row. So a hash that collides costs hits, never a wrong score.
"""

import os
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import int64, types, void

from surgetank.compiled import compiled
from surgetank.serving.model import Float32s, Float64s

Int64s = npt.NDArray[np.int64]

WAYS = 8  # the marks of 8 slots are one cache line
TICK_SECONDS = 0.01  # resolution of the age of a score
_TICKS_MAX = (1 << 31) - 1
_TAG = int(~np.int64(0xFFFFFFFF))  # the upper half of a mark is a part of the hash, the lower one a time in ticks
_POSITIVE = (1 << 63) - 1
_SEED = int.from_bytes(os.urandom(7), "little")  # rows chosen to collide in one process do not collide in another

_INTS = types.Array(int64, 1, "C", readonly=True)
_WORDS = types.Array(int64, 2, "C", readonly=True)


class CacheLookup(NamedTuple):
    """What a table knows of the m rows of a batch.

    ``scores`` is float64 [m], those of the rows that were found. ``missing`` is int64 [n], the positions of the
    distinct rows that were not; ``source`` is int64 [m], for each row its index in ``missing``, -1 for a found row.
    ``words`` and ``hashes`` are for ``RowTable.store``.
    """

    scores: Float64s
    missing: Int64s
    source: Int64s
    words: Int64s
    hashes: Int64s

    def complete(self, fresh: Float64s) -> Float64s:
        """Return ``scores`` with those of the missing rows, float64 [n]."""
        _spread(self.source, np.ascontiguousarray(fresh, dtype=np.float64), self.scores)
        return self.scores


class RowTable:
    """Scores by row of ``features`` numbers, in at most ``bytes_max`` bytes, or those of one row.

    Not for several threads at a time. Times are seconds, ascending from 0. ``hash_bits`` is for tests.
    """

    def __init__(self, features: int, bytes_max: int, *, hash_bits: int = 64) -> None:
        self.features = features
        entry = 1 + _words_of(features)  # the score, and the row
        self.row_bytes = 8 * (1 + entry)
        slots = max(1, bytes_max // self.row_bytes)
        self.rows = 0  # that are stored
        self._ways = min(WAYS, slots)
        self._mask = -1 if hash_bits >= 64 else ((1 << hash_bits) - 1) << 32
        self._marks = np.zeros(slots, dtype=np.int64)  # pages of zeros take no memory before they are written
        self._entries = np.zeros((slots, entry), dtype=np.int64)

    @property
    def bytes(self) -> int:
        """The bytes of the stored rows."""
        return self.rows * self.row_bytes

    def find(self, matrix: Float32s, oldest: float) -> CacheLookup:
        """Look up the rows of float32 [m, features]; a score that was stored before ``oldest`` is not found."""
        m = len(matrix)
        words = _as_words(matrix)
        hashes, source, missing, scores = (np.empty(m, dtype=np.int64) for _ in range(4))
        slots = np.empty(1 << max(3, (m * 3 // 2).bit_length()), dtype=np.int64)
        count = _find(
            *(words, self._marks, self._entries),
            *(_ticks(oldest), _SEED, self._mask, self._ways),
            *(slots, hashes, source, missing, scores),
        )
        return CacheLookup(scores.view(np.float64), missing[:count], source, words, hashes)

    def store(self, lookup: CacheLookup, fresh: Float64s, now: float) -> None:
        """Store the scores of the missing rows, float64 [n]."""
        ticks = _ticks(now)
        if ticks >= _TICKS_MAX:  # after 248 days
            self.clear()
        bits = np.ascontiguousarray(fresh, dtype=np.float64).view(np.int64)
        self.rows += _store(
            lookup.words, lookup.hashes, lookup.missing, bits, self._marks, self._entries, ticks, self._ways
        )

    def clear(self) -> None:
        """Forget all rows."""
        self._marks[:] = 0
        self.rows = 0


def _ticks(seconds: float) -> int:
    return min(_TICKS_MAX, max(1, 1 + int(seconds / TICK_SECONDS)))


def _words_of(features: int) -> int:
    return (features + 1) // 2


def _as_words(matrix: Float32s) -> Int64s:
    """Return the bytes of the rows as int64 [m, words]; a row of an odd number of features gets a 0."""
    m, features = matrix.shape
    if features % 2:
        padded = np.zeros((m, features + 1), dtype=np.float32)
        padded[:, :features] = matrix
        matrix = padded
    return np.ascontiguousarray(matrix, dtype=np.float32).view(np.int64)


@compiled()
def _hash(words: Int64s, row: int, seed: int) -> int:
    """Return a 64-bit hash of a row."""
    state = int64(seed)
    for at in range(words.shape[1]):
        state = (state ^ words[row, at]) * int64(0x2545F4914F6CDD1D)
        state = state ^ (state >> int64(32))
    state = state * int64(0x369DEA0F31A53F85)
    return state ^ (state >> int64(29))  # type: ignore[return-value] # int64 in compiled code


@compiled()
def _equal(a: Int64s, row: int, b: Int64s, other: int, first: int) -> bool:
    """Return whether a row of ``a`` is that of ``b``, whose words begin at ``first``."""
    for at in range(a.shape[1]):  # noqa: SIM110 - compiled
        if a[row, at] != b[other, first + at]:
            return False
    return True


@compiled()
def _begin(tag: np.int64, slots: int, ways: int) -> int:
    """Return the first slot in which a row may be."""
    return ((tag >> int64(33)) & int64(0x3FFFFFFF)) % (slots - ways + 1)  # type: ignore[return-value] # int64


@compiled(
    int64(
        *(_WORDS, _INTS, _WORDS),
        *(int64, int64, int64, int64),
        *(int64[::1], int64[::1], int64[::1], int64[::1], int64[::1]),
    )
)
def _find(
    words: Int64s,
    marks: Int64s,
    entries: Int64s,
    oldest: int,
    seed: int,
    mask: int,
    ways: int,
    slots: Int64s,
    hashes: Int64s,
    source: Int64s,
    missing: Int64s,
    scores: Int64s,
) -> int:
    """Write the arrays of ``CacheLookup`` and return the number of missing rows; ``slots`` is working memory.

    Equal rows of the batch are found in ``slots``, by the same bounded search.
    """
    count, top = int64(0), int64(len(slots) - 1)
    slots[:] = -1
    for row in range(len(words)):
        hashed = _hash(words, row, seed) & mask
        tag = (hashed & int64(_TAG)) | (int64(1) << int64(32))
        hashes[row] = tag
        source[row] = -1
        begin, known = _begin(tag, len(marks), ways), False
        for at in range(begin, begin + ways):
            mark = marks[at]
            if mark == 0:
                break
            if mark & int64(_TAG) == tag and mark & int64(0xFFFFFFFF) >= oldest and _equal(words, row, entries, at, 1):
                scores[row] = entries[at, 0]
                known = True
                break
        if known:
            continue
        slot, other = (tag >> int64(33)) & top, int64(-1)
        for _ in range(WAYS):
            if slots[slot] < 0:
                break
            first = missing[slots[slot]]
            if hashes[first] == tag and _equal(words, row, words, first, 0):
                other = slots[slot]
                break
            slot = (slot + 1) & top
        if other < 0:
            other = count
            missing[count] = row
            if slots[slot] < 0:
                slots[slot] = count
            count += 1
        source[row] = other
    return count  # type: ignore[return-value] # int64 in compiled code


@compiled(int64(_WORDS, _INTS, _INTS, _INTS, int64[::1], int64[:, ::1], int64, int64))
def _store(
    words: Int64s,
    hashes: Int64s,
    missing: Int64s,
    fresh: Int64s,
    marks: Int64s,
    entries: Int64s,
    ticks: int,
    ways: int,
) -> int:
    """Store the missing rows; return how many free slots were taken."""
    taken = int64(0)
    for k in range(len(missing)):
        row = missing[k]
        tag = hashes[row]
        begin = _begin(tag, len(marks), ways)
        slot = begin
        for at in range(begin, begin + ways):
            mark = marks[at]
            if mark == 0:
                taken += 1
                slot = at
                break
            if mark & int64(_TAG) == tag and _equal(words, row, entries, at, 1):  # too old, or stored meanwhile
                slot = at
                break
            if mark & int64(0xFFFFFFFF) < marks[slot] & int64(0xFFFFFFFF):
                slot = at
        marks[slot] = tag | ticks
        entries[slot, 0] = fresh[k]
        for at in range(words.shape[1]):
            entries[slot, 1 + at] = words[row, at]
    return taken  # type: ignore[return-value] # int64 in compiled code


@compiled(void(_INTS, types.Array(types.float64, 1, "C", readonly=True), types.float64[::1]))
def _spread(source: Int64s, fresh: Float64s, scores: Float64s) -> None:
    """Write the scores of the missing rows."""
    for row in range(len(source)):
        if source[row] >= 0:
            scores[row] = fresh[source[row]]
