"""One table of one task: the committed rows in the store, overlaid with the writes of the open transaction.

The processing thread reads and writes; the committing thread brings writes to disk or discards them. A written row
stays in memory at least until it is on disk, so a read never misses it in between.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.records import large_binary
from surgetank.state.changelog import Changes
from surgetank.state.row_cache import RowCache, memory_bytes
from surgetank.state.row_serde import Int64s, Rows, RowSerde
from surgetank.state.store import Store

ExpiryPredicate = Callable[[Rows], npt.NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class TableWrite:
    """One write of k distinct keys, as the records for the changelog. A null value deletes the row (a tombstone).

    ``number`` increases with every write to any table of the task.
    """

    number: int
    table: str
    keys: pa.LargeBinaryArray
    values: pa.LargeBinaryArray

    @property
    def memory_bytes(self) -> int:
        """The memory of its rows in bytes."""
        return memory_bytes(self.keys, self.values)


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
        self._uncommitted_bytes = 0
        self._scan_position: bytes | None = None

    @property
    def uncommitted(self) -> int:
        """The number of uncommitted rows; each write of a key counts."""
        return sum(len(each.keys) for each in self._uncommitted)

    @property
    def full(self) -> bool:
        """Whether to commit now: more uncommitted rows would exceed the memory of the table."""
        return self._uncommitted_bytes >= self._capacity / 4

    @property
    def scan_complete(self) -> bool:
        """Whether the last ``expire`` reached the end of the table."""
        return self._scan_position is None

    def read(self, keys: pa.LargeBinaryArray, out: Rows | None = None) -> Rows:
        """Return the rows of k distinct keys, in ``out`` or a new array [k, ...]: float64 [k, W] for numeric rows.

        Keys without a row get the fresh row. Only for the processing thread.
        """
        return self.serde.unpack(self._values(keys), out)

    def committed(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key on disk, None for keys without a row. Thread-safe."""
        return self._store.read(self.name, keys, None)

    def write(
        self, keys: pa.LargeBinaryArray, rows: Rows, source_offset: int | Int64s, epoch: int
    ) -> TableWrite | None:
        """Write the rows of k distinct keys, uncommitted but visible to ``read``. Only for the processing thread.

        ``rows`` is as returned by ``read``; ``source_offset`` is the last source record included in them, or int64 [k].
        Returns None without writing if the epoch in which the rows were computed is over.
        """
        values = self.serde.pack(rows, source_offset)
        return self._write(keys, values, values, epoch)

    def delete(self, keys: pa.LargeBinaryArray, epoch: int) -> TableWrite | None:
        """Delete the rows of k distinct keys, uncommitted, as ``write``. Only for the processing thread."""
        absent = large_binary([self.serde.absent] * len(keys))
        return self._write(keys, absent, large_binary([None] * len(keys)), epoch)

    def expire(self, is_expired: ExpiryPredicate, rows: int, epoch: int) -> TableWrite | None:
        """Examine the next ``rows`` rows, cyclically, and delete expired ones. Only for the processing thread.

        ``is_expired`` returns bool [k] for rows [k, ...]. Returns the write for the changelog, or None if none expired.
        """
        chunk = self._store.scan(self.name, self._scan_position, rows)
        self._scan_position = chunk[-1][0] if len(chunk) == rows else None
        keys = large_binary([key for key, _ in chunk])
        with self._shared.lock:
            cached = self._cache.get(keys)
        values = pc.coalesce(cached, large_binary([value for _, value in chunk]))
        expired = pa.array(is_expired(self.serde.unpack(values)))
        keys = keys.filter(pc.and_(expired, pc.not_equal(values, pa.scalar(self.serde.absent, values.type))))
        return self.delete(keys, epoch) if len(keys) else None

    def resize(self, capacity: int) -> None:
        """Set the memory for cached rows to ``capacity`` bytes. The caller holds the lock."""
        self._capacity = capacity
        self._cache.resize(capacity)

    def writes(self, through: int) -> list[TableWrite]:
        """Return the uncommitted writes up to a number, in order. The caller holds the lock."""
        return [each for each in self._uncommitted if each.number <= through]

    def mark_written(self, through: int) -> None:
        """Remove the writes up to a number, which are on disk now. The caller holds the lock."""
        self._uncommitted = [each for each in self._uncommitted if each.number > through]
        self._uncommitted_bytes = sum(each.memory_bytes for each in self._uncommitted)
        self._cache.mark_committed(through)

    def drop(self) -> None:
        """Discard the uncommitted writes; reads find the rows on disk. The caller holds the lock."""
        self._uncommitted, self._uncommitted_bytes = [], 0
        self._cache.clear()

    def _values(self, keys: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
        """Return the values of keys, including the writes of the open transaction."""
        with self._shared.lock:
            found = self._cache.get(keys)
        if not found.null_count:
            return found
        # No other thread writes these rows meanwhile, and the writes of this thread are pinned in memory.
        is_missing = found.is_null()
        missing = keys.filter(is_missing)
        stored = large_binary(self._store.read(self.name, missing.to_pylist(), self.serde.absent))
        with self._shared.lock:
            self._cache.put(missing, stored, 0)
        return pc.replace_with_mask(found, is_missing, stored)

    def _write(
        self, keys: pa.LargeBinaryArray, cached: pa.LargeBinaryArray, values: pa.LargeBinaryArray, epoch: int
    ) -> TableWrite | None:
        with self._shared.lock:
            if epoch != self._shared.epoch:
                return None
            self._shared.writes += 1
            written = TableWrite(self._shared.writes, self.name, keys, values)
            self._uncommitted.append(written)
            self._uncommitted_bytes += written.memory_bytes
            self._cache.put(keys, cached, written.number)
        return written


def last_values(writes: Sequence[TableWrite]) -> Changes:
    """Return the last value of each key that the writes of a table contain, None for deleted rows. Pure."""
    last: dict[bytes, bytes | None] = {}
    for each in writes:
        last.update(zip(each.keys.to_pylist(), each.values.to_pylist(), strict=True))
    return last
