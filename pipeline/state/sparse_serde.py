"""Rows of numbers that are mostly empty, as bytes and back. Compiled, cell by cell.

The rows of features are wide, and a key that is seldom seen has a few buckets of its rings filled. So of a row only
those cells are kept that differ from those of a fresh row, behind a bitmap that says which they are.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import int64, types, void

from pipeline.compiled import compiled
from pipeline.errors import StateCorrupt
from pipeline.state.row_serde import NO_OFFSET, Bools, Int64s, Rows, lengths

_WORD = 8  # bytes of an offset, of a cell, and of each part of a bitmap
_BITS = 64


class SparseSerde:
    """The Format of float64 rows as wide as ``fresh``, which is float64 [W].

    A value: the offset, the bitmap (bit i of it stands for cell i, in words of 64 bits), then each cell whose bits are
    others than those of ``fresh``. A row comes back bit for bit, whatever NaN is in it.
    """

    def __init__(self, fresh: npt.NDArray[np.float64]) -> None:
        self._fresh = np.ascontiguousarray(fresh, dtype="<f8").view(np.int64)
        self._width = len(fresh)
        self._head = 1 + -(-self._width // _BITS)
        self.size = _WORD * (self._head + self._width)
        self.absent = self.pack(fresh.reshape(1, -1), NO_OFFSET)[0]

    def pack(self, rows: Rows, source_offset: int | Int64s) -> list[bytes]:
        """Return k values of k rows, as Format says."""
        if rows.shape != (len(rows), self._width):
            raise ValueError(f"rows of shape {rows.shape} for a table whose rows have shape ({self._width},)")
        cells = np.ascontiguousarray(rows, dtype="<f8").view(np.int64)
        offsets = np.empty(len(rows), dtype=np.int64)
        offsets[:] = source_offset
        words = np.empty(len(rows) * (self._head + self._width), dtype=np.int64)
        ends = np.empty(len(rows), dtype=np.int64)
        _pack(cells, self._fresh, offsets, self._head, words, ends)
        packed = words[: ends[-1] if len(ends) else 0].tobytes()
        stops = (ends * _WORD).tolist()
        return [packed[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]

    def unpack(self, values: Sequence[bytes]) -> Rows:
        """Return float64 [k, W], as Format says."""
        words, starts = _words(values)
        rows = np.empty((len(values), self._width), dtype="<f8")
        if not _unpack(words, starts, self._fresh, self._head, rows.view(np.int64)):
            raise StateCorrupt(f"a value is not that of a row of {self._width} cells")
        return rows

    def source_offsets(self, values: Sequence[bytes]) -> Int64s:
        """Return int64 [k], as Format says."""
        words, starts = _words(values)
        return words[starts[:-1]]

    def fits(self, values: Sequence[bytes]) -> Bools:
        """Return bool [k], as Format says."""
        sizes = lengths(values)
        whole = (sizes % _WORD == 0) & (sizes >= _WORD * self._head)
        found = np.zeros(len(values), dtype=np.bool_)
        there = np.flatnonzero(whole)
        words, starts = _words([values[at] for at in there.tolist()])
        expected = np.empty(len(there), dtype=np.int64)
        _count(words, starts, self._head, self._width, expected)
        found[there] = expected == sizes[there] // _WORD
        return found


def _words(values: Sequence[bytes]) -> tuple[Int64s, Int64s]:
    """Return k values as one int64 array, and where in it each of them begins, and the last one ends: int64 [k + 1].

    Raises StateCorrupt if that is not whole words.
    """
    joined = b"".join(values)
    starts = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(lengths(values), out=starts[1:])
    if len(joined) % _WORD or (starts % _WORD).any():
        raise StateCorrupt(f"a value has {len(joined) % _WORD} bytes too many")
    return np.frombuffer(joined, dtype="<i8"), starts // _WORD


_READ = types.Array(int64, 1, "C", readonly=True)
_READ_ROWS = types.Array(int64, 2, "C", readonly=True)


@compiled(void(_READ_ROWS, _READ, _READ, int64, int64[::1], int64[::1]))
def _pack(cells: Int64s, fresh: Int64s, offsets: Int64s, head: int, words: Int64s, ends: Int64s) -> None:
    """Write k values one behind the other; ``ends`` says where each of them ends."""
    at = 0
    for k in range(len(cells)):
        start = at
        words[start] = offsets[k]
        for w in range(start + 1, start + head):
            words[w] = 0
        at += head
        for i in range(len(fresh)):
            if cells[k, i] != fresh[i]:
                words[start + 1 + (i >> 6)] |= int64(1) << int64(i & 63)
                words[at] = cells[k, i]
                at += 1
        ends[k] = at


@compiled(types.boolean(_READ, _READ, _READ, int64, int64[:, ::1]))
def _unpack(words: Int64s, starts: Int64s, fresh: Int64s, head: int, cells: Int64s) -> bool:
    """Write the cells of k rows; False if there are more or fewer of them than a bitmap says."""
    for k in range(len(cells)):
        start, stop = starts[k], starts[k + 1]
        at = start + head
        if at > stop:
            return False
        for i in range(len(fresh)):
            if (words[start + 1 + (i >> 6)] >> int64(i & 63)) & 1:
                if at == stop:
                    return False
                cells[k, i] = words[at]
                at += 1
            else:
                cells[k, i] = fresh[i]
        if at != stop:
            return False
    return True


@compiled(void(_READ, _READ, int64, int64, int64[::1]))
def _count(words: Int64s, starts: Int64s, head: int, width: int, found: Int64s) -> None:
    """Note how many words each of k values should have by its bitmap; -1 if that names cells that rows have not."""
    for k in range(len(found)):
        found[k] = head
        for i in range(64 * (head - 1)):
            if (words[starts[k] + 1 + (i >> 6)] >> int64(i & 63)) & 1:
                if i >= width:
                    found[k] = -1
                    break
                found[k] += 1
