"""The folders of state on this machine: which there are, how large, and how to be rid of them. Nothing is opened."""

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The state of one task as one worker left it: its number, the worker's folder, and the bytes of its files."""

    task: int
    worker: str
    path: Path
    disk_bytes: int


def state_folders(base: Path) -> list[StateFolder]:
    """Return what lies in the folder of a pipeline, by worker and task; nothing, if it is not there."""
    return [
        StateFolder(int(task.name), worker.name, task, sum(_size(file) for file in task.rglob("*")))
        for worker in sorted(_subfolders(base))
        for task in sorted(_subfolders(worker), key=lambda each: each.name.zfill(9))
        if task.name.isdigit()
    ]


def remove(base: Path) -> None:
    """Delete the folder of a pipeline with all that is in it."""
    if base.is_dir():
        shutil.rmtree(base)


def _subfolders(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_dir()] if folder.is_dir() else []


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except FileNotFoundError:  # a worker that runs deletes files of its own
        return 0
