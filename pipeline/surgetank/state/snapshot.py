"""The manifest of a state snapshot: the content of the stores of tasks at the time of the export. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from surgetank.errors import StateError, StateMismatch
from surgetank.state.store_identity import StoreIdentity, TableSignature, differences, other_tables

MANIFEST = "snapshot.json"
_BYTES_MAX = 1 << 28  # of the manifest, which has a line or four for each file

_Count = Annotated[int, Field(ge=0)]
_Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-][a-zA-Z0-9._-]*$")]  # excludes paths to other folders


@dataclass(frozen=True, slots=True)
class SnapshotOrigin:
    """The origin of state: pipeline, cluster, number of partitions of its events, and signatures of its tables.

    As in a store, the fingerprint of a table also contains the id of its changelog topic.
    """

    pipeline: str
    cluster: str
    partitions: int
    tables: Mapping[str, TableSignature]

    def identity(self, task: int) -> StoreIdentity:
        """Return the identity of the store of a task."""
        return StoreIdentity(self.pipeline, task, self.partitions, self.tables)


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """A file of a store: its size in bytes and its SHA-256 as hex."""

    bytes: _Count
    sha256: str


@dataclass(frozen=True, slots=True)
class SavedTask:
    """The store of one task: its worker, its position in each topic, rows by table, files by name.

    ``positions`` are offsets of the next record, of source topics and changelogs. A task without data on disk has no
    files.
    """

    task: _Count
    worker: str
    positions: Mapping[str, _Count]
    rows: Mapping[str, _Count]
    files: Mapping[_Name, SnapshotFile]

    @property
    def bytes(self) -> int:
        """The total size of the files in bytes."""
        return sum(file.bytes for file in self.files.values())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The stores of some tasks, each in a folder named by the number of the task."""

    home: SnapshotOrigin
    tasks: tuple[SavedTask, ...]

    def dump(self) -> bytes:
        """Return the manifest as JSON."""
        return _JSON.dump_json(self, indent=2) + b"\n"

    @classmethod
    def load(cls, folder: Path) -> "Snapshot":
        """Read the manifest in a folder. Raises StateError if it is missing or malformed."""
        path = folder / MANIFEST
        if path.exists() and (not path.is_file() or path.stat().st_size > _BYTES_MAX):
            raise StateError(
                f"{path} is not a state snapshot: it is no regular file, or larger than {_BYTES_MAX} bytes"
            )
        try:
            return _JSON.validate_json(path.read_bytes())
        except OSError as error:
            raise StateError(
                f"{path}: {error.strerror}; name a complete folder that `surgetank state export` has written"
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise StateError(f"{path} is not a state snapshot: {f'{where}: ' if where else ''}{first['msg']}") from None

    def check(self, wanted: SnapshotOrigin) -> None:
        """Raise StateMismatch, saying what to do, unless the snapshot can be used for the origin ``wanted``.

        Raises StateError if a task is not one of the origin's, or is there twice.
        """
        mine = self.home
        if mine.pipeline != wanted.pipeline:
            raise StateMismatch(f"the snapshot is of pipeline {mine.pipeline!r}, not of {wanted.pipeline!r}")
        if mine.cluster != wanted.cluster:
            raise StateMismatch(
                f"the snapshot was made on cluster {mine.cluster}, and this is {wanted.cluster}: offsets of one "
                "cluster have no meaning on another. Without the snapshot, workers restore from the changelogs here"
            )
        if mine.partitions != wanted.partitions:
            raise StateMismatch(
                f"the snapshot was made for {mine.partitions} partitions and the events now have "
                f"{wanted.partitions}: keys have moved between tasks. Export a new one"
            )
        if differing := other_tables(differences(mine.tables, wanted.tables)):
            raise StateMismatch(f"the snapshot has {differing}. Export a new one")
        numbers = [each.task for each in self.tasks]
        for task in numbers:
            if task >= wanted.partitions or numbers.count(task) > 1:
                wrong = "there twice" if task < wanted.partitions else f"not one of the {wanted.partitions} tasks"
                raise StateError(f"the snapshot is not usable: its task {task} is {wrong}. Export a new one")


_JSON = TypeAdapter(Snapshot)
