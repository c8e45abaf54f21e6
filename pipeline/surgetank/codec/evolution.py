"""Checks that schemas are compatible: ``surgetank schemas check``, or ``python -m surgetank.codec.evolution [folder]``.

Every released version of a schema and the current one must be able to read each other, in both directions (Confluent's
FULL_TRANSITIVE): old events stay on the topics for their retention time, and consumers of scores update at any time.
The official Avro library makes the comparison.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.errors import AvroException

from surgetank.codec.avro.types import Array, AvroType, Fixed, Json, Map, Primitive, Record, parse, without_null
from surgetank.codec.schema_repository import (
    ENGINE,
    SchemaRepository,
    SchemaVersion,
    project_schemas,
    read_schema,
    released,
)
from surgetank.errors import SchemaError
from surgetank.settings import load


class SchemaCheck(NamedTuple):
    """The names of the schemas that were checked, and their problems, one sentence each."""

    schemas: tuple[str, ...]
    problems: list[str]


def problems(folder: Path) -> list[str]:
    """Return the problems of the schemas of a folder, one sentence each; an empty list if there are none.

    Raises SchemaError if the folder cannot be read at all.
    """
    contracts = SchemaRepository.load(folder)
    found = _unknown_releases(folder, contracts)
    for versions in contracts.versions.values():
        current = versions[-1]
        found += _unparsable(current)
        release = released(folder, current.name, current.number)
        if release.exists() and read_schema(release) != current.avro:
            found.append(
                f"{current.path} differs from its release {release}, and a release never changes: give the "
                f"new schema an unused id and version {current.number + 1} in {folder / 'ids.json'}, or take "
                "the change back"
            )
            found += _breaks(current, release)
        for old in versions[:-1]:
            found += _breaks(current, old.path)
    return found


def check_schemas(folder: Path | None) -> SchemaCheck:
    """Check the schemas of a folder, default the setting ``schemas.directory``, and of the engine.

    Raises SettingsError. A folder that cannot be read is a problem.
    """
    folder = folder or load().schemas.directory
    try:
        return SchemaCheck(tuple(project_schemas(folder).names), problems(folder) + problems(ENGINE))
    except SchemaError as error:
        return SchemaCheck((), [str(error)])


def main(arguments: list[str]) -> int:
    """Check the schemas of a folder and of the engine; print the problems. Return the exit code: 0 if there are none.

    ``arguments``: the folder; default the setting ``schemas.directory``. Raises SettingsError.
    """
    return print_check(check_schemas(Path(arguments[0]) if arguments else None))


def print_check(found: SchemaCheck) -> int:
    """Print the result as text, problems to standard error. Return the exit code: 0 if there are no problems."""
    for problem in found.problems:
        print(problem, file=sys.stderr)
    if not found.problems:
        names = ", ".join(found.schemas)
        print(f"schemas: {names}: each is compatible with all of its releases, in both directions")
    return 1 if found.problems else 0


def _unknown_releases(folder: Path, contracts: SchemaRepository) -> list[str]:
    known = {released(folder, v.name, v.number) for versions in contracts.versions.values() for v in versions}
    return [
        f"{path} has no id: {folder / 'ids.json'} must keep every version that was released"
        for path in sorted((folder / "released").glob("*/*"))
        if path not in known
    ]


def _unparsable(version: SchemaVersion) -> list[str]:
    try:
        avro.schema.make_avsc_object(version.avro)
    except AvroException as error:
        return [f"{version.path} is no Avro schema: {error}"]
    return []


def _breaks(current: SchemaVersion, old: Path) -> list[str]:
    """Return the reasons why the current version and an old one cannot read each other."""
    before = read_schema(old)
    mend = f"; {current.path}: keep the field's name and type, give what is added or removed a default"
    verdicts = {
        f"{current.path} cannot read events of {old}": unreadable(current.avro, before),
        f"readers of {old} cannot read events of {current.path}": unreadable(before, current.avro),
        f"{current.path} takes events of {old} for something else": reinterpreted(current.record, parse(before)),
    }
    return [f"{verdict}: {why}{mend}" for verdict, whys in verdicts.items() for why in whys]


def unreadable(reader: Json, writer: Json) -> list[str]:
    """Return the reasons why events of a writer's schema cannot be read as a reader's, by the official library."""
    checker = ReaderWriterCompatibilityChecker()
    result = checker.get_compatibility(avro.schema.make_avsc_object(reader), avro.schema.make_avsc_object(writer))
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    kinds = ", ".join(sorted({kind.value.replace("_", " ") for kind in result.incompatibilities}))
    fields = ", ".join(dict.fromkeys(_field_at(reader, place) for place in sorted(result.locations)))
    return [f"{fields}: {kinds} ({'; '.join(sorted(result.messages))})"]


def _field_at(reader: Json, place: str) -> str:
    """Return the field name for a path such as /fields/3/type."""
    match place.split("/")[1:]:
        case ["fields", number, *_]:
            return f"field {reader['fields'][int(number)]['name']!r}"
    return "the record"


def reinterpreted(new: AvroType, old: AvroType, path: str = "", *, declares: bool = False) -> Iterator[str]:
    """Yield changed logical types: the bytes stay readable but change their meaning. ``path``: of the type.

    ``declares``: the new schema may declare the logical type of a number that is plain in the old one.
    """
    match without_null(new), without_null(old):
        case Record(fields=news, rules=rules), Record(fields=olds):
            before = dict(olds)
            for number, (name, kind) in enumerate(news):
                names = (name, *rules[number].aliases) if rules else (name,)
                if (known := next((each for each in names if each in before), None)) is not None:
                    inner = f"{path}.{name}" if path else name
                    yield from reinterpreted(kind, before[known], inner, declares=declares)
        case Array(items=a), Array(items=b):
            yield from reinterpreted(a, b, f"{path}[]", declares=declares)
        case Map(values=a), Map(values=b):
            yield from reinterpreted(a, b, f"{path}{{}}", declares=declares)
        case ((Primitive() | Fixed() as a), (Primitive() | Fixed() as b)):
            declared = declares and b.logical is None and a.decimal is None
            if (a.logical, a.decimal) != (b.logical, b.decimal) and not declared:
                yield f"field {path!r} was {_name(b)} and is {_name(a)}"


def _name(kind: Primitive | Fixed) -> str:
    plain = kind.name if isinstance(kind, Primitive) else f"fixed({kind.size})"
    if kind.decimal:
        return f"{plain} as decimal({kind.decimal.precision}, {kind.decimal.scale})"
    return f"{plain} as {kind.logical}" if kind.logical else f"plain {plain}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
