"""Locks between processes: a file, in which the process that holds it is named."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from surgetank.errors import StartupError


@contextmanager
def file_lock(path: Path, held_by: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a file, which is created, and released when the process ends in any way.

    If another process holds it, call ``held_by`` with words for that process, as ``process 123``, and then wait. Raises
    what ``held_by`` raises, and OSError if the file cannot be created.
    """
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip()
            held_by(f"process {pid}" if pid else "another process")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


@contextmanager
def folder_lock(folder: Path, name: str, held_by: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a file of a local Kafka's folder, which is created, as ``file_lock`` does.

    Raises StartupError if the folder or the file cannot be created.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(file_lock(folder / name, held_by))
        except OSError as error:
            raise StartupError(
                f"{folder} cannot be used for a local Kafka: {error.strerror}; give another folder with --data"
            ) from None
        yield
