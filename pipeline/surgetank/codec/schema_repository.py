"""Folders of schemas: every version of every schema, and their ids on the wire.

schemas/README.md describes the files of a folder and their rules. A project has its own folder; the schemas of what the
engine writes (``score`` and ``features``) are in the package.
"""

import itertools
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

import fastavro
import pyarrow as pa
from fastavro.schema import SchemaParseException, UnknownType

from surgetank.codec.avro.types import Json, Record, arrow_schema, parse
from surgetank.errors import SchemaError
from surgetank.settings import load

IDS = "ids.json"
ENGINE = Path(__file__).with_name("schemas")  # the folder of the engine's own schemas
_ID_MAX = 2**31 - 1
_BRACKETS_MAX = 256  # levels of the JSON of a schema, which libraries read by recursion
_TOO_DEEP = f"the schema is nested more than {_BRACKETS_MAX} brackets deep; flatten it"


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """One version of a schema, and the id that identifies it in encoded values."""

    name: str
    number: int
    id: int
    path: Path
    avro: Json = field(repr=False, compare=False)
    record: Record = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SchemaRepository:
    """All schemas of a folder. ``versions`` maps each schema's name to its versions 1 to n in order."""

    versions: dict[str, tuple[SchemaVersion, ...]]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder. Raises SchemaError, which names the missing or wrong file and what to do."""
        ids = _read_ids(folder)
        current = sorted(path.stem for path in folder.glob("*.avsc"))
        without = [name for name in current if not any(each == name for each, _ in ids)]
        if without:
            raise SchemaError(
                f"{folder / IDS} has no id for schema {without[0]!r}; "
                f'add "{_unused(ids.values())}": {{"schema": "{without[0]}", "version": 1}}'
            )
        versions: dict[str, list[SchemaVersion]] = {}
        for (name, number), schema_id in sorted(ids.items()):
            known = versions.setdefault(name, [])
            if number != len(known) + 1:
                raise SchemaError(
                    f"{folder / IDS}: schema {name!r} has version {number} and no version {len(known) + 1}; "
                    "count versions from 1 and never drop one: its events may still be on the topic"
                )
            last = (name, number + 1) not in ids
            path = folder / f"{name}.avsc" if last else released(folder, name, number)
            avro = read_schema(path)
            known.append(SchemaVersion(name, number, schema_id, path, avro, _columns_of(avro, path)))
        return cls({name: tuple(each) for name, each in versions.items()})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the schemas."""
        return tuple(self.versions)

    def current(self, name: str) -> SchemaVersion:
        """Return the version used for encoding. Raises SchemaError if there is no such schema."""
        if name not in self.versions:
            raise SchemaError(f"no schema {name!r}; schemas/ has: {', '.join(self.names) or 'none'}")
        return self.versions[name][-1]

    def schema(self, name: str) -> Json:
        """Return the current schema as in its file. Raises SchemaError if there is no such schema."""
        return self.current(name).avro

    def columns(self, name: str) -> pa.Schema:
        """Return the Arrow schema of decoded values. Raises SchemaError if there is no such schema."""
        return arrow_schema(self.current(name).record)


@cache
def engine_schemas() -> SchemaRepository:
    """Return the schemas of what the engine writes, read once per process."""
    return SchemaRepository.load(ENGINE)


def project_schemas(folder: Path | None = None) -> SchemaRepository:
    """Return the schemas of a project with those of the engine, read once per process and folder.

    ``folder``: default the setting ``schemas.directory`` of the settings file and the environment. Raises SchemaError,
    also for a name or an id that the engine uses itself; SettingsError.
    """
    return _with_engine((load().schemas.directory if folder is None else folder).absolute())


@cache
def _with_engine(folder: Path) -> SchemaRepository:
    project, engine = SchemaRepository.load(folder), engine_schemas()
    taken = {version.id: version for versions in engine.versions.values() for version in versions}
    ids = [version.id for versions in project.versions.values() for version in versions]
    for name, versions in project.versions.items():
        if name in engine.versions:
            raise SchemaError(
                f"{versions[-1].path}: the engine has the schema {name!r} itself; delete the file and its ids in "
                f"{folder / IDS}, or give your schema another name"
            )
        for version in versions:
            if version.id in taken:
                raise SchemaError(
                    f"{folder / IDS}: id {version.id} of schema {name!r} is that of the engine's schema "
                    f"{taken[version.id].name!r}; use another, for example {_unused(ids)}"
                )
    return SchemaRepository(dict(sorted((project.versions | engine.versions).items())))


def released(folder: Path, name: str, number: int) -> Path:
    """Return the path of a released version."""
    return folder / "released" / name / f"{number}.avsc"


def read_schema(path: Path) -> Json:
    """Read one Avro schema. Raises SchemaError, which describes the fault of the file."""
    avro = _read_json(path)
    if _levels(avro) > _BRACKETS_MAX:
        raise SchemaError(f"{path}: {_TOO_DEEP}")
    try:
        # A copy, with separate names for its definitions, because the library modifies its argument.
        fastavro.parse_schema(json.loads(json.dumps(avro)), named_schemas={})
    except (SchemaParseException, UnknownType, KeyError, TypeError, ValueError, AttributeError) as error:
        raise SchemaError(f"{path} is no Avro schema: {type(error).__name__}: {error}") from None
    return avro


def _unused(ids: Collection[int]) -> int:
    """Return an id above those of a project that the engine does not use either."""
    return next(id_ for id_ in itertools.count(max(ids, default=0) + 1) if id_ not in _read_ids(ENGINE).values())


def _columns_of(avro: Json, path: Path) -> Record:
    try:
        return parse(avro)
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None


def _read_ids(folder: Path) -> dict[tuple[str, int], int]:
    path = folder / IDS
    listed = _read_json(path)
    if not isinstance(listed, dict):
        raise SchemaError(f'{path}: must be an object such as {{"1": {{"schema": "boarding", "version": 1}}}}')
    ids: dict[tuple[str, int], int] = {}
    for text, meaning in listed.items():
        if not (text.isascii() and text.isdigit() and str(int(text)) == text and 0 < int(text) <= _ID_MAX):
            raise SchemaError(f"{path}: id {text!r}; ids are the whole numbers 1 to {_ID_MAX}")
        match meaning:
            case {"schema": str(name), "version": int(number), **rest} if number > 0 and not rest:
                pass
            case _:
                raise SchemaError(f'{path}: id {text}: write {{"schema": <name>, "version": <1 or more>}}')
        if (name, number) in ids:
            raise SchemaError(
                f"{path}: ids {ids[name, number]} and {text} are both version {number} of {name!r}; keep one"
            )
        ids[name, number] = int(text)
    return ids


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_once)
    except FileNotFoundError:
        raise SchemaError(
            f"{path} is missing; schemas/README.md says which files there must be; in another folder than that of the "
            "project, name it: surgetank --project FOLDER ..."
        ) from None
    except OSError as error:
        raise SchemaError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise SchemaError(f"{path} is not JSON: {error}") from None
    except RecursionError:
        raise SchemaError(f"{path}: {_TOO_DEEP}") from None


def _levels(json_value: Json) -> int:
    """Return the number of levels of a JSON value, 0 for a plain one. Not recursive, for a value of any depth."""
    levels, level = -1, [json_value]
    while level:
        levels += 1
        level = [
            part
            for each in level
            if isinstance(each, dict | list)
            for part in (each.values() if isinstance(each, dict) else each)
        ]
    return levels


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object without repeated names: otherwise the first of two equal ids would be lost silently."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found
