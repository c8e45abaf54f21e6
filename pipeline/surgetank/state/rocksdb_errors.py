"""Translates the error messages of RocksDB, and the absence of its files, into this project's exceptions."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surgetank.errors import DiskFull, StateCorrupt, StateError

# Messages of RocksDB and of operating systems; rocksdict raises a bare Exception with their text.
_FULL = re.compile(r"no space left|file too large|quota exceeded", re.IGNORECASE)
_DAMAGED = re.compile(r"corruption|invalid argument|no such file", re.IGNORECASE)
_IN_USE = re.compile(r"lock", re.IGNORECASE)


def is_corruption(path: Path, what: str) -> StateCorrupt:
    """Return the error for a store whose content is not the content that was written."""
    return StateCorrupt(f"state in {path} is damaged ({what}); it will be deleted and restored from its changelogs")


def check_whole(path: Path) -> None:
    """Raise StateCorrupt if the folder holds files of a database but not the file that RocksDB opens first.

    RocksDB would create a new database there and delete the files without a message.
    """
    if (path / "CURRENT").exists() or not path.is_dir():
        return
    orphans = sorted(each.name for each in path.iterdir() if each.suffix == ".sst" or each.name.startswith("MANIFEST"))
    if orphans:
        raise is_corruption(path, f"{orphans[0]} exists, but CURRENT does not")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise errors of RocksDB about the store in ``path`` as DiskFull, StateCorrupt or StateError."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise explained(path, str(error)) from None


def explained(path: Path, text: str) -> StateError:
    """Return the exception for an error message of RocksDB or of the operating system. Pure."""
    text = " ".join(text.split())  # a single line for the log
    if _FULL.search(text):
        return DiskFull(
            f"no space left for state in {path} ({text}); free some space or run fewer tasks on this machine. No data "
            "is lost: a restarted worker continues from the committed offsets"
        )
    if "/LOCK" in text and _IN_USE.search(text.replace("/LOCK", "")):
        return StateError(
            f"state in {path} is in use ({text}); use a separate folder for each worker on a machine, "
            "or wait until the other worker has stopped"
        )
    if _DAMAGED.search(text):
        return is_corruption(path, text)
    return StateError(f"state in {path} cannot be used ({text}); fix the cause, or delete the folder to restore it")
