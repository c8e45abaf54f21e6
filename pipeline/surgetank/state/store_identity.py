"""The identity of a store, saved inside it so that it cannot be used for another task or pipeline. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from surgetank.errors import StateCorrupt, StateMismatch

_NUMBERS = 254  # one byte, without 0 (the store's own keys) and 255 (the end of the last table's range)


@dataclass(frozen=True, slots=True)
class TableSignature:
    """The format of the values of a table: their maximal size in bytes, and the fingerprint of their meaning."""

    size: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """The pipeline and task of a store, the number of partitions, and the signatures of its tables by name."""

    pipeline: str
    task: int
    partitions: int
    tables: Mapping[str, TableSignature]


@dataclass(frozen=True, slots=True)
class TableDifference:
    """A table whose signature in the store differs. ``was`` is None for a new table, ``wanted`` for a removed one."""

    table: str
    was: TableSignature | None
    wanted: TableSignature | None


def differences(was: Mapping[str, TableSignature], wanted: Mapping[str, TableSignature]) -> tuple[TableDifference, ...]:
    """Return the tables whose signatures differ, ordered by name."""
    return tuple(
        TableDifference(name, was.get(name), wanted.get(name))
        for name in sorted({*was, *wanted})
        if was.get(name) != wanted.get(name)
    )


def other_tables(found: Sequence[TableDifference]) -> str:
    """Return a description of the tables that differ from the declaration; an empty string if there are none."""
    names = ", ".join(each.table for each in found)
    return f"rows of {names} of another declaration or another changelog than the current ones" if names else ""


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """An identity as saved in a store, with the number that prefixes the keys of each table."""

    identity: StoreIdentity
    numbers: Mapping[str, int]

    @classmethod
    def new(cls, identity: StoreIdentity) -> "StoredIdentity":
        """Return the identity with table numbers from 1. Raises StateMismatch if there are too many tables."""
        if len(identity.tables) > _NUMBERS:
            raise StateMismatch(f"a task can have at most {_NUMBERS} tables; declare fewer")
        return cls(identity, {name: number for number, name in enumerate(identity.tables, start=1)})

    def check(self, wanted: StoreIdentity, path: Path) -> None:
        """Raise StateMismatch if the store is of another pipeline or task, StateCorrupt if keys have moved since."""
        mine = self.identity
        if (mine.pipeline, mine.task) != (wanted.pipeline, wanted.task):
            raise StateMismatch(
                f"state in {path} belongs to {mine.pipeline}/{mine.task}, not to {wanted.pipeline}/{wanted.task}: "
                "use a separate state folder for each pipeline, and do not rename folders of state"
            )
        if mine.partitions != wanted.partitions:
            raise StateCorrupt(
                f"state in {path} was made for {mine.partitions} partitions, and there are {wanted.partitions} now: "
                "keys have moved between tasks; it will be deleted and restored from its changelogs"
            )

    def differences(self, wanted: StoreIdentity) -> tuple[TableDifference, ...]:
        """Return the tables whose signatures differ, ordered by name."""
        return differences(self.identity.tables, wanted.tables)

    def dump(self) -> bytes:
        """Return the identity as JSON."""
        mine = self.identity
        tables = {name: asdict(shape) | {"number": self.numbers[name]} for name, shape in mine.tables.items()}
        return json.dumps(
            {"pipeline": mine.pipeline, "task": mine.task, "partitions": mine.partitions, "tables": tables}
        ).encode()

    @classmethod
    def load(cls, text: bytes, path: Path) -> "StoredIdentity":
        """Read the output of ``dump``. Raises StateCorrupt, naming the path, for anything else."""
        try:
            kept = json.loads(text)
            tables = {name: TableSignature(each["size"], each["fingerprint"]) for name, each in kept["tables"].items()}
            identity = StoreIdentity(kept["pipeline"], kept["task"], kept["partitions"], tables)
            return cls(identity, {name: each["number"] for name, each in kept["tables"].items()})
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StateCorrupt(
                f"the identity of the state in {path} cannot be read ({error!r}); "
                "it will be deleted and restored from its changelogs"
            ) from None
