"""What a record of a changelog holds, which is also what the store holds: an offset and a row of fixed width.

A record's key is the row's key. Its value is the offset of the last source record that the row includes (int64),
then the row, both little-endian; null means that the row was forgotten. A table's rows all have one numpy dtype:
for features that is ``("<f8", (W,))``, and a structured dtype does as well.

Under the key ``MEANING`` stands what the rows of the partition mean: the fingerprint of the table's declaration. Rows
of another declaration may well have the same size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.errors import StateCorrupt, StateMismatch

Rows = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
Changes = Mapping[bytes, bytes | None]
MEANING = b"\0meaning"
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
class Burst:
    """What some records say of their keys, the last of each key: k rows, and the keys that were forgotten.

    ``rows`` is [k, ...] as the format has it and ``source_offsets`` int64 [k].
    """

    keys: list[bytes]
    rows: Rows
    source_offsets: Int64s
    forgotten: list[bytes]


class Sink(Protocol):
    """Where changes go: a Store."""

    def write(self, changes: Mapping[str, Changes], positions: Mapping[str, int]) -> None:
        """Write all of it or nothing."""
        ...


def last_of_each(
    keys: Sequence[bytes | None], values: Sequence[bytes | None], size: int, topic: str
) -> dict[bytes, bytes | None]:
    """Return the last value of each key, in columns of the same length as fetched from ``topic``.

    Raises StateCorrupt for a record that no table of values of ``size`` bytes wrote.
    """
    last = dict(zip(keys, values, strict=True))
    if None in last:
        raise StateCorrupt(f"changelog {topic} has a record without key, which no worker writes; rebuild the state")
    widths = {len(value) for key, value in last.items() if value is not None and key != MEANING}
    if widths - {size}:
        raise StateCorrupt(
            f"changelog {topic} has values of {min(widths - {size})} bytes where the table's have {size}: "
            "another version of the features wrote them; migrate or rebuild the state"
        )
    return last  # type: ignore[return-value]


def without_meaning(changes: dict[bytes, bytes | None], fingerprint: str, topic: str) -> Changes:
    """Return the changes without the record that tells what rows mean.

    Raises StateMismatch if that is something else than the table of this ``fingerprint`` means.
    """
    told = changes.pop(MEANING, None)
    if told is not None and told != fingerprint.encode():
        raise StateMismatch(
            f"changelog {topic} holds rows of another declaration of its table: what is kept cannot become what is "
            "declared now. Declare it as before, give the table another name, or begin anew: `surgetank state reset`"
        )
    return changes


def decode(keys: Sequence[bytes | None], values: Sequence[bytes | None], format_: Format, topic: str) -> Burst:
    """Return what the records say, last of each key; as ``last_of_each``, but for reading rows."""
    last = last_of_each(keys, values, format_.size, topic)
    last.pop(MEANING, None)
    there = {key: value for key, value in last.items() if value is not None}
    packed = list(there.values())
    return Burst(
        keys=list(there),
        rows=format_.unpack(packed),
        source_offsets=format_.source_offsets(packed),
        forgotten=[key for key, value in last.items() if value is None],
    )


def apply(
    sink: Sink,
    table: str,
    size: int,
    topic: str,
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    position: int,
) -> None:
    """Restore: write what a burst of records of ``topic`` says, and that ``topic`` is included up to ``position``.

    ``position`` is the offset of the next record to fetch, behind gaps and markers. Raises StateCorrupt as
    ``last_of_each`` does, and what the sink raises.
    """
    sink.write({table: last_of_each(keys, values, size, topic)}, {topic: position})
