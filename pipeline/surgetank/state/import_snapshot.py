"""Imports a snapshot into the state folder of a worker: all of it, verified, or nothing."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from surgetank.errors import StateError
from surgetank.state.rocksdb_errors import explained
from surgetank.state.snapshot import SavedTask, Snapshot
from surgetank.state.store import destroy

ProgressCallback = Callable[[str, int, int], None]  # the current step, bytes done, bytes in total

_CHUNK_BYTES = 1 << 20
_STAGING = "importing"  # a folder beside those of the tasks, until all files are complete


def import_snapshot(
    folder: Path, snapshot: Snapshot, into: Path, report_progress: ProgressCallback, *, replace: bool = False
) -> None:
    """Copy the stores of the snapshot in ``folder`` to a worker's folder ``into``, which the caller has locked.

    Raises StateError if a file is missing or its checksum differs from that of the export, or if a task already has
    state and ``replace`` is not set; DiskFull if the disk is full. After an error nothing has changed.
    """
    existing = [str(saved.task) for saved in snapshot.tasks if (into / str(saved.task)).exists()]
    if existing and not replace:
        raise StateError(
            f"{into} already has state of task {', '.join(existing)}; --replace replaces it with the snapshot"
        )
    staging = into / _STAGING
    destroy(staging)
    try:
        for saved in snapshot.tasks:
            _copy(folder / str(saved.task), staging / str(saved.task), saved, report_progress)
        for saved in snapshot.tasks:
            destroy(into / str(saved.task))
            if saved.files:
                (staging / str(saved.task)).rename(into / str(saved.task))
    except OSError as error:
        raise explained(into, error.strerror or str(error)) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _copy(source: Path, target: Path, saved: SavedTask, report_progress: ProgressCallback) -> None:
    """Copy the files of a task, and verify the copies against the sizes and checksums of the export.

    A file may be a link. Not more than its size in the manifest is read and written, whatever it leads to.
    """
    if saved.files and not source.is_dir():
        raise StateError(f"{source} is missing: the snapshot was not copied completely")
    target.mkdir(parents=True)
    done = 0
    for name, file in saved.files.items():
        if not (source / name).exists():
            raise StateError(f"{source / name} is missing: the snapshot was not copied completely")
        if _copy_file(source / name, target / name, file.bytes) != file.sha256:
            raise StateError(
                f"{source / name} does not have the checksum of the export: it was damaged in transfer; copy it again"
            )
        done += file.bytes
        report_progress(f"task {saved.task}", done, saved.bytes)


def _copy_file(source: Path, target: Path, size: int) -> str:
    """Copy the first ``size`` bytes of a regular file and return their SHA-256 as hex.

    Raises StateError if it is another kind of file, such as a device or a pipe, or longer than that.
    """
    if not source.is_file():
        raise StateError(f"{source} is not a regular file, nor a link to one")
    if source.stat().st_size > size:
        raise StateError(f"{source} is longer than the {size} bytes of the export: copy it again")
    digest, left = hashlib.sha256(), size
    with source.open("rb") as opened, target.open("wb") as written:
        while chunk := opened.read(min(left, _CHUNK_BYTES)):
            digest.update(chunk)
            written.write(chunk)
            left -= len(chunk)
    return digest.hexdigest()
