"""The tables of one task, committed and discarded together."""

import threading
from collections.abc import Mapping

from surgetank.errors import StateError
from surgetank.state.budget import Budget
from surgetank.state.row_serde import RowSerde
from surgetank.state.store import Store
from surgetank.state.table import SharedTableState, StateTable, last_values


class TaskTables:
    """The tables in one store, by name. ``budget.rows`` is divided among them.

    The processing thread uses the tables; the committing thread calls ``commit`` or ``drop`` at the end of a
    transaction. The store must be restored before, and nothing else may write to it.
    """

    def __init__(self, store: Store, serdes: Mapping[str, RowSerde], budget: Budget, epoch: int) -> None:
        self.store = store
        self._shared = SharedTableState(epoch)
        self._ending = threading.Lock()  # serializes commit and drop
        self._on_disk = 0  # the last write on disk
        self._discarded = 0  # the last discarded write
        self._tables = {
            name: StateTable(store, name, serde, budget.rows // len(serdes), self._shared)
            for name, serde in serdes.items()
        }

    def __getitem__(self, name: str) -> StateTable:
        return self._tables[name]

    @property
    def full(self) -> bool:
        """Whether to commit now: a table has as many uncommitted rows as its memory allows."""
        return any(table.full for table in self._tables.values())

    def resize(self, budget: Budget) -> None:
        """Set the memory for cached rows, after the number of tasks of the worker has changed."""
        with self._shared.lock:
            for table in self._tables.values():
                table.resize(budget.rows // len(self._tables))

    def commit(self, through: int, positions: Mapping[str, int]) -> None:
        """Write the writes up to number ``through`` (0: none) to the store, after their transaction has committed.

        ``positions`` are the offsets of that transaction: the next record by source or changelog topic. Rows and
        positions are written atomically. After an error memory and disk are unchanged.
        """
        with self._ending:
            if self._on_disk < through <= self._discarded:
                raise StateError(
                    f"write {through} to the state in {self.store.path} is committed, but was discarded before it was "
                    "written to disk; reopen the task to restore it from its changelogs"
                )
            with self._shared.lock:
                writes = {name: table.writes(through) for name, table in self._tables.items()}
            self.store.write({name: last_values(each) for name, each in writes.items()}, positions)
            with self._shared.lock:
                for table in self._tables.values():
                    table.mark_written(through)
            self._on_disk = max(self._on_disk, through)

    def drop(self, epoch: int) -> None:
        """Discard every write that was not committed. From now on only writes of ``epoch`` are accepted."""
        with self._ending, self._shared.lock:
            self._discarded = self._shared.writes
            self._shared.epoch = epoch
            for table in self._tables.values():
                table.drop()
