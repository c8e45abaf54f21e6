"""A lock between processes: a file, in which the process that holds it is named."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


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
