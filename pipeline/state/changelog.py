"""What a record of a changelog holds, which is also what the store holds: an offset and a row of fixed width.

A record's key is the row's key. Its value is the offset of the last source record that the row includes (int64),
then the row, both little-endian; null means that the row was forgotten. A table's rows all have one numpy dtype:
for features that is ``("<f8", (W,))``, and a structured dtype does as well.

Under the key ``MEANING`` stands what the rows of the partition mean: rows of another declaration may well have the same
size. Under ``GROWN``, in a pipeline that was given more partitions, stands how keys moved (``upkeep/growth``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from pipeline.errors import StateCorrupt

Rows = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
Changes = Mapping[bytes, bytes | None]
MEANING = b"\0meaning"
GROWN = b"\0grown"
NO_OFFSET = -1  # of a row that no record made


class Format:
    """How the rows of one table become bytes and back.

    ``row`` is the dtype of one row and ``fresh`` the row of a key that was never seen. ``size`` is the length of
    a value in bytes, and ``absent`` the value of a key that is not there.
    """

    def __init__(self, row: npt.DTypeLike, fresh: npt.ArrayLike) -> None:
        self._stored = np.dtype([("source_offset", "<i8"), ("row", row)])
        self._row = self._stored["row"]
        self.size = self._stored.itemsize
        self._raw = np.dtype((np.void, self.size))
        self.absent = self.pack(np.array(fresh, dtype=self._row.base).reshape(1, *self._row.shape), NO_OFFSET)[0]

    @classmethod
    def of_numbers(cls, fresh: npt.NDArray[np.float64]) -> "Format":
        """Return the format of float64 rows as wide as ``fresh``, which is float64 [W]."""
        return cls(("<f8", fresh.shape), fresh)

    def pack(self, rows: Rows, source_offset: int | Int64s) -> list[bytes]:
        """Return k values of k rows. ``source_offset`` is that of all of them, or int64 [k].

        Raises ValueError if the rows are not shaped as this table's are.
        """
        if rows.shape != (len(rows), *self._row.shape):
            raise ValueError(f"rows of shape {rows.shape} for a table whose rows have shape {self._row.shape}")
        stored = np.empty(len(rows), dtype=self._stored)
        stored["source_offset"] = source_offset
        stored["row"] = rows
        values: list[Any] = stored.view(self._raw).tolist()  # of voids, numpy makes bytes
        return values

    def unpack(self, values: Sequence[bytes]) -> Rows:
        """Return the k rows of k values: contiguous and the caller's own, so float64 [k, W] for numbers."""
        return self._read(values)["row"].copy()

    def source_offsets(self, values: Sequence[bytes]) -> Int64s:
        """Return int64 [k]: the offset of the last source record that each value includes, -1 for none."""
        return self._read(values)["source_offset"].copy()

    def _read(self, values: Sequence[bytes]) -> Rows:
        return np.frombuffer(bytearray().join(values), dtype=self._stored, count=len(values))


@dataclass(frozen=True, slots=True)
class Meaning:
    """What rows mean: a fingerprint of the table's declaration, and what of it is needed to read them (plain values).

    ``declared`` is None where that was not told.
    """

    fingerprint: str
    declared: Mapping[str, Any] | None = None

    def dump(self) -> bytes:
        """Return the value of a record under MEANING."""
        return json.dumps({"fingerprint": self.fingerprint, "declared": self.declared}, sort_keys=True).encode()

    @classmethod
    def load(cls, value: bytes) -> "Meaning":
        """Read what ``dump`` wrote; earlier versions wrote the bare fingerprint. Anything else is a meaning unknown."""
        try:
            found = json.loads(value)
            return cls(str(found["fingerprint"]), found["declared"])
        except (ValueError, LookupError, TypeError):
            return cls(value.decode(errors="replace"))


class Reading:
    """A partition of a changelog as it is read in order, for a table whose values have ``size`` bytes.

    It is judged at its end: what was written for another declaration is void when all of it was written anew since.
    ``meaning`` is what it said last of its rows, None for nothing.
    """

    def __init__(self, size: int) -> None:
        self.meaning: Meaning | None = None
        self._size = size
        self._odd: dict[bytes, int] = {}

    def take(self, keys: Sequence[bytes | None], values: Sequence[bytes | None], topic: str) -> Changes:
        """Take the next records; return the last value of each key, without those of another size.

        Raises StateCorrupt for a record without key.
        """
        last = dict(zip(keys, values, strict=True))
        if None in last:
            raise StateCorrupt(f"changelog {topic} has a record without key, which no worker writes")
        told = last.pop(MEANING, None)
        self.meaning = self.meaning if told is None else Meaning.load(told)
        last.pop(GROWN, None)
        changes = cast("dict[bytes, bytes | None]", last)
        if self._odd:
            for key in self._odd.keys() & changes.keys():
                del self._odd[key]
        if {len(value) for value in changes.values() if value is not None} - {self._size}:
            odd = {key: len(value) for key, value in changes.items() if value is not None and len(value) != self._size}
            self._odd |= odd
            return {key: value for key, value in changes.items() if key not in odd}
        return changes

    def unfit(self, fingerprint: str) -> str | None:
        """Say why what was read so far is not rows of the declaration of this fingerprint; None if it is. Pure."""
        if self.meaning is not None and self.meaning.fingerprint != fingerprint:
            return "holds rows of another declaration than that of now"
        for key, size in self._odd.items():
            return f"has a value of {size} bytes where a row of what is declared has {self._size}, as of key {key!r}"
        return None
