"""What a record of a changelog holds, which is also what the store holds: a key and its row (``format``).

A record's key is the row's key, its value that of the row; null means that the row was forgotten.

Under the key ``MEANING`` stands what the rows of the partition mean: rows of another declaration may well have the same
size. Under ``GROWN``, in a pipeline that was given more partitions, stands how keys moved (``upkeep/growth``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pipeline.errors import StateCorrupt
from pipeline.state.row_serde import RowSerde

Changes = Mapping[bytes, bytes | None]
TABLE_VERSION = b"\0meaning"
PARTITION_HISTORY = b"\0grown"
# Keys without a row. An event may have any key: the row of one of these would be taken for what stands there.
RESERVED_KEYS: frozenset[bytes | None] = frozenset({None, TABLE_VERSION, PARTITION_HISTORY})


@dataclass(frozen=True, slots=True)
class TableVersion:
    """What rows mean: a fingerprint of the table's declaration, and what of it is needed to read them (plain values).

    ``declared`` is None where that was not told.
    """

    fingerprint: str
    declared: Mapping[str, Any] | None = None

    def dump(self) -> bytes:
        """Return the value of a record under MEANING."""
        return json.dumps({"fingerprint": self.fingerprint, "declared": self.declared}, sort_keys=True).encode()

    @classmethod
    def load(cls, value: bytes) -> "TableVersion":
        """Read what ``dump`` wrote; earlier versions wrote the bare fingerprint. Anything else is a meaning unknown."""
        try:
            found = json.loads(value)
            return cls(str(found["fingerprint"]), found["declared"])
        except (ValueError, LookupError, TypeError):
            return cls(value.decode(errors="replace"))


class ChangelogReader:
    """A partition of a changelog as it is read in order, for a table whose rows are kept in that format.

    It is judged at its end: what was written for another declaration is void when all of it was written anew since.
    ``meaning`` is what it said last of its rows, None for nothing, and ``grown`` the last value under GROWN. ``ahead``
    says whether a row included an event at or behind the offset ``start`` of the source; it may be void by now.
    """

    def __init__(self, format_: RowSerde, start: int) -> None:
        self.meaning: TableVersion | None = None
        self.grown: bytes | None = None
        self.ahead = False
        self._format = format_
        self._start = start
        self._odd: dict[bytes, int] = {}

    def take(self, keys: Sequence[bytes | None], values: Sequence[bytes | None], topic: str) -> Changes:
        """Take the next records; return the last value of each key, without those that are no rows of the table.

        Raises StateCorrupt for a record without key.
        """
        last = dict(zip(keys, values, strict=True))
        if None in last:
            raise StateCorrupt(f"changelog {topic} has a record without key, which no worker writes")
        told = last.pop(TABLE_VERSION, None)
        self.meaning = self.meaning if told is None else TableVersion.load(told)
        self.grown = last.pop(PARTITION_HISTORY, None) or self.grown
        changes = cast("dict[bytes, bytes | None]", last)
        if self._odd:
            for key in self._odd.keys() & changes.keys():
                del self._odd[key]
        rows = [value for value in changes.values() if value is not None]
        fit = self._format.fits(rows)
        fitting = rows if fit.all() else [row for row, fits in zip(rows, fit, strict=True) if fits]
        if fitting and not self.ahead:
            self.ahead = bool((self._format.source_offsets(fitting) >= self._start).any())
        if not fit.all():
            names = (key for key, value in changes.items() if value is not None)
            odd = {key: len(row) for key, row, fits in zip(names, rows, fit, strict=True) if not fits}
            self._odd |= odd
            return {key: value for key, value in changes.items() if key not in odd}
        return changes

    def unfit(self, fingerprint: str) -> str | None:
        """Say why what was read so far is not rows of the declaration of this fingerprint; None if it is. Pure."""
        if self.meaning is not None and self.meaning.fingerprint != fingerprint:
            return "holds rows of another declaration than that of now"
        for key, size in self._odd.items():
            return f"has a value of {size} bytes under key {key!r}, which is no row of what is declared"
        return None
