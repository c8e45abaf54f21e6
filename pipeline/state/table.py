"""One table of one task: the committed rows in the store, overlaid with the writes of the open transaction.

The processing thread reads and writes; the committing thread brings writes to disk or discards them. A written row
stays in memory at least until it is on disk, so a read never misses it in between.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from pipeline.state.changelog import Changes
from pipeline.state.row_cache import RowCache, memory_bytes
from pipeline.state.row_serde import Int64s, Rows, RowSerde
from pipeline.state.store import Store

ExpiryPredicate = Callable[[Rows], npt.NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class TableWrite:
    """One write, as the records for the changelog. A value of None deletes the row (a tombstone).

    ``number`` increases with every write to any table of the task.
    """

    number: int
    table: str
    keys: list[bytes]
    values: list[bytes] | list[None]


@dataclass(slots=True)
class SharedTableState:
    """State shared by the tables of a task: a lock, the accepted epoch, and the number of the last write."""

    epoch: int
    writes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class StateTable:
    """The rows of one table of a task.

    Rows are cached in ``capacity`` bytes of memory; more only if writes continue after ``full`` is true.
    """

    def __init__(self, store: Store, name: str, serde: RowSerde, capacity: int, shared: SharedTableState) -> None:
        self.name = name
        self.serde = serde
        self._store = store
        self._capacity = capacity
        self._shared = shared
        self._cache = RowCache(capacity)
        self._uncommitted: list[TableWrite] = []
        self._rows = self._bytes = 0  # of the uncommitted writes
        self._uncommitted_values: dict[bytes, bytes | None] = {}  # the last uncommitted write of each key
        self._scan_position: bytes | None = None

    @property
    def uncommitted(self) -> int:
        """The number of uncommitted rows; each write of a key counts."""
        return self._rows

    @property
    def full(self) -> bool:
        """Whether to commit now: more uncommitted rows would exceed the memory of the table."""
        return self._bytes >= self._capacity / 4

    def read(self, keys: Sequence[bytes]) -> Rows:
        """Return the rows of k distinct keys in a new array [k, ...]: float64 [k, W] for numeric rows.

        Keys without a row get the fresh row. Only for the processing thread.
        """
        return self.serde.unpack(self._values(keys))

    def committed(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key on disk, None for keys without a row. Thread-safe."""
        return self._store.read(self.name, keys, None)

    def write(self, keys: list[bytes], rows: Rows, source_offset: int | Int64s, epoch: int) -> TableWrite | None:
        """Write the rows of k distinct keys, uncommitted but visible to ``read``. Only for the processing thread.

        ``rows`` is as returned by ``read``; ``source_offset`` is the last source record included in them, or int64 [k].
        Returns None without writing if the epoch in which the rows were computed is over.
        """
        values = self.serde.pack(rows, source_offset)
        return self._write(keys, values, values, epoch)

    def expire(self, is_expired: ExpiryPredicate, rows: int, epoch: int) -> TableWrite | None:
        """Examine the next ``rows`` rows, cyclically, and delete expired ones. Only for the processing thread.

        ``is_expired`` returns bool [k] for rows [k, ...]. Returns the write for the changelog, or None if none expired.
        """
        chunk = self._store.scan(self.name, self._scan_position, rows)
        self._scan_position = chunk[-1][0] if len(chunk) == rows else None
        keys = [key for key, _ in chunk]
        with self._shared.lock:
            cached = self._cache.get(keys)
        values = [stored if value is None else value for value, (_, stored) in zip(cached, chunk, strict=True)]
        expired = is_expired(self.serde.unpack(values))
        expired_keys = [
            key
            for key, value, row_expired in zip(keys, values, expired, strict=True)
            if row_expired and value != self.serde.absent
        ]
        return (
            self._write(expired_keys, [self.serde.absent] * len(expired_keys), [None] * len(expired_keys), epoch)
            if expired_keys
            else None
        )

    def resize(self, capacity: int) -> None:
        """Set the memory for cached rows to ``capacity`` bytes. The caller holds the lock."""
        self._capacity = capacity
        self._cache.resize(capacity)

    def changes(self, through: int) -> Changes:
        """Return the last value of each key in the uncommitted writes up to a number. The caller holds the lock."""
        if not self._uncommitted or self._uncommitted[-1].number <= through:
            return self._uncommitted_values.copy()
        return _last_of_each(each for each in self._uncommitted if each.number <= through)

    def mark_written(self, through: int) -> None:
        """Remove the writes up to a number, which are on disk now. The caller holds the lock."""
        self._uncommitted = [each for each in self._uncommitted if each.number > through]
        self._rows = sum(len(each.keys) for each in self._uncommitted)
        self._bytes = sum(memory_bytes(each.keys, each.values) for each in self._uncommitted)
        self._uncommitted_values = _last_of_each(self._uncommitted)

    def drop(self) -> None:
        """Discard the uncommitted writes. The caller holds the lock."""
        self._cache.remove(self._uncommitted_values)
        self._uncommitted, self._uncommitted_values = [], {}
        self._rows = self._bytes = 0

    def _values(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return the values of keys, including the writes of the open transaction."""
        with self._shared.lock:
            found = self._cache.get(keys)
        positions = [position for position, value in enumerate(found) if value is None] if None in found else []
        if positions:
            # No other thread writes these rows meanwhile, and the writes of this thread are pinned in memory.
            missing = [keys[position] for position in positions]
            stored = self._store.read(self.name, missing, self.serde.absent)
            for position, value in zip(positions, stored, strict=True):
                found[position] = value
            with self._shared.lock:
                self._cache.put(missing, stored, self._uncommitted_values)
        return cast("list[bytes]", found)

    def _write(
        self, keys: list[bytes], cached: list[bytes], values: list[bytes] | list[None], epoch: int
    ) -> TableWrite | None:
        with self._shared.lock:
            if epoch != self._shared.epoch:
                return None
            self._shared.writes += 1
            written = TableWrite(self._shared.writes, self.name, keys, values)
            self._uncommitted.append(written)
            self._rows += len(keys)
            self._bytes += memory_bytes(keys, values)
            self._uncommitted_values.update(zip(keys, values, strict=True))
            self._cache.put(keys, cached, self._uncommitted_values)
        return written


def _last_of_each(writes: Iterable[TableWrite]) -> dict[bytes, bytes | None]:
    last: dict[bytes, bytes | None] = {}
    for each in writes:
        last.update(zip(each.keys, each.values, strict=True))
    return last
