"""The state of a pipeline in a folder, for files that are scored one after the other.

A run works on a copy, which replaces the folder's state when the scores are written. A run that is broken off leaves
the state before it, so that the same file can be scored again.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surgetank.declaration import Pipeline
from surgetank.edge.source_records import EPOCH, PARTITION
from surgetank.errors import SettingsError, StateMismatch
from surgetank.processing.stateful_features import row_serdes
from surgetank.records import StateChanges, TaskEpoch, TaskId, TopicPartition
from surgetank.state import budget
from surgetank.state.state_directory import StateDirectory
from surgetank.state.store import Store, StoreMemory
from surgetank.state.store_identity import StoreIdentity, other_tables
from surgetank.state.tables import TaskTables

_CURRENT, _NEXT, _OLD = "current", "next", "old"


class LocalState:
    """The tables of one task. A ``StateStores``.

    Raises StateMismatch if the store belongs to another pipeline or declaration, StateError if it cannot be used.
    """

    def __init__(self, folder: Path, pipeline: Pipeline, memory_mib: int) -> None:
        serdes, signatures = row_serdes(pipeline)
        self.task_epoch = TaskEpoch(TaskId(pipeline.name, PARTITION), EPOCH)
        memory = StoreMemory(budget.share(memory_mib, 1))
        self._store = Store.open(folder, StoreIdentity(pipeline.name, PARTITION, 1, signatures), memory)
        if differing := other_tables(self._store.differences):
            self._store.close()
            raise StateMismatch(
                f"the state has {differing}: score with the declaration that made it, or name another folder with "
                "--state"
            )
        self._tables = TaskTables(self._store, serdes, memory.budget, EPOCH)

    def tables(self, task_epoch: TaskEpoch) -> TaskTables | None:
        """Return the tables of the task; None for another one."""
        return self._tables if task_epoch == self.task_epoch else None

    def position(self, topic: str) -> int:
        """Return the offset of the next event of a topic: how many the state includes."""
        return self._store.positions().get(topic, 0)

    def commit(self, changes: StateChanges, offsets: dict[TopicPartition, int]) -> None:
        """Write the changes of a batch, and the next offset by source, atomically. Raises DiskFull."""
        positions = {source.topic: offset for source, offset in offsets.items()}
        self._tables.commit(changes.writes.get(self.task_epoch, 0), positions)

    def close(self) -> None:
        """Flush and close."""
        self._store.close()


class RunState:
    """A folder of state. ``local`` is the copy that a run works on; ``keep`` makes it the state of the folder."""

    def __init__(self, base: Path, pipeline: Pipeline, memory_mib: int) -> None:
        self._current, self._old = base / _CURRENT, base / _OLD
        self._next = base / _NEXT
        if not self._current.exists() and self._old.exists():  # a run ended while it replaced the state
            self._old.rename(self._current)
        shutil.rmtree(self._next, ignore_errors=True)
        if self._current.exists():
            shutil.copytree(self._current, self._next, copy_function=_copy)
        else:
            self._next.mkdir()
        self.local = LocalState(self._next, pipeline, memory_mib)

    def keep(self) -> None:
        """Close the copy, and put it in the place of the state before."""
        self.local.close()
        shutil.rmtree(self._old, ignore_errors=True)
        if self._current.exists():
            self._current.rename(self._old)
        self._next.rename(self._current)
        shutil.rmtree(self._old, ignore_errors=True)


def _copy(source: str, target: str) -> None:
    """Copy a file; link those of sorted rows, which RocksDB never changes."""
    if source.endswith(".sst"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


@contextmanager
def state_folder(folder: Path | None, pipeline: Pipeline, memory_mib: int) -> Iterator[RunState]:
    """Yield the state in a folder, locked against other processes; None: in a folder of this run only, empty at first.

    Raises SettingsError if the folder is in use or cannot be used, and the errors of ``LocalState``.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="surgetank-score-") as temporary:
            yield from _opened(Path(temporary), pipeline, memory_mib)
        return
    try:
        directory = StateDirectory(folder, pipeline.name)
    except OSError as error:
        raise SettingsError(f"--state {folder} cannot be used: {error.strerror}") from None
    try:
        yield from _opened(directory.folder, pipeline, memory_mib)
    finally:
        directory.release()


def _opened(base: Path, pipeline: Pipeline, memory_mib: int) -> Iterator[RunState]:
    opened = RunState(base, pipeline, memory_mib)
    try:
        yield opened
    finally:
        opened.local.close()
