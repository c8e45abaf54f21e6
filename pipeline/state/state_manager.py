"""The local state of the tasks of this worker: one store each, in a folder that is this worker's alone.

What is on disk is true as far as its positions say, whatever happens: rows and positions are one write, after the
commit. So a store is trusted when its positions are the committed offsets, and made good from the changelogs when they
are behind (``restore``).

The position of a changelog is known from delivery reports: behind the last record that this worker produced to it in a
committed transaction. The transaction's marker lies behind that; a restore that starts there reads only the marker.
"""

import fcntl
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import StateClosed, StateCorrupt, StateError
from pipeline.records import OutputPartition, TaskEpoch, TaskId, TopicPartition
from pipeline.state import budget
from pipeline.state.row_serde import RowSerde
from pipeline.state.store import Store, StoreMemory, StoreSize, destroy
from pipeline.state.store_identity import StoreIdentity, TableSignature, other_tables
from pipeline.state.tables import TaskTables

log = logging.getLogger(__name__)

_SLOTS = 1000  # workers without a name on one machine
_UNFIT = re.compile(r"[^a-zA-Z0-9._-]")


@dataclass(frozen=True, slots=True)
class StateSpec:
    """What is to be kept: how the rows of each table are stored, whose they are, and the topic of their changelog.

    ``meanings`` are the fingerprints of what the rows mean, as changelogs have them. ``partitions`` is the number of
    tasks that share the keys. ``feeds`` is by table the source topic whose offsets its rows carry, and ``stayed``
    tells of a value under GROWN and a partition which keys have always been there.
    """

    pipeline: str
    partitions: int
    formats: Mapping[str, RowSerde]
    shapes: Mapping[str, TableSignature]
    changelogs: Mapping[str, str]
    meanings: Mapping[str, str]
    feeds: Mapping[str, str]
    stayed: Callable[[bytes, int], Callable[[bytes], bool]]


