"""A snapshot of state: what the stores of tasks held when it was made, told in a file beside theirs. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from pipeline.errors import StateError, StateMismatch
from pipeline.state.store_identity import StoreIdentity, TableSignature, differences, other_tables

MANIFEST = "snapshot.json"

_Count = Annotated[int, Field(ge=0)]
_Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-][a-zA-Z0-9._-]*$")]  # no path that leads elsewhere


@dataclass(frozen=True, slots=True)
class SnapshotOrigin:
    """Where state belongs: a pipeline on a cluster, so many partitions of its events, and the shapes of its tables.

    A shape's fingerprint holds the id of the changelog too, as that of a store does.
    """

    pipeline: str
    cluster: str
    partitions: int
    tables: Mapping[str, TableSignature]

    def identity(self, task: int) -> StoreIdentity:
        """Return what the store of a task is made for."""
        return StoreIdentity(self.pipeline, task, self.partitions, self.tables)


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """A file of a store: its size, and the SHA-256 of its bytes as hex."""

    bytes: _Count
    sha256: str


@dataclass(frozen=True, slots=True)
class SavedTask:
    """The store of one task: whose it was, how far it includes each topic, rows by table, files by name.

    ``positions`` are offsets of the next record, of sources and changelogs. A task that had nothing on its disk yet
    has no files.
    """

    task: _Count
    worker: str
    positions: Mapping[str, _Count]
    rows: Mapping[str, _Count]
    files: Mapping[_Name, SnapshotFile]

    @property
    def bytes(self) -> int:
        """The bytes of its files."""
        return sum(file.bytes for file in self.files.values())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The stores of some tasks, each in a folder of its number."""

    home: SnapshotOrigin
    tasks: tuple[SavedTask, ...]

    def dump(self) -> bytes:
        """Return it as JSON."""
        return _JSON.dump_json(self, indent=2) + b"\n"

    @classmethod
    def load(cls, folder: Path) -> "Snapshot":
        """Read what ``dump`` gave, in a folder. Raises StateError if it is not there, or not that."""
        path = folder / MANIFEST
        try:
            return _JSON.validate_json(path.read_bytes())
        except OSError as error:
            raise StateError(
                f"{path}: {error.strerror}; name a folder that `surgetank state export` made, whole"
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise StateError(f"{path} is no snapshot of state: {f'{where}: ' if where else ''}{first['msg']}") from None

    def check(self, wanted: SnapshotOrigin) -> None:
        """Raise StateMismatch, with what would help, unless the snapshot belongs where it is wanted."""
        mine = self.home
        if mine.pipeline != wanted.pipeline:
            raise StateMismatch(f"the snapshot is of pipeline {mine.pipeline!r}, not of {wanted.pipeline!r}")
        if mine.cluster != wanted.cluster:
            raise StateMismatch(
                f"the snapshot was made on cluster {mine.cluster}, and this is {wanted.cluster}: offsets of the one "
                "mean nothing on the other. Workers restore from the changelogs here without it"
            )
        if mine.partitions != wanted.partitions:
            raise StateMismatch(
                f"the snapshot was made for {mine.partitions} partitions and the events now have "
                f"{wanted.partitions}: keys have moved between tasks. Make a new one"
            )
        if differing := other_tables(differences(mine.tables, wanted.tables)):
            raise StateMismatch(f"the snapshot has {differing}. Make a new one")


_JSON = TypeAdapter(Snapshot)
