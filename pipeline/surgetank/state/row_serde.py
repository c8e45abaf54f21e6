"""Serialization of the rows of a table: the format of values in stores and in changelog records.

A value is the offset of the last source record that the row includes (int64), then the row, all little-endian. Values
are columns without nulls.
"""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.errors import StateCorrupt
from surgetank.records import byte_lengths, large_binary_of, value_bytes

Rows = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NO_OFFSET = -1  # of a row that no source record has updated


class RowSerde(Protocol):
    """Serializes the rows of one table.

    ``size`` is the length of the longest value in bytes; ``absent`` the value of a key without a row, which is the
    value of a fresh row.
    """

    size: int
    absent: bytes

    def pack(self, rows: Rows, source_offset: int | Int64s) -> pa.LargeBinaryArray:
        """Return the k values of k rows. ``source_offset`` applies to all of them, or is int64 [k].

        Raises ValueError if the shape of the rows is not that of the table.
        """
        ...

    def unpack(self, values: pa.LargeBinaryArray, out: Rows | None = None) -> Rows:
        """Return the k rows of k values: float64 [k, W] for numeric rows, in ``out`` or a new contiguous array.

        Raises StateCorrupt if a value is not a row of this format, as far as that can be detected.
        """
        ...

    def source_offsets(self, values: pa.LargeBinaryArray) -> Int64s:
        """Return int64 [k]: the offset of the last source record that each value includes, -1 for none."""
        ...

    def fits(self, values: pa.LargeBinaryArray) -> Bools:
        """Return bool [k]: which of k values are rows of this format, as far as that can be detected."""
        ...


class FixedWidthSerde:
    """A ``RowSerde`` of rows of one structured dtype, all of the same size. ``fresh`` is the row of a new key."""

    def __init__(self, row: npt.DTypeLike, fresh: npt.ArrayLike) -> None:
        self._stored = np.dtype([("source_offset", "<i8"), ("row", row)])
        self.size = self._stored.itemsize
        self.absent: bytes = self.pack(np.array(fresh, dtype=self._stored["row"]).reshape(1), NO_OFFSET)[0].as_py()

    def pack(self, rows: Rows, source_offset: int | Int64s) -> pa.LargeBinaryArray:
        """Return the k values of k rows, as specified by ``RowSerde``."""
        if rows.shape != (len(rows),):
            raise ValueError(f"rows of shape {rows.shape} for a table of one-dimensional rows")
        stored = np.empty(len(rows), dtype=self._stored)
        stored["source_offset"] = source_offset
        stored["row"] = rows
        return large_binary_of(np.arange(len(rows) + 1) * self.size, stored.view(np.uint8))

    def unpack(self, values: pa.LargeBinaryArray, out: Rows | None = None) -> Rows:
        """Return the k rows of k values, as specified by ``RowSerde``."""
        rows = np.empty(len(values), dtype=self._stored["row"]) if out is None else out
        rows[:] = self._read(values)["row"]
        return rows

    def source_offsets(self, values: pa.LargeBinaryArray) -> Int64s:
        """Return int64 [k], as specified by ``RowSerde``."""
        return self._read(values)["source_offset"].copy()

    def fits(self, values: pa.LargeBinaryArray) -> Bools:
        """Return bool [k], as specified by ``RowSerde``."""
        fit: Bools = byte_lengths(values) == self.size
        return fit

    def _read(self, values: pa.LargeBinaryArray) -> Rows:
        data, ends = value_bytes(values)
        if (np.diff(ends) != self.size).any():
            raise StateCorrupt(f"a value does not have {self.size} bytes")
        return data[ends[0] : ends[-1]].view(self._stored)
