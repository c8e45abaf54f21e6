"""How the rows of a table become bytes and back: what a store holds, and what a record of a changelog has as its value.

A value is the offset of the last source record that the row includes (int64), then the row, all little-endian.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.errors import StateCorrupt

Rows = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NO_OFFSET = -1  # of a row that no record made


class RowSerde(Protocol):
    """How the rows of one table are kept.

    ``size`` is the length of the longest value in bytes; ``absent`` the value of a key that is not there, which is
    that of a fresh row.
    """

    size: int
    absent: bytes

    def pack(self, rows: Rows, source_offset: int | Int64s) -> list[bytes]:
        """Return k values of k rows. ``source_offset`` is that of all of them, or int64 [k].

        Raises ValueError if the rows are not shaped as this table's are.
        """
        ...

    def unpack(self, values: Sequence[bytes]) -> Rows:
        """Return the k rows of k values: contiguous and the caller's own, so float64 [k, W] for numbers.

        Raises StateCorrupt if one of them is no row of this format, as far as that shows.
        """
        ...

    def source_offsets(self, values: Sequence[bytes]) -> Int64s:
        """Return int64 [k]: the offset of the last source record that each value includes, -1 for none."""
        ...

    def fits(self, values: Sequence[bytes]) -> Bools:
        """Say of k values which of them are rows of this format, as far as that shows: bool [k]."""
        ...


class FixedWidthSerde:
    """The Format of rows of one structured dtype, each as long as any other. ``fresh`` is one such row."""

    def __init__(self, row: npt.DTypeLike, fresh: npt.ArrayLike) -> None:
        self._stored = np.dtype([("source_offset", "<i8"), ("row", row)])
        self.size = self._stored.itemsize
        self._raw = np.dtype((np.void, self.size))
        self.absent = self.pack(np.array(fresh, dtype=self._stored["row"]).reshape(1), NO_OFFSET)[0]

    def pack(self, rows: Rows, source_offset: int | Int64s) -> list[bytes]:
        """Return k values of k rows, as Format says."""
        if rows.shape != (len(rows),):
            raise ValueError(f"rows of shape {rows.shape} for a table whose rows have one dimension")
        stored = np.empty(len(rows), dtype=self._stored)
        stored["source_offset"] = source_offset
        stored["row"] = rows
        values: list[Any] = stored.view(self._raw).tolist()  # of voids, numpy makes bytes
        return values

    def unpack(self, values: Sequence[bytes]) -> Rows:
        """Return the k rows of k values, as Format says."""
        return self._read(values)["row"].copy()

    def source_offsets(self, values: Sequence[bytes]) -> Int64s:
        """Return int64 [k], as Format says."""
        return self._read(values)["source_offset"].copy()

    def fits(self, values: Sequence[bytes]) -> Bools:
        """Return bool [k], as Format says."""
        fit: Bools = lengths(values) == self.size
        return fit

    def _read(self, values: Sequence[bytes]) -> Rows:
        read = bytearray().join(values)
        if len(read) != len(values) * self.size:
            raise StateCorrupt(f"a value is not one of {self.size} bytes")
        return np.frombuffer(read, dtype=self._stored, count=len(values))


def lengths(values: Sequence[bytes]) -> Int64s:
    """Return the lengths of k values, int64 [k]."""
    return np.fromiter(map(len, values), np.int64, len(values))
