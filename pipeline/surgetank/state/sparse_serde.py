"""Serialization of sparse numeric rows. Compiled with numba.

Feature rows are wide, and a key with few events fills few buckets of its rings. So only the cells that differ from
those of a fresh row are stored, after a bitmap of their positions.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import int64, types, void

from surgetank.compiled import compiled
from surgetank.errors import StateCorrupt
from surgetank.records import byte_lengths, large_binary_of, value_bytes
from surgetank.state.row_serde import NO_OFFSET, Bools, Int64s, Rows

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
        self.absent: bytes = self.pack(fresh.reshape(1, -1), NO_OFFSET)[0].as_py()

    def pack(self, rows: Rows, source_offset: int | Int64s) -> pa.LargeBinaryArray:
        """Return the k values of k rows, as specified by ``RowSerde``."""
        if rows.shape != (len(rows), self._width):
            raise ValueError(f"rows of shape {rows.shape} for a table whose rows have shape ({self._width},)")
        cells = np.ascontiguousarray(rows, dtype="<f8").view(np.int64)
        offsets = np.empty(len(rows), dtype=np.int64)
        offsets[:] = source_offset
        words = np.empty(len(rows) * (self._head + self._width), dtype=np.int64)
        ends = np.zeros(len(rows) + 1, dtype=np.int64)
        _pack(cells, self._fresh, offsets, self._head, words, ends)
        return large_binary_of(ends * _WORD, words[: ends[-1]].tobytes())

    def unpack(self, values: pa.LargeBinaryArray, out: Rows | None = None) -> Rows:
        """Return float64 [k, W], as specified by ``RowSerde``."""
        words, starts = _words(values)
        rows = np.empty((len(values), self._width), dtype="<f8") if out is None else out
        if not _unpack(words, starts, self._fresh, self._head, rows.view(np.int64)):
            raise StateCorrupt(f"a value is not a row of {self._width} cells")
        return rows

    def source_offsets(self, values: pa.LargeBinaryArray) -> Int64s:
        """Return int64 [k], as specified by ``RowSerde``."""
        words, starts = _words(values)
        return words[starts[:-1]]

    def fits(self, values: pa.LargeBinaryArray) -> Bools:
        """Return bool [k], as specified by ``RowSerde``."""
        sizes = byte_lengths(values)
        whole = (sizes % _WORD == 0) & (sizes >= _WORD * self._head)
        found = np.zeros(len(values), dtype=np.bool_)
        there = np.flatnonzero(whole)
        words, starts = _words(values.filter(pa.array(whole)))
        expected = np.empty(len(there), dtype=np.int64)
        _count(words, starts, self._head, self._width, expected)
        found[there] = expected == sizes[there] // _WORD
        return found


def _words(values: pa.LargeBinaryArray) -> tuple[Int64s, Int64s]:
    """Return the words of k values, and the start of each in them, ending with their number: int64 [k + 1].

    Raises StateCorrupt if the length of a value is not a multiple of the word size.
    """
    data, ends = value_bytes(values)
    starts, excess = np.divmod(ends - ends[0], _WORD)
    if excess.any():
        raise StateCorrupt(f"a value has {int(excess.max())} excess bytes")
    return np.require(data[ends[0] : ends[-1]].view("<i8"), requirements="A"), starts


_READ = types.Array(int64, 1, "C", readonly=True)
_READ_ROWS = types.Array(int64, 2, "C", readonly=True)


@compiled(void(_READ_ROWS, _READ, _READ, int64, int64[::1], int64[::1]))
def _pack(cells: Int64s, fresh: Int64s, offsets: Int64s, head: int, words: Int64s, ends: Int64s) -> None:
    """Write k values one after the other. ``ends[k + 1]`` receives the end of value k."""
    at = 0
    for k in range(len(cells)):
        start, at = at, at + head
        words[start] = offsets[k]
        for w in range(head - 1):
            bits = int64(0)
            for i in range(_BITS * w, min(_BITS * (w + 1), len(fresh))):
                differs = int64(cells[k, i] != fresh[i])
                words[at] = cells[k, i]  # without a branch; overwritten by the next cell unless it differs
                at += differs
                bits |= differs << int64(i & 63)
            words[start + 1 + w] = bits
        ends[k + 1] = at


@compiled(types.boolean(_READ, _READ, _READ, int64, int64[:, ::1]))
def _unpack(words: Int64s, starts: Int64s, fresh: Int64s, head: int, cells: Int64s) -> bool:
    """Write the cells of k rows. Return False if the number of cells differs from that of a bitmap."""
    last = len(words) - 1
    for k in range(len(cells)):
        start, stop = starts[k], starts[k + 1]
        at = start + head
        if at > stop:
            return False
        for i in range(len(fresh)):
            differs = (words[start + 1 + (i >> 6)] >> int64(i & 63)) & 1
            stored = words[min(at, last)]  # without a branch on the bit
            cells[k, i] = stored if differs else fresh[i]
            at += differs
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