@dataclass(slots=True)
class _Held:
    """The store of one task. ``lock`` keeps the end of an epoch and a write apart."""

    store: Store
    epoch: int
    tables: TaskTables | None = None
    corrupted: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class StateDirectory:
    """A folder that no other process has: by the worker's name, or the first free one. Let go when the process ends."""

    def __init__(self, base: Path, name: str) -> None:
        base.mkdir(parents=True, exist_ok=True)
        names = [_UNFIT.sub("_", name)] if name else [f"unnamed-{number}" for number in range(_SLOTS)]
        for each in names:
            (base / each).mkdir(exist_ok=True)
            file = os.open(base / each / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            else:
                self.folder = base / each
                self._file: int | None = file
                return
        raise StateError(
            f"state in {base / names[-1]} is in use by another process; give each worker on a machine its own "
            "worker.name, or leave it unset"
        )

    def release(self) -> None:
        """Let others have the folder. A second call does nothing."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


class StateManager:
    """Stores by task. Every method may be called from any thread."""

    def __init__(self, claim: StateDirectory, kept: StateSpec, memory_mib: int) -> None:
        self.kept = kept
        self._claim = claim
        self._folder = claim.folder
        self._memory_mib = memory_mib
        self._memory = StoreMemory(budget.share(memory_mib, 1))
        self._lock = threading.Lock()
        self._held: dict[TaskId, _Held] = {}
        self._closer = ThreadPoolExecutor(1, thread_name_prefix="close")
        self._closing: dict[TaskId, Future[None]] = {}

    def tables(self, task_epoch: TaskEpoch) -> TaskTables | None:
        """Return the tables of a task in one of its epochs; None if that is over, or they are not restored."""
        held = self._held.get(task_epoch[0])
        if held is None or held.epoch != task_epoch[1] or held.corrupted is not None:
            return None
        return held.tables

    @property
    def full(self) -> bool:
        """Whether it is time to commit: more uncommitted rows would take more memory than was given."""
        return any(held.tables is not None and held.tables.full for held in list(self._held.values()))

    def open(self, task_epoch: TaskEpoch) -> Store:
        """Return the store of a task, opened if it is not. What is condemned or damaged is deleted before, and said so.

        Raises StateMismatch if it was made for something else, and StateError if it cannot be opened.
        """
        task, epoch = task_epoch
        with self._lock:
            held = self._held.get(task)
            closing = self._closing.pop(task, None) if held is None else None
        if held is not None and held.corrupted is None:
            with held.lock:
                held.epoch, held.tables = epoch, None
            return held.store
        if held is not None:
            return self.renew(task_epoch, held.corrupted or "")
        if closing is not None:
            wait([closing])
        try:
            store = self._opened(task)
        except StateCorrupt as error:
            log.warning("task %s: %s", task, error)
            destroy(self._path(task))
            store = self._opened(task)
        self._hold(task_epoch, store)
        return store

    def renew(self, task_epoch: TaskEpoch, why: str) -> Store:
        """Replace the store of a task by an empty one, and say why. Raises StateClosed if it was given back."""
        with self._lock:
            held = self._held.pop(task_epoch[0], None)
        if held is None:  # it is being closed in another thread, and its folder is still in use
            raise StateClosed(f"task {task_epoch[0]} was given up before its store was made anew")
        log.warning("task %s: local state is dropped and restored from its changelogs: %s", task_epoch[0], why)
        _close(held.store)
        destroy(self._path(task_epoch[0]))
        store = self._opened(task_epoch[0])
        self._hold(task_epoch, store)
        return store

    def install(self, task_epoch: TaskEpoch) -> bool:
        """Let the flow use what was restored; False if this life of the task is over."""
        held = self._held.get(task_epoch[0])
        if held is None:
            return False
        with held.lock:
            if held.epoch != task_epoch[1] or held.corrupted is not None:
                return False
            held.tables = TaskTables(held.store, self.kept.formats, self._memory.budget, task_epoch[1])
            return True

    def current(self, task_epoch: TaskEpoch, starts: Mapping[TopicPartition, int]) -> bool:
        """Whether the tables are here, and hold exactly what was committed up to these offsets."""
        held = self._held.get(task_epoch[0])
        if held is None or self.tables(task_epoch) is None:
            return False
        try:
            positions = held.store.positions()
        except StateError as error:
            held.corrupted = str(error)
            return False
        return all(positions.get(source.topic) == offset for source, offset in starts.items())

    def drop(self, task_epochs: Iterable[TaskEpoch]) -> None:
        """Throw away what these tasks did not commit. From now on only these epochs of theirs count."""
        for task, epoch in task_epochs:
            held = self._held.get(task)
            if held is not None:
                with held.lock:
                    held.epoch = epoch
                    if held.tables is not None:
                        held.tables.drop(epoch)

    def mark_corrupted(self, partition: int, why: str) -> None:
        """Note that the disk of a task gave back other than what was written: it is dropped when the task is opened."""
        for task, held in list(self._held.items()):
            if task.partition == partition:
                held.corrupted = why

    def commit(
        self,
        commitment: Mapping[TaskEpoch, Mapping[TopicPartition, int]],
        writes: Mapping[TaskEpoch, int],
        reached: Mapping[OutputPartition, int],
    ) -> None:
        """Bring to the disk what was just committed: rows and positions of each task, in one write.

        ``reached`` is by changelog partition the offset behind its last record of the transaction. A task that went
        back or was given up meanwhile is left behind, and made good when it is opened. Raises DiskFull.
        """
        for task_epoch, offsets in commitment.items():
            held = self._held.get(task_epoch[0])
            if held is None:
                continue
            positions = {source.topic: offset for source, offset in offsets.items()}
            for topic in self.kept.changelogs.values():
                if (at := reached.get((topic, task_epoch[0].partition))) is not None:
                    positions[topic] = at
            with held.lock:
                if held.epoch == task_epoch[1] and held.tables is not None:
                    try:
                        held.tables.commit(writes.get(task_epoch, 0), positions)
                    except StateCorrupt as error:
                        held.corrupted = str(error)

    def committed(self, table: str, keys: Sequence[bytes]) -> dict[int, list[bytes | None]]:
        """Return, by the number of each task that runs, what its disk has of each key."""
        found: dict[int, list[bytes | None]] = {}
        for task, held in list(self._held.items()):
            tables = self.tables((task, held.epoch))
            if tables is not None:
                try:
                    found[task.partition] = tables[table].committed(keys)
                except StateError as error:
                    log.debug("not looked up: %s", error)
        return found

    def close(self, tasks: Iterable[TaskId]) -> None:
        """Give the stores of these tasks back; what they have in memory goes to the disk in another thread."""
        for task in tasks:
            with self._lock:  # who opens it finds it held, or closing
                held = self._held.pop(task, None)
                if held is not None:
                    self._closing[task] = self._closer.submit(_give_back, held)
        self._share_out()

    def stop(self, timeout: float) -> None:
        """Close what is open, and wait until all of it is on the disk."""
        self.close(list(self._held))
        wait(list(self._closing.values()), timeout)
        self._closer.shutdown(wait=False)
        self._claim.release()

    def size(self) -> StoreSize:
        """Return about how large the stores are together."""
        sizes = [size for held in list(self._held.values()) if (size := _size(held.store)) is not None]
        return StoreSize(
            sum(size.rows for size in sizes),
            sum(size.disk_bytes for size in sizes),
            sum(size.memory_bytes for size in sizes) + self._memory.cached,
        )

    def _path(self, task: TaskId) -> Path:
        return self._folder / str(task.partition)

    def _opened(self, task: TaskId) -> Store:
        kept = self.kept
        identity = StoreIdentity(kept.pipeline, task.partition, kept.partitions, kept.shapes)
        path = self._path(task)
        path.parent.mkdir(parents=True, exist_ok=True)
        store = Store.open(path, identity, self._memory)
        if not (differing := other_tables(store.differences)):
            return store
        store.close()
        raise StateCorrupt(f"state in {path} has {differing}")

    def _hold(self, task_epoch: TaskEpoch, store: Store) -> None:
        with self._lock:
            self._held[task_epoch[0]] = _Held(store, task_epoch[1])
        self._share_out()

    def _share_out(self) -> None:
        """Share the memory out among the tasks that are open. Raises SettingsError if it is too little.

        As if there were some more, so that not every task that comes or goes resizes all others.
        """
        with self._lock:
            held = list(self._held.values())
            share = budget.share_in_steps(self._memory_mib, max(1, len(held)))
            if share == self._memory.budget:
                return
            self._memory.resize(share)
        for each in held:
            try:
                each.store.resize(self._memory.budget)
                if (tables := each.tables) is not None:
                    tables.resize(self._memory.budget)
            except StateError as error:
                log.debug("not resized: %s", error)


def _give_back(held: _Held) -> None:
    with held.lock:
        held.tables = None
    _close(held.store)


def _close(store: Store) -> None:
    try:
        store.close()
    except StateError as error:
        log.warning("%s", error)  # what did not come to the disk is in the changelog


def _size(store: Store) -> StoreSize | None:
    try:
        return store.size()
    except StateError:
        return None
