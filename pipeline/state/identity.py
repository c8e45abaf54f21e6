"""What a store was made for: kept inside it, so that it is never taken for another's. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import StateCorrupt, StateMismatch

_NUMBERS = 254  # of one byte, without the one that the store keeps for itself and one to end the last table's range


@dataclass(frozen=True, slots=True)
class Shape:
    """What the values of a table are: their size in bytes, and the fingerprint of what they mean."""

    size: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A pipeline's task, one of how many, and the tables that it keeps, by name."""

    pipeline: str
    task: int
    partitions: int
    tables: Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class Difference:
    """A table that the store has in another shape than is wanted. ``was`` is None if it is new, ``wanted`` if gone."""

    table: str
    was: Shape | None
    wanted: Shape | None


@dataclass(frozen=True, slots=True)
class Kept:
    """An identity as a store keeps it: with the number that stands before the keys of each table."""

    identity: Identity
    numbers: Mapping[str, int]

    @classmethod
    def new(cls, identity: Identity) -> "Kept":
        """Return the identity with numbers from 1. Raises StateMismatch if there are too many tables."""
        kept = cls(Identity(identity.pipeline, identity.task, identity.partitions, {}), {})
        for name, shape in identity.tables.items():
            kept = kept.with_table(name, shape)
        return kept

    def check(self, wanted: Identity, path: Path) -> None:
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

    def differences(self, wanted: Identity) -> tuple[Difference, ...]:
        """Return the tables whose shapes differ, in the order of their names."""
        was, now = self.identity.tables, wanted.tables
        return tuple(
            Difference(name, was.get(name), now.get(name))
            for name in sorted({*was, *now})
            if was.get(name) != now.get(name)
        )

    def with_table(self, name: str, shape: Shape | None) -> "Kept":
        """Return it with the table in that shape, under a number that is not in use, or without the table.

        Raises StateMismatch if there are too many tables.
        """
        mine = self.identity
        tables = {each: kept for each, kept in mine.tables.items() if each != name}
        numbers = {each: number for each, number in self.numbers.items() if each != name}
        if shape is not None:
            tables[name] = shape
            numbers[name] = _free(self.numbers)
        return Kept(Identity(mine.pipeline, mine.task, mine.partitions, tables), numbers)

    def dump(self) -> bytes:
        """Return it as JSON."""
        mine = self.identity
        tables = {name: asdict(shape) | {"number": self.numbers[name]} for name, shape in mine.tables.items()}
        return json.dumps(
            {"pipeline": mine.pipeline, "task": mine.task, "partitions": mine.partitions, "tables": tables}
        ).encode()

    @classmethod
    def load(cls, text: bytes, path: Path) -> "Kept":
        """Read what ``dump`` wrote. Raises StateCorrupt, naming the path, for anything else."""
        try:
            kept = json.loads(text)
            tables = {name: Shape(each["size"], each["fingerprint"]) for name, each in kept["tables"].items()}
            identity = Identity(kept["pipeline"], kept["task"], kept["partitions"], tables)
            return cls(identity, {name: each["number"] for name, each in kept["tables"].items()})
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StateCorrupt(
                f"state in {path} does not say what it was made for ({error!r}); "
                "it will be deleted and restored from its changelogs"
            ) from None


def _free(numbers: Mapping[str, int]) -> int:
    """Return the lowest number that no table has."""
    used = set(numbers.values())
    for number in range(1, _NUMBERS + 1):
        if number not in used:
            return number
    raise StateMismatch(f"a task keeps at most {_NUMBERS} tables; declare fewer")
