"""The state folders on this machine: lists and deletes them. No store is opened."""

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The state of one task of one worker: the task's number, the worker's folder, and the size of its files."""

    task: int
    worker: str
    path: Path
    disk_bytes: int


def state_folders(base: Path) -> list[StateFolder]:
    """Return the state folders of a pipeline, by worker and task; an empty list if there are none."""
    return [
        StateFolder(int(task.name), worker.name, task, sum(_size(file) for file in task.rglob("*")))
        for worker in sorted(_subfolders(base))
        for task in sorted(_subfolders(worker), key=lambda each: each.name.zfill(9))
        if task.name.isdigit()
    ]


def remove(base: Path) -> None:
    """Delete the folder of a pipeline with its content."""
    if base.is_dir():
        shutil.rmtree(base)


def _subfolders(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_dir()] if folder.is_dir() else []


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except FileNotFoundError:  # a running worker may delete its files meanwhile
        return 0
