"""What is wrong with a store on disk, told from what RocksDB says and from the files that are there."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import DiskFull, StateCorrupt, StateError

# What statuses and operating systems say; rocksdict raises a bare Exception with their text.
_FULL = re.compile(r"no space left|file too large|quota exceeded", re.IGNORECASE)
_DAMAGED = re.compile(r"corruption|invalid argument|no such file", re.IGNORECASE)
_IN_USE = re.compile(r"lock", re.IGNORECASE)


def is_corruption(path: Path, what: str) -> StateCorrupt:
    """Return the error for a store that gave back other than what was written."""
    return StateCorrupt(f"state in {path} is damaged ({what}); it will be deleted and restored from its changelogs")


def check_whole(path: Path) -> None:
    """Raise StateCorrupt if the folder holds files of a database without the one that RocksDB begins with.

    RocksDB would take it for a new one, and delete what is there without a word.
    """
    if (path / "CURRENT").exists() or not path.is_dir():
        return
    orphans = sorted(each.name for each in path.iterdir() if each.suffix == ".sst" or each.name.startswith("MANIFEST"))
    if orphans:
        raise is_corruption(path, f"{orphans[0]} is there, but CURRENT is not")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise what RocksDB says of the store in ``path`` as DiskFull, StateCorrupt or StateError."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise explained(path, str(error)) from None


def explained(path: Path, text: str) -> StateError:
    """Return the error that a message of RocksDB, or of the operating system through it, amounts to. Pure."""
    text = " ".join(text.split())  # one line in a log
    if _FULL.search(text):
        return DiskFull(
            f"no room for state in {path} ({text}); make room or give fewer tasks to this machine. Nothing is lost: "
            "a worker that starts again goes on from what is committed"
        )
    if "/LOCK" in text and _IN_USE.search(text.replace("/LOCK", "")):
        return StateError(
            f"state in {path} is in use ({text}); give each worker on a machine its own folder, "
            "or wait until the other one has ended"
        )
    if _DAMAGED.search(text):
        return is_corruption(path, text)
    return StateError(f"state in {path} cannot be used ({text}); mend what it says, or delete the folder to restore it")
