"""The records of a changelog partition: keys and serialized rows, as the store holds them too.

The key of a record is the key of the row, its value the serialized row (``row_serde``); null deletes the row.

The key ``TABLE_VERSION`` holds the version of the partition's rows, because rows of another declaration may have the
same size. The key ``PARTITION_HISTORY`` holds how keys moved, if the number of partitions was increased.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa

from surgetank.errors import StateCorrupt
from surgetank.records import large_binary
from surgetank.state.row_serde import RowSerde

Changes = Mapping[bytes, bytes | None]
TABLE_VERSION = b"\0meaning"
PARTITION_HISTORY = b"\0grown"
# Reserved keys without a row. Events may have any key, and a row under one of these would be read as its special value.
RESERVED_KEYS: frozenset[bytes | None] = frozenset({None, TABLE_VERSION, PARTITION_HISTORY})


@dataclass(frozen=True, slots=True)
class TableVersion:
    """The version of a table's rows: a fingerprint of its declaration, and the declaration needed to read them.

    ``declared`` has plain values; None if it is unknown.
    """

    fingerprint: str
    declared: Mapping[str, Any] | None = None

    def dump(self) -> bytes:
        """Return the value of the record under ``TABLE_VERSION``."""
        return json.dumps({"fingerprint": self.fingerprint, "declared": self.declared}, sort_keys=True).encode()

    @classmethod
    def load(cls, value: bytes) -> "TableVersion":
        """Read the output of ``dump``, or a bare fingerprint as earlier versions wrote it."""
        try:
            found = json.loads(value)
            return cls(str(found["fingerprint"]), found["declared"])
        except (ValueError, LookupError, TypeError):
            return cls(value.decode(errors="replace"))


class ChangelogReader:
    """Reads a changelog partition in order, for a table whose rows have the given format.

    The partition is checked at its end: rows of another declaration are allowed if all of them were rewritten since.
    ``meaning`` is the last table version, None if there is none, and ``grown`` the last value under
    ``PARTITION_HISTORY``. ``ahead`` is true if a row includes an event at or after the offset ``start`` of the source;
    that row may have been replaced since.
    """

    def __init__(self, serde: RowSerde, start: int) -> None:
        self.meaning: TableVersion | None = None
        self.grown: bytes | None = None
        self.ahead = False
        self._serde = serde
        self._start = start
        self._odd: dict[bytes, int] = {}

    def take(self, keys: Sequence[bytes | None], values: Sequence[bytes | None], topic: str) -> Changes:
        """Process the next records; return the last value of each key, without values that are not rows of the table.

        Raises StateCorrupt for a record without a key.
        """
        last = dict(zip(keys, values, strict=True))
        if None in last:
            raise StateCorrupt(f"changelog {topic} has a record without a key, which no worker writes")
        stored = last.pop(TABLE_VERSION, None)
        self.meaning = self.meaning if stored is None else TableVersion.load(stored)
        self.grown = last.pop(PARTITION_HISTORY, None) or self.grown
        changes = cast("dict[bytes, bytes | None]", last)
        if self._odd:
            for key in self._odd.keys() & changes.keys():
                del self._odd[key]
        rows = [value for value in changes.values() if value is not None]
        column = large_binary(rows)
        fit = self._serde.fits(column)
        fitting = column if fit.all() else column.filter(pa.array(fit))
        if not self.ahead:
            self.ahead = bool((self._serde.source_offsets(fitting) >= self._start).any())
        if not fit.all():
            names = (key for key, value in changes.items() if value is not None)
            odd = {key: len(row) for key, row, fits in zip(names, rows, fit, strict=True) if not fits}
            self._odd |= odd
            return {key: value for key, value in changes.items() if key not in odd}
        return changes

    def unfit(self, fingerprint: str) -> str | None:
        """Return why the records read so far are not rows of this declaration's fingerprint; None if they are. Pure."""
        if self.meaning is not None and self.meaning.fingerprint != fingerprint:
            return "holds rows of another declaration than the current one"
        for key, size in self._odd.items():
            return f"has a value of {size} bytes under key {key!r}, which is not a row of the current declaration"
        return None
