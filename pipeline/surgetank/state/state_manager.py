"""The local state of this worker's tasks: one store per task, in a folder locked by this worker.

Rows and positions are written atomically after the commit, so the rows on disk always match their positions. A store
is up to date if its positions are the committed offsets, and is restored from the changelogs if they are behind.

The position of a changelog is the offset after the last record that this worker produced to it in a committed
transaction, as known from delivery reports. A restore from there reads only the transaction's marker.
"""

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from surgetank.errors import StateClosed, StateCorrupt, StateError
from surgetank.records import OutputPartition, TaskEpoch, TaskId, TopicPartition
from surgetank.state import budget
from surgetank.state.state_directory import StateDirectory
from surgetank.state.state_spec import StateSpec
from surgetank.state.store import Store, StoreMemory, StoreSize, destroy
from surgetank.state.store_identity import StoreIdentity, other_tables
from surgetank.state.tables import TaskTables

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _OpenStore:
    """The open store of one task. ``lock`` serializes the end of an epoch and writes."""

    store: Store
    epoch: int
    tables: TaskTables | None = None
    corrupted: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class StateManager:
    """Opens, commits and closes the stores of tasks. Thread-safe."""

    def __init__(self, directory: StateDirectory, spec: StateSpec, memory_mib: int) -> None:
        self.spec = spec
        self._directory = directory
        self._folder = directory.folder
        self._memory_mib = memory_mib
        self._memory = StoreMemory(budget.share(memory_mib, 1))
        self._lock = threading.Lock()
        self._entries: dict[TaskId, _OpenStore] = {}
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="close")
        self._closing: dict[TaskId, Future[None]] = {}

    def tables(self, task_epoch: TaskEpoch) -> TaskTables | None:
        """Return the tables of a task in an epoch; None if the epoch is over, or the tables are not restored."""
        entry = self._entries.get(task_epoch[0])
        if entry is None or entry.epoch != task_epoch[1] or entry.corrupted is not None:
            return None
        return entry.tables

    @property
    def full(self) -> bool:
        """Whether to commit now: more uncommitted rows would exceed the memory of a table."""
        return any(entry.tables is not None and entry.tables.full for entry in list(self._entries.values()))

    def open(self, task_epoch: TaskEpoch) -> Store:
        """Return the store of a task, opening it if necessary. A corrupted store is deleted first, with a warning.

        Raises StateMismatch if it belongs to another pipeline or task, and StateError if it cannot be opened.
        """
        task, epoch = task_epoch
        with self._lock:
            entry = self._entries.get(task)
            closing = self._closing.pop(task, None) if entry is None else None
        if entry is not None and entry.corrupted is None:
            with entry.lock:
                entry.epoch, entry.tables = epoch, None
            return entry.store
        if entry is not None:
            return self.renew(task_epoch, entry.corrupted or "")
        if closing is not None:
            wait([closing])
        try:
            store = self._open_store(task)
        except StateCorrupt as error:
            log.warning("task %s: %s", task, error)
            destroy(self._path(task))
            store = self._open_store(task)
        self._register(task_epoch, store)
        return store

    def renew(self, task_epoch: TaskEpoch, why: str) -> Store:
        """Replace the store of a task by an empty one, and log ``why``. Raises StateClosed if the task was closed."""
        with self._lock:
            entry = self._entries.pop(task_epoch[0], None)
        if entry is None:  # another thread closes the store, and its folder is still in use
            raise StateClosed(f"task {task_epoch[0]} was closed before its store was replaced")
        log.warning("task %s: local state is deleted and restored from its changelogs: %s", task_epoch[0], why)
        _close(entry.store)
        destroy(self._path(task_epoch[0]))
        store = self._open_store(task_epoch[0])
        self._register(task_epoch, store)
        return store

    def install(self, task_epoch: TaskEpoch) -> bool:
        """Create the tables over the restored store; return False if the epoch of the task is over."""
        entry = self._entries.get(task_epoch[0])
        if entry is None:
            return False
        with entry.lock:
            if entry.epoch != task_epoch[1] or entry.corrupted is not None:
                return False
            entry.tables = TaskTables(entry.store, self.spec.serdes, self._memory.budget, task_epoch[1])
            return True

    def current(self, task_epoch: TaskEpoch, starts: Mapping[TopicPartition, int]) -> bool:
        """Return whether the tables are open and include exactly the records before these offsets."""
        entry = self._entries.get(task_epoch[0])
        if entry is None or self.tables(task_epoch) is None:
            return False
        try:
            positions = entry.store.positions()
        except StateError as error:
            entry.corrupted = str(error)
            return False
        return all(positions.get(source.topic) == offset for source, offset in starts.items())

    def drop(self, task_epochs: Iterable[TaskEpoch]) -> None:
        """Discard the uncommitted writes of these tasks. From now on only writes of these epochs are accepted."""
        for task, epoch in task_epochs:
            entry = self._entries.get(task)
            if entry is not None:
                with entry.lock:
                    entry.epoch = epoch
                    if entry.tables is not None:
                        entry.tables.drop(epoch)

    def mark_corrupted(self, partition: int, why: str) -> None:
        """Mark the store of a task as corrupted, so that it is deleted when the task is opened again."""
        for task, entry in list(self._entries.items()):
            if task.partition == partition:
                entry.corrupted = why

    def commit(
        self,
        commitment: Mapping[TaskEpoch, Mapping[TopicPartition, int]],
        writes: Mapping[TaskEpoch, int],
        reached: Mapping[OutputPartition, int],
    ) -> None:
        """Write the rows and positions of a committed transaction to the stores, atomically for each task.

        ``reached`` is by changelog partition the offset after its last record of the transaction. A task that was
        rewound or closed meanwhile is skipped, and restored when it is opened again. Raises DiskFull.
        """
        for task_epoch, offsets in commitment.items():
            entry = self._entries.get(task_epoch[0])
            if entry is None:
                continue
            positions = {source.topic: offset for source, offset in offsets.items()}
            for topic in self.spec.changelogs.values():
                if (at := reached.get((topic, task_epoch[0].partition))) is not None:
                    positions[topic] = at
            with entry.lock:
                if entry.epoch == task_epoch[1] and entry.tables is not None:
                    try:
                        entry.tables.commit(writes.get(task_epoch, 0), positions)
                    except StateCorrupt as error:
                        entry.corrupted = str(error)

    def committed(self, table: str, keys: Sequence[bytes]) -> dict[int, list[bytes | None]]:
        """Return by the number of each open task the value of each key on disk, None for absent keys."""
        found: dict[int, list[bytes | None]] = {}
        for task, entry in list(self._entries.items()):
            tables = self.tables(TaskEpoch(task, entry.epoch))
            if tables is not None:
                try:
                    found[task.partition] = tables[table].committed(keys)
                except StateError as error:
                    log.debug("lookup failed: %s", error)
        return found

    def close(self, tasks: Iterable[TaskId]) -> None:
        """Close the stores of these tasks. Another thread flushes their memory to disk."""
        for task in tasks:
            with self._lock:  # a concurrent open finds the store open or closing
                entry = self._entries.pop(task, None)
                if entry is not None:
                    self._closing[task] = self._executor.submit(_close_entry, entry)
        self._divide_memory()

    def stop(self, timeout: float) -> None:
        """Close all stores, and wait up to ``timeout`` seconds until they are on disk."""
        self.close(list(self._entries))
        wait(list(self._closing.values()), timeout)
        self._executor.shutdown(wait=False)
        self._directory.release()

    def size(self) -> StoreSize:
        """Return the estimated total size of the stores."""
        sizes = [size for entry in list(self._entries.values()) if (size := _size(entry.store)) is not None]
        return StoreSize(
            sum(size.rows for size in sizes),
            sum(size.disk_bytes for size in sizes),
            sum(size.memory_bytes for size in sizes) + self._memory.cached,
        )

    def _path(self, task: TaskId) -> Path:
        return self._folder / str(task.partition)

    def _open_store(self, task: TaskId) -> Store:
        spec = self.spec
        identity = StoreIdentity(spec.pipeline, task.partition, spec.partitions, spec.signatures)
        path = self._path(task)
        path.parent.mkdir(parents=True, exist_ok=True)
        store = Store.open(path, identity, self._memory)
        if not (differing := other_tables(store.differences)):
            return store
        store.close()
        raise StateCorrupt(f"state in {path} has {differing}")

    def _register(self, task_epoch: TaskEpoch, store: Store) -> None:
        with self._lock:
            self._entries[task_epoch[0]] = _OpenStore(store, task_epoch[1])
        self._divide_memory()

    def _divide_memory(self) -> None:
        """Divide the memory among the open tasks. Raises SettingsError if it is too little.

        The shares change in steps, so that not every opened or closed task resizes all others.
        """
        with self._lock:
            entry = list(self._entries.values())
            share = budget.share_in_steps(self._memory_mib, max(1, len(entry)))
            if share == self._memory.budget:
                return
            self._memory.resize(share)
        for each in entry:
            try:
                each.store.resize(self._memory.budget)
                if (tables := each.tables) is not None:
                    tables.resize(self._memory.budget)
            except StateError as error:
                log.debug("resize failed: %s", error)


def _close_entry(entry: _OpenStore) -> None:
    with entry.lock:
        entry.tables = None
    _close(entry.store)


def _close(store: Store) -> None:
    try:
        store.close()
    except StateError as error:
        log.warning("%s", error)  # unflushed rows are in the changelog


def _size(store: Store) -> StoreSize | None:
    try:
        return store.size()
    except StateError:
        return None
