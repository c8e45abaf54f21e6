"""Serialization of sparse numeric rows. Compiled with numba.

Feature rows are wide, and a key with few events fills few buckets of its rings. So only the cells that differ from
those of a fresh row are stored, after a bitmap of their positions.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import int64, types, void

from pipeline.compiled import compiled
from pipeline.errors import StateCorrupt
from pipeline.state.row_serde import NO_OFFSET, Bools, Int64s, Rows, lengths

_WORD = 8  # bytes of an offset, of a cell, and of a word of a bitmap
_BITS = 64


class SparseSerde:
    """A ``RowSerde`` of float64 rows of the same width as ``fresh``, which is float64 [W].

    A value is the offset, the bitmap (bit i stands for cell i, in words of 64 bits), then each cell whose bits differ
    from those of ``fresh``. Rows are restored bit for bit, including the payloads of NaN.
    """

    def __init__(self, fresh: npt.NDArray[np.float64]) -> None:
        self._fresh = np.ascontiguousarray(fresh, dtype="<f8").view(np.int64)
        self._width = len(fresh)
        self._head = 1 + -(-self._width // _BITS)
        self.size = _WORD * (self._head + self._width)
        self.absent = self.pack(fresh.reshape(1, -1), NO_OFFSET)[0]

    def pack(self, rows: Rows, source_offset: int | Int64s) -> list[bytes]:
        """Return the k values of k rows, as specified by ``RowSerde``."""
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
        """Return float64 [k, W], as specified by ``RowSerde``."""
        words, starts = _words(values)
        rows = np.empty((len(values), self._width), dtype="<f8")
        if not _unpack(words, starts, self._fresh, self._head, rows.view(np.int64)):
            raise StateCorrupt(f"a value is not a row of {self._width} cells")
        return rows

    def source_offsets(self, values: Sequence[bytes]) -> Int64s:
        """Return int64 [k], as specified by ``RowSerde``."""
        words, starts = _words(values)
        return words[starts[:-1]]

    def fits(self, values: Sequence[bytes]) -> Bools:
        """Return bool [k], as specified by ``RowSerde``."""
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
    """Return k values as one int64 array of words, and the start of each in it, ending with its length: int64 [k + 1].

    Raises StateCorrupt if the length of a value is not a multiple of the word size.
    """
    joined = b"".join(values)
    starts = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(lengths(values), out=starts[1:])
    if len(joined) % _WORD or (starts % _WORD).any():
        raise StateCorrupt(f"a value has {len(joined) % _WORD} excess bytes")
    return np.frombuffer(joined, dtype="<i8"), starts // _WORD


_READ = types.Array(int64, 1, "C", readonly=True)
_READ_ROWS = types.Array(int64, 2, "C", readonly=True)


@compiled(void(_READ_ROWS, _READ, _READ, int64, int64[::1], int64[::1]))
def _pack(cells: Int64s, fresh: Int64s, offsets: Int64s, head: int, words: Int64s, ends: Int64s) -> None:
    """Write k values one after the other. ``ends`` receives the end of each."""
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
    """Write the cells of k rows. Return False if the number of cells differs from that of a bitmap."""
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
    """Write the length in words that each of k values must have by its bitmap; -1 if a bit exceeds the row width."""
    for k in range(len(found)):
        found[k] = head
        for i in range(64 * (head - 1)):
            if (words[starts[k] + 1 + (i >> 6)] >> int64(i & 63)) & 1:
                if i >= width:
                    found[k] = -1
                    break
                found[k] += 1
