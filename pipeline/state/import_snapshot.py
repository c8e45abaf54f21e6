"""Puts a snapshot of state into the folder of a worker: all of it, checked, or nothing."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import StateError
from pipeline.state.rocksdb_errors import explained
from pipeline.state.snapshot import SavedTask, Snapshot
from pipeline.state.store import destroy

Told = Callable[[str, int, int], None]  # what is done, how many bytes of it, of how many

_COMING = "importing"  # beside the folders of tasks, until all of it is there


def import_snapshot(folder: Path, snapshot: Snapshot, into: Path, told: Told, *, replace: bool = False) -> None:
    """Copy the stores of the snapshot in ``folder`` to the folder of a worker, ``into``, which the caller has claimed.

    Raises StateError if a file is missing or has not the checksum that it was exported with, or if there is state of
    one of the tasks and ``replace`` is not set; DiskFull if there is no room. Then nothing has changed.
    """
    there = [str(saved.task) for saved in snapshot.tasks if (into / str(saved.task)).exists()]
    if there and not replace:
        raise StateError(
            f"{into} has state of task {', '.join(there)} already; --replace puts the snapshot in its place"
        )
    coming = into / _COMING
    destroy(coming)
    try:
        for saved in snapshot.tasks:
            _copy(folder / str(saved.task), coming / str(saved.task), saved, told)
        for saved in snapshot.tasks:
            destroy(into / str(saved.task))
            if saved.files:
                (coming / str(saved.task)).rename(into / str(saved.task))
    except OSError as error:
        raise explained(into, error.strerror or str(error)) from None
    finally:
        shutil.rmtree(coming, ignore_errors=True)


def _copy(source: Path, target: Path, saved: SavedTask, told: Told) -> None:
    """Copy the files of a task, and compare what was written with what was exported."""
    if saved.files and not source.is_dir():
        raise StateError(f"{source} is missing: the snapshot was not brought here whole")
    target.mkdir(parents=True)
    done = 0
    for name, file in saved.files.items():
        try:
            shutil.copyfile(source / name, target / name)
        except FileNotFoundError:
            raise StateError(f"{source / name} is missing: the snapshot was not brought here whole") from None
        with (target / name).open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
                raise StateError(
                    f"{source / name} has not the checksum that it was exported with: it was damaged on the way; "
                    "bring it here again"
                )
        done += file.bytes
        told(f"task {saved.task}", done, saved.bytes)
