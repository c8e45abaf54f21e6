"""The tables of one task together: what is committed or thrown away, is so for all of them at once."""

import threading
from collections.abc import Mapping

from pipeline.errors import StateError
from pipeline.state.budget import Budget
from pipeline.state.row_serde import RowSerde
from pipeline.state.store import Store
from pipeline.state.table import StateTable, TableSettings


class TaskTables:
    """The tables over one store, by name. ``budget.rows`` is shared among them.

    The flow's thread uses the tables; the committing thread calls ``commit`` or ``drop`` when the transaction ended.
    The store is restored before this is made, and by nobody else written to meanwhile.
    """

    def __init__(self, store: Store, formats: Mapping[str, RowSerde], budget: Budget, epoch: int) -> None:
        self.store = store
        self._common = TableSettings(epoch)
        self._ending = threading.Lock()  # a commit and a drop never mix
        self._on_disk = 0  # the last write that is
        self._dropped = 0  # the last write that never will be
        self._tables = {
            name: StateTable(store, name, format_, budget.rows // len(formats), self._common)
            for name, format_ in formats.items()
        }

    def __getitem__(self, name: str) -> StateTable:
        return self._tables[name]

    @property
    def full(self) -> bool:
        """Whether it is time to commit: a table has as many uncommitted rows as it may."""
        return any(table.full for table in self._tables.values())

    def resize(self, budget: Budget) -> None:
        """Take another size of what is kept in memory, as a worker with more or fewer tasks gives."""
        with self._common.lock:
            for table in self._tables.values():
                table.resize(budget.rows // len(self._tables))

    def commit(self, through: int, positions: Mapping[str, int]) -> None:
        """Bring the writes up to number ``through`` (0: none) to the disk: call it when their transaction is committed.

        ``positions`` are what that transaction says: by topic, source or changelog, the offset of the next record.
        Rows and positions are one write. What raises leaves memory and disk as they were.
        """
        with self._ending:
            if self._on_disk < through <= self._dropped:
                raise StateError(
                    f"write {through} to the state in {self.store.path} is committed, but was thrown away before it "
                    "came to the disk; open the task again, so that its changelogs give it back"
                )
            with self._common.lock:
                changes = {name: table.changes(through) for name, table in self._tables.items()}
            self.store.write(changes, positions)
            with self._common.lock:
                for table in self._tables.values():
                    table.settle(through)
            self._on_disk = max(self._on_disk, through)

    def drop(self, epoch: int) -> None:
        """Throw away every write that was not committed. From now on only those of ``epoch`` count."""
        with self._ending, self._common.lock:
            self._dropped = self._common.writes
            self._common.epoch = epoch
            for table in self._tables.values():
                table.drop()
