"""Exports the state of tasks from the state folders of this machine, also while workers run.

Workers lock their stores, so the export opens them read-only, without the lock: the files always hold all of the first
n writes, and an opened view does not change (``Store.open_read_only``). Writes that the worker still has in memory are
not exported; they are in the changelogs.
"""

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from surgetank.errors import StateCorrupt, StateError, StateMismatch
from surgetank.state.budget import share
from surgetank.state.rocksdb_errors import explained
from surgetank.state.snapshot import MANIFEST, SavedTask, Snapshot, SnapshotFile, SnapshotOrigin
from surgetank.state.state_folders import StateFolder, state_folders
from surgetank.state.store import Store, StoreMemory, destroy
from surgetank.state.store_identity import StoreIdentity, differences, other_tables

ProgressCallback = Callable[[str, int, int], None]  # the current step, how much of it is done, how much there is

_MEMORY_MIB = 32
_ATTEMPTS = 10  # RocksDB may delete files during an attempt; under heavy load about one in a hundred fails
_PAUSE_SECONDS = 0.1
_ROWS_PER_READ = 10_000  # per read


def export_snapshot(
    base: Path,
    folder: Path,
    home: SnapshotOrigin,
    report_progress: ProgressCallback,
    *,
    task: int | None = None,
    worker: str | None = None,
) -> Snapshot:
    """Write the state of all tasks in ``base``, of one task, or of one worker, to ``folder``, which must not exist.

    If several workers have state of a task, the most advanced one is exported. Files are hard-linked where possible,
    not copied. Raises StateError if there is nothing to export or it cannot be read, StateMismatch if it belongs to
    another pipeline, cluster or declaration than ``home``. After an error ``folder`` does not exist.
    """
    if folder.exists():
        raise StateError(f"cannot export state to {folder}: it exists; name a folder that does not exist")
    selected = _selected_folders(base, task, worker)
    memory = StoreMemory(share(_MEMORY_MIB, 1))
    with _new_folder(folder):
        saved = tuple(
            _export_task(_most_advanced(sources, home, memory), folder / str(number), home, memory, report_progress)
            for number, sources in selected.items()
        )
        if not any(each.files for each in saved):
            raise StateError(
                f"no state in {base} is on disk yet: a worker writes its state to disk when its write buffers are "
                "full, and completely when it stops"
            )
        snapshot = Snapshot(home, saved)
        (folder / MANIFEST).write_bytes(snapshot.dump())
    return snapshot


def _selected_folders(base: Path, task: int | None, worker: str | None) -> dict[int, list[StateFolder]]:
    """Return the selected folders by task."""
    found = state_folders(base)
    selected: dict[int, list[StateFolder]] = {}
    for each in sorted(found, key=lambda each: each.task):
        if task in {None, each.task} and worker in {None, each.worker}:
            selected.setdefault(each.task, []).append(each)
    if not selected:
        existing = ", ".join(f"{each.worker}/{each.task}" for each in found) or "nothing"
        raise StateError(f"no such state in {base}; by worker and task it holds: {existing}")
    return selected


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Create a folder, and remove it again if the body raises."""
    try:
        folder.mkdir(parents=True)
        yield
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise explained(folder, error.strerror or str(error)) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _most_advanced(sources: Sequence[StateFolder], home: SnapshotOrigin, memory: StoreMemory) -> StateFolder:
    """Return the most advanced folder of a task that matches ``home``; any folder if none matches."""

    def progress(source: StateFolder) -> int:
        try:
            store = _retry(lambda: Store.look(source.path, memory))
        except StateError:
            return -1
        if store is None:
            return 0
        with closing(store):
            return sum(store.positions().values()) if store.identity == home.identity(source.task) else -1

    return sources[0] if len(sources) == 1 else max(sources, key=progress)


def _export_task(
    source: StateFolder, target: Path, home: SnapshotOrigin, memory: StoreMemory, report_progress: ProgressCallback
) -> SavedTask:
    """Copy the store of a task to ``target``, and read all of it there to check that it is intact."""
    name = f"task {source.task} of {source.worker}"
    try:
        store = _retry(lambda: _copy(source, target, home, memory))
        if store is None:
            return SavedTask(source.task, source.worker, {}, {}, {})
        with closing(store):
            positions, rows = (
                store.positions(),
                _rows(store, lambda done, of: report_progress(f"{name}: rows", done, of)),
            )
    except StateCorrupt as error:
        raise StateError(f"{name} cannot be exported: {error}") from None
    paths = sorted(target.iterdir())
    files: dict[str, SnapshotFile] = {}
    for path in paths:
        with path.open("rb") as opened:
            files[path.name] = SnapshotFile(path.stat().st_size, hashlib.file_digest(opened, "sha256").hexdigest())
        report_progress(f"{name}: checksums", len(files), len(paths))
    return SavedTask(source.task, source.worker, positions, rows, files)


def _copy(source: StateFolder, target: Path, home: SnapshotOrigin, memory: StoreMemory) -> Store | None:
    """Create a store in ``target`` from the files of ``source`` and return it; None if there are none yet."""
    for left in (target, target.with_name(f"{target.name}.tmp")):  # left by a failed attempt
        destroy(left)
    store = Store.look(source.path, memory)
    if store is None:
        return None
    with closing(store):
        _check(store.identity, home.identity(source.task), source.path)
        store.checkpoint(target)
    return Store.look(target, memory)


def _retry(look: Callable[[], Store | None]) -> Store | None:
    """Call ``look`` again if files were deleted meanwhile. Raises StateCorrupt if every attempt fails."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(StateCorrupt):
            return look()
        threading.Event().wait(_PAUSE_SECONDS)
    return look()


def _check(stored: StoreIdentity, wanted: StoreIdentity, path: Path) -> None:
    """Raise StateMismatch unless a worker of the current declaration could use the state."""
    if (stored.pipeline, stored.task, stored.partitions) != (wanted.pipeline, wanted.task, wanted.partitions):
        raise StateMismatch(
            f"state in {path} belongs to {stored.pipeline}/{stored.task} of {stored.partitions} partitions, not to "
            f"{wanted.pipeline}/{wanted.task} of {wanted.partitions}"
        )
    if differing := other_tables(differences(stored.tables, wanted.tables)):
        raise StateMismatch(f"state in {path} has {differing}: no worker could use it")


def _rows(store: Store, report_progress: Callable[[int, int], None]) -> dict[str, int]:
    """Return the number of rows of each table. Every block is read, and RocksDB verifies its checksum."""
    rows, expected = dict.fromkeys(store.identity.tables, 0), store.size().rows
    for table in rows:
        after: bytes | None = None
        while chunk := store.scan(table, after, _ROWS_PER_READ):
            after = chunk[-1][0]
            rows[table] += len(chunk)
            report_progress(done := sum(rows.values()), max(expected, done))
    return rows
