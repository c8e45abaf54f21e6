"""A worker's folder for local state, locked against other processes."""

import fcntl
import os
import re
from pathlib import Path

from surgetank.errors import StateError

_FOLDERS_MAX = 1000  # workers without a name on one machine
_INVALID = re.compile(r"[^a-zA-Z0-9._-]")


class StateDirectory:
    """Locks the folder of a worker's name, or the first free unnamed folder, until released or the process ends.

    Raises StateError if another process holds the lock.
    """

    def __init__(self, base: Path, name: str) -> None:
        base.mkdir(parents=True, exist_ok=True)
        names = [_INVALID.sub("_", name)] if name else [f"unnamed-{number}" for number in range(_FOLDERS_MAX)]
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
        """Release the lock. A second call does nothing."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
