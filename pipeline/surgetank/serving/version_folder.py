"""Makes the folder of a version atomically: it is there with all its files, or not at all.

The files are written into a folder with a hidden name, which nothing loads, and renamed at the end. One process at a
time does this for a model; what a killed one left is removed by the next.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surgetank.errors import ModelError
from surgetank.serving.bundle_files import folder_fault

_UNFINISHED = ".unfinished"


class VersionExists(ModelError):  # noqa: N818 - the name is what happened
    """A version is there already; published versions are immutable."""


@contextmanager
def new_version_folder(directory: Path, name: str, version: str, *, replace: bool = False) -> Iterator[Path]:
    """Give a folder to write the files of a version into; at the end of the block it becomes that of the version.

    If the block raises, nothing remains. Waits while another process makes a version of the same model. Raises
    VersionExists if the version is there and ``replace`` is not set, ModelError if the directory cannot be written, or
    a name cannot be that of a folder.
    """
    if fault := folder_fault(name) or folder_fault(version):
        raise ModelError(f"model {name!r} {version!r}: {fault}")
    parent = directory / name
    folder = parent / version
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _locked(parent) as alone:
            if folder.exists() and not replace:
                raise VersionExists(f"model {name} {version} exists in {directory}; choose another version")
            if alone:
                _remove_leftovers(parent)
            unfinished = parent / f".{version}.{secrets.token_hex(4)}{_UNFINISHED}"
            unfinished.mkdir()
            try:
                yield unfinished
                _write_through(unfinished)
                _replace(unfinished, folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise ModelError(f"model directory {parent} cannot be written: {error.strerror or error}") from None


@contextmanager
def _locked(parent: Path) -> Iterator[bool]:
    """Hold the lock of a folder while the block runs. False: the file system has no locks for folders, as some NFS."""
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def _remove_leftovers(parent: Path) -> None:
    for left in parent.glob(f".*{_UNFINISHED}"):
        shutil.rmtree(left, ignore_errors=True)


def _replace(unfinished: Path, folder: Path) -> None:
    """Give the folder its name. A folder cannot replace another in one step, so a former one is moved away before."""
    if folder.exists():
        former = unfinished.with_name(f".{folder.name}.{secrets.token_hex(4)}{_UNFINISHED}")
        folder.rename(former)
        unfinished.rename(folder)
        shutil.rmtree(former, ignore_errors=True)
    else:
        unfinished.rename(folder)
    _sync(folder.parent)


def _write_through(folder: Path) -> None:
    """Write all files to the disk before the folder gets its name, so that no crash leaves a version of empty files."""
    for parent, _, names in os.walk(folder):
        for each in (*(Path(parent) / name for name in names), Path(parent)):
            _sync(each)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
