"""What a store was made for: kept inside it, so that it is never taken for another's. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import StateCorrupt, StateMismatch

_NUMBERS = 254  # of one byte, without the one that the store keeps for itself and one to end the last table's range


@dataclass(frozen=True, slots=True)
class TableSignature:
    """What the values of a table are: their size in bytes, and the fingerprint of what they mean."""

    size: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """A pipeline's task, one of how many, and the tables that it keeps, by name."""

    pipeline: str
    task: int
    partitions: int
    tables: Mapping[str, TableSignature]


@dataclass(frozen=True, slots=True)
class TableDifference:
    """A table that the store has in another shape than is wanted. ``was`` is None if it is new, ``wanted`` if gone."""

    table: str
    was: TableSignature | None
    wanted: TableSignature | None


def differences(was: Mapping[str, TableSignature], wanted: Mapping[str, TableSignature]) -> tuple[TableDifference, ...]:
    """Return the tables whose shapes differ, in the order of their names."""
    return tuple(
        TableDifference(name, was.get(name), wanted.get(name))
        for name in sorted({*was, *wanted})
        if was.get(name) != wanted.get(name)
    )


def other_tables(found: Sequence[TableDifference]) -> str:
    """Say which tables are others than are declared now; nothing, if none is."""
    names = ", ".join(each.table for each in found)
    return f"other rows of {names} than are declared now, or of other changelogs" if names else ""


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """An identity as a store keeps it: with the number that stands before the keys of each table."""

    identity: StoreIdentity
    numbers: Mapping[str, int]

    @classmethod
    def new(cls, identity: StoreIdentity) -> "StoredIdentity":
        """Return the identity with numbers from 1. Raises StateMismatch if there are too many tables."""
        if len(identity.tables) > _NUMBERS:
            raise StateMismatch(f"a task keeps at most {_NUMBERS} tables; declare fewer")
        return cls(identity, {name: number for number, name in enumerate(identity.tables, start=1)})

    def check(self, wanted: StoreIdentity, path: Path) -> None:
        """Raise StateMismatch unless the store is of that pipeline and task; StateCorrupt if keys have moved since."""
        mine = self.identity
        if (mine.pipeline, mine.task) != (wanted.pipeline, wanted.task):
            raise StateMismatch(
                f"state in {path} is that of {mine.pipeline}/{mine.task}, not of {wanted.pipeline}/{wanted.task}: "
                "give each pipeline its own folder, and do not rename folders of state"
            )
        if mine.partitions != wanted.partitions:
            raise StateCorrupt(
                f"state in {path} was made for {mine.partitions} partitions, and there are {wanted.partitions} now: "
                "keys have moved between tasks; it will be deleted and restored from its changelogs"
            )

    def differences(self, wanted: StoreIdentity) -> tuple[TableDifference, ...]:
        """Return the tables whose shapes differ, in the order of their names."""
        return differences(self.identity.tables, wanted.tables)

    def dump(self) -> bytes:
        """Return it as JSON."""
        mine = self.identity
        tables = {name: asdict(shape) | {"number": self.numbers[name]} for name, shape in mine.tables.items()}
        return json.dumps(
            {"pipeline": mine.pipeline, "task": mine.task, "partitions": mine.partitions, "tables": tables}
        ).encode()

    @classmethod
    def load(cls, text: bytes, path: Path) -> "StoredIdentity":
        """Read what ``dump`` wrote. Raises StateCorrupt, naming the path, for anything else."""
        try:
            kept = json.loads(text)
            tables = {name: TableSignature(each["size"], each["fingerprint"]) for name, each in kept["tables"].items()}
            identity = StoreIdentity(kept["pipeline"], kept["task"], kept["partitions"], tables)
            return cls(identity, {name: each["number"] for name, each in kept["tables"].items()})
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StateCorrupt(
                f"state in {path} does not say what it was made for ({error!r}); "
                "it will be deleted and restored from its changelogs"
            ) from None
