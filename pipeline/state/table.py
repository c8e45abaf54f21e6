"""One table of one task, as the flow sees it: what is committed, under what the open transaction wrote.

The flow's thread reads and writes; the committing thread brings writes to the disk or throws them away. A row that
was written stays in memory at least until it is on disk, so between the two there is no moment in which a read
misses it.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from pipeline.state.changelog import Changes
from pipeline.state.row_cache import RowCache, taken
from pipeline.state.row_serde import Int64s, Rows, RowSerde
from pipeline.state.store import Store

Judge = Callable[[Rows], npt.NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class TableWrite:
    """One write: what belongs into the changelog, record by record; a value of None is a row that was forgotten.

    ``number`` rises from write to write over all tables of the task.
    """

    number: int
    table: str
    keys: list[bytes]
    values: list[bytes] | list[None]


@dataclass(slots=True)
class TableSettings:
    """What the tables of a task have in common: a lock, the epoch whose writes count, the number of the last write."""

    epoch: int
    writes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class StateTable:
    """The rows of one table of a task.

    Rows are kept in ``room`` bytes of memory, unless more are written after it was said to be ``full``.
    """

    def __init__(self, store: Store, name: str, format_: RowSerde, room: int, common: TableSettings) -> None:
        self.name = name
        self.format = format_
        self._store = store
        self._room = room
        self._common = common
        self._recent = RowCache(room)
        self._uncommitted: list[TableWrite] = []
        self._rows = self._bytes = 0  # of the uncommitted writes
        self._held: dict[bytes, bytes | None] = {}  # the uncommitted writes, last of each key
        self._swept: bytes | None = None

    @property
    def uncommitted(self) -> int:
        """How many rows the uncommitted writes have; a key counts each time that it was written."""
        return self._rows

    @property
    def full(self) -> bool:
        """Whether it is time to commit: more uncommitted rows would take more memory than was given."""
        return self._bytes >= self._room / 4

    def read(self, keys: Sequence[bytes]) -> Rows:
        """Return the rows of k distinct keys, [k, ...], the caller's own: float64 [k, W] for numbers.

        Keys that are not there have the fresh row. Only for the flow's thread.
        """
        return self.format.unpack(self._values(keys))

    def committed(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return what the disk has of each key, None for nothing. For any thread."""
        return self._store.read(self.name, keys, None)

    def write(self, keys: list[bytes], rows: Rows, source_offset: int | Int64s, epoch: int) -> TableWrite | None:
        """Put the rows of k distinct keys in, uncommitted, for the next ``read``. Only for the flow's thread.

        ``rows`` is as ``read`` returns it; ``source_offset`` that of the last source record in them, or int64 [k].
        Returns None, and changes nothing, if the epoch is over in which the rows were worked out.
        """
        values = self.format.pack(rows, source_offset)
        return self._put(keys, values, values, epoch)

    def forget(self, is_old: Judge, rows: int, epoch: int) -> TableWrite | None:
        """Look at the next ``rows`` rows, round and round, and delete those that are old. Only for the flow's thread.

        ``is_old`` gives bool [k] for rows [k, ...]. Returns what to tell the changelog, or None if there is nothing.
        """
        chunk = self._store.scan(self.name, self._swept, rows)
        self._swept = chunk[-1][0] if len(chunk) == rows else None
        keys = [key for key, _ in chunk]
        with self._common.lock:
            newer = self._recent.find(keys)
        values = [stored if value is None else value for value, (_, stored) in zip(newer, chunk, strict=True)]
        old = is_old(self.format.unpack(values))
        gone = [
            key for key, value, is_it in zip(keys, values, old, strict=True) if is_it and value != self.format.absent
        ]
        return self._put(gone, [self.format.absent] * len(gone), [None] * len(gone), epoch) if gone else None

    def resize(self, room: int) -> None:
        """Keep rows in so many bytes from now on. Under the lock."""
        self._room = room
        self._recent.resize(room)

    def changes(self, through: int) -> Changes:
        """Return the uncommitted writes up to a number, last of each key. Under the lock."""
        if not self._uncommitted or self._uncommitted[-1].number <= through:
            return self._held.copy()
        return _last_of_each(each for each in self._uncommitted if each.number <= through)

    def settle(self, through: int) -> None:
        """Note that the writes up to a number are on disk. Under the lock."""
        self._uncommitted = [each for each in self._uncommitted if each.number > through]
        self._rows = sum(len(each.keys) for each in self._uncommitted)
        self._bytes = sum(taken(each.keys, each.values) for each in self._uncommitted)
        self._held = _last_of_each(self._uncommitted)

    def drop(self) -> None:
        """Throw the uncommitted writes away. Under the lock."""
        self._recent.let_go(self._held)
        self._uncommitted, self._held = [], {}
        self._rows = self._bytes = 0

    def _values(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return the values of keys as the open transaction has them."""
        with self._common.lock:
            found = self._recent.find(keys)
        places = [place for place, value in enumerate(found) if value is None] if None in found else []
        if places:
            # Nobody else writes these rows meanwhile: only this thread could, and what it wrote is held in memory.
            missing = [keys[place] for place in places]
            stored = self._store.read(self.name, missing, self.format.absent)
            for place, value in zip(places, stored, strict=True):
                found[place] = value
            with self._common.lock:
                self._recent.keep(missing, stored, self._held)
        return cast("list[bytes]", found)

    def _put(
        self, keys: list[bytes], shown: list[bytes], values: list[bytes] | list[None], epoch: int
    ) -> TableWrite | None:
        with self._common.lock:
            if epoch != self._common.epoch:
                return None
            self._common.writes += 1
            written = TableWrite(self._common.writes, self.name, keys, values)
            self._uncommitted.append(written)
            self._rows += len(keys)
            self._bytes += taken(keys, values)
            self._held.update(zip(keys, values, strict=True))
            self._recent.keep(keys, shown, self._held)
        return written


def _last_of_each(writes: Iterable[TableWrite]) -> dict[bytes, bytes | None]:
    last: dict[bytes, bytes | None] = {}
    for each in writes:
        last.update(zip(each.keys, each.values, strict=True))
    return last
