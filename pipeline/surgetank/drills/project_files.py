"""Which files of a project have changed, so that a worker is started again."""

import os
from pathlib import Path

Files = dict[Path, tuple[int, int]]  # path relative to the project: time of the last change in ns, size in bytes

_SUFFIXES = {".py", ".avsc", ".json", ".onnx", ".toml"}
_OTHERS = {"__pycache__", "tests"}  # what no worker reads


def project_files(folder: Path) -> Files:
    """Return the files that a worker may read. Hidden folders and virtual environments are left out."""
    found: Files = {}
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        folders[:] = [each for each in folders if _is_read(here / each)]
        for path in (here / name for name in names):
            if path.suffix in _SUFFIXES:
                try:
                    status = path.stat()
                except FileNotFoundError:  # deleted meanwhile
                    continue
                found[path.relative_to(folder)] = (status.st_mtime_ns, status.st_size)
    return found


def changes(before: Files, after: Files) -> list[Path]:
    """Return the files that were added, removed or changed, sorted. Pure."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def _is_read(folder: Path) -> bool:
    return not (folder.name.startswith(".") or folder.name in _OTHERS or (folder / "pyvenv.cfg").exists())
