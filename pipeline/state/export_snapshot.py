"""Takes the state of tasks out of the folders of this machine, also while workers run.

A worker holds the lock of its stores, so they are looked at without it: what is on the disk is always all of the first
n writes, and a look keeps it (``Store.look``). What the worker has in memory is not taken, as it would not be there
after a crash; the changelogs have it.
"""

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from pipeline.errors import StateCorrupt, StateError, StateMismatch
from pipeline.state.budget import share
from pipeline.state.rocksdb_errors import explained
from pipeline.state.snapshot import MANIFEST, SavedTask, Snapshot, SnapshotFile, SnapshotOrigin
from pipeline.state.state_folders import StateFolder, state_folders
from pipeline.state.store import Store, StoreMemory, destroy
from pipeline.state.store_identity import StoreIdentity, differences, other_tables

Told = Callable[[str, int, int], None]  # what is done, how much of it, of how much

_MEMORY_MIB = 32
_ATTEMPTS = 10  # RocksDB may tidy up under each; one of a hundred times under a heavy load
_PAUSE_SECONDS = 0.1
_ROWS = 10_000  # at a time


def export_snapshot(
    base: Path, folder: Path, home: SnapshotOrigin, told: Told, *, task: int | None = None, worker: str | None = None
) -> Snapshot:
    """Write the state of the tasks in ``base``, or of one, or of one worker, to ``folder``, which must not exist.

    Where several workers left state of a task, that is taken which includes most. Files are shared where that is
    possible, not copied. Raises StateError if there is nothing to take or it cannot be read, StateMismatch if it was
    made for something else than ``home``; then there is no ``folder``.
    """
    if folder.exists():
        raise StateError(f"cannot export state to {folder}: it exists; name a folder that does not")
    chosen = _chosen(base, task, worker)
    memory = StoreMemory(share(_MEMORY_MIB, 1))
    with _made(folder):
        saved = tuple(
            _saved(_furthest(sources, home, memory), folder / str(number), home, memory, told)
            for number, sources in chosen.items()
        )
        if not any(each.files for each in saved):
            raise StateError(
                f"nothing of {base} is on the disk yet: a worker brings state there when its write buffers are full, "
                "and all of it when it stops"
            )
        snapshot = Snapshot(home, saved)
        (folder / MANIFEST).write_bytes(snapshot.dump())
    return snapshot


def _chosen(base: Path, task: int | None, worker: str | None) -> dict[int, list[StateFolder]]:
    """Return the folders that were asked for, by task."""
    found = state_folders(base)
    chosen: dict[int, list[StateFolder]] = {}
    for each in sorted(found, key=lambda each: each.task):
        if task in {None, each.task} and worker in {None, each.worker}:
            chosen.setdefault(each.task, []).append(each)
    if not chosen:
        there = ", ".join(f"{each.worker}/{each.task}" for each in found) or "nothing"
        raise StateError(f"no such state in {base}; there is, by worker and task: {there}")
    return chosen


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder, and take it away again if what fills it fails."""
    try:
        folder.mkdir(parents=True)
        yield
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise explained(folder, error.strerror or str(error)) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _furthest(sources: Sequence[StateFolder], home: SnapshotOrigin, memory: StoreMemory) -> StateFolder:
    """Return that folder of a task which belongs here and includes most; if none belongs here, any."""

    def included(source: StateFolder) -> int:
        try:
            store = _steadily(lambda: Store.look(source.path, memory))
        except StateError:
            return -1
        if store is None:
            return 0
        with closing(store):
            return sum(store.positions().values()) if store.identity == home.identity(source.task) else -1

    return sources[0] if len(sources) == 1 else max(sources, key=included)


def _saved(source: StateFolder, target: Path, home: SnapshotOrigin, memory: StoreMemory, told: Told) -> SavedTask:
    """Bring the store of a task to ``target``, and read all of it there, so that it is known to be whole."""
    what = f"task {source.task} of {source.worker}"
    try:
        store = _steadily(lambda: _copy(source, target, home, memory))
        if store is None:
            return SavedTask(source.task, source.worker, {}, {}, {})
        with closing(store):
            positions, rows = store.positions(), _rows(store, lambda done, of: told(f"{what}: rows", done, of))
    except StateCorrupt as error:
        raise StateError(f"{what} cannot be exported: {error}") from None
    paths = sorted(target.iterdir())
    files: dict[str, SnapshotFile] = {}
    for path in paths:
        with path.open("rb") as opened:
            files[path.name] = SnapshotFile(path.stat().st_size, hashlib.file_digest(opened, "sha256").hexdigest())
        told(f"{what}: checksums", len(files), len(paths))
    return SavedTask(source.task, source.worker, positions, rows, files)


def _copy(source: StateFolder, target: Path, home: SnapshotOrigin, memory: StoreMemory) -> Store | None:
    """Make ``target`` a store with what is on the disk in ``source`` and return it; None if that is nothing yet."""
    for left in (target, target.with_name(f"{target.name}.tmp")):  # by an attempt that failed
        destroy(left)
    store = Store.look(source.path, memory)
    if store is None:
        return None
    with closing(store):
        _check(store.identity, home.identity(source.task), source.path)
        store.checkpoint(target)
    return Store.look(target, memory)


def _steadily(look: Callable[[], Store | None]) -> Store | None:
    """Look again where files went away meanwhile. What is damaged stays so: raises StateCorrupt after some attempts."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(StateCorrupt):
            return look()
        threading.Event().wait(_PAUSE_SECONDS)
    return look()


def _check(mine: StoreIdentity, wanted: StoreIdentity, path: Path) -> None:
    """Raise StateMismatch unless a worker of today would take the state."""
    if (mine.pipeline, mine.task, mine.partitions) != (wanted.pipeline, wanted.task, wanted.partitions):
        raise StateMismatch(
            f"state in {path} is that of {mine.pipeline}/{mine.task} of {mine.partitions} partitions, not of "
            f"{wanted.pipeline}/{wanted.task} of {wanted.partitions}"
        )
    if differing := other_tables(differences(mine.tables, wanted.tables)):
        raise StateMismatch(f"state in {path} has {differing}: no worker would take it")


def _rows(store: Store, told: Callable[[int, int], None]) -> dict[str, int]:
    """Return how many rows each table has: every block is read, and RocksDB checks it."""
    rows, expected = dict.fromkeys(store.identity.tables, 0), store.size().rows
    for table in rows:
        after: bytes | None = None
        while chunk := store.scan(table, after, _ROWS):
            after = chunk[-1][0]
            rows[table] += len(chunk)
            told(done := sum(rows.values()), max(expected, done))
    return rows
