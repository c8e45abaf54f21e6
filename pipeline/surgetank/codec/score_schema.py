"""The schema of a pipeline's scores: the engine's own, or one of the project that adds fields of the events to it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.avro.types import Json, without_null
from surgetank.codec.formats import output_deserializer, output_serializer, project_lookup
from surgetank.codec.schema_repository import IDS, SchemaRepository, engine_schemas
from surgetank.declaration import ENGINE_SCORES, Pipeline
from surgetank.errors import SchemaError
from surgetank.settings import Settings

if TYPE_CHECKING:  # only for projects with a schema registry
    from surgetank.codec.schema_lookup import SchemaLookup

_NAMED = ("record", "enum", "fixed")
_PARTS = ("type", "items", "values", "fields")


def score_serializer(
    contracts: SchemaRepository, pipeline: Pipeline, settings: Settings, lookup: "SchemaLookup | None"
) -> AvroSerializer:
    """Return the serializer of the pipeline's scores: ``output_serializer`` of their schema.

    Raises SchemaError if their schema does not fit the events.
    """
    check_score_schema(contracts, pipeline)
    return output_serializer(pipeline.scores.schema, pipeline.scores.topic, contracts, settings, lookup)


def score_deserializer(
    contracts: SchemaRepository, pipeline: Pipeline, lookup: "SchemaLookup | None", *, value_bytes_max: int
) -> AvroDeserializer:
    """Return the deserializer of the pipeline's scores, also of those that were written in the engine's own schemas."""
    check_score_schema(contracts, pipeline)
    schema = pipeline.scores.schema
    also = tuple(each for each in ENGINE_SCORES if each != schema)
    return output_deserializer(schema, contracts, lookup, also=also, value_bytes_max=value_bytes_max)


def project_score_deserializer(
    contracts: SchemaRepository, pipeline: Pipeline, *, value_bytes_max: int
) -> AvroDeserializer:
    """Return the same for a tool: with the registry of the settings file and the environment, for which it waits."""
    return score_deserializer(contracts, pipeline, project_lookup(), value_bytes_max=value_bytes_max)


def check_score_schema(contracts: SchemaRepository, pipeline: Pipeline) -> None:
    """Raise SchemaError, which names field and cure, unless the schema has the engine's fields and those passed on."""
    scores, what = pipeline.scores, f"schema {pipeline.scores.schema!r} of the scores of pipeline {pipeline.name!r}"
    if scores.schema in ENGINE_SCORES:
        return
    if scores.schema not in contracts.names:
        raise SchemaError(f"{what} does not exist; write it with: surgetank schemas score {pipeline.name}")
    own, base = contracts.current(scores.schema), engine_schemas().current(scores.engine_schema)
    events = contracts.current(pipeline.events.schema)
    if (own.avro.get("namespace"), own.avro["name"]) != (base.avro["namespace"], base.avro["name"]):
        raise SchemaError(
            f"{what}: the record must have the name {base.avro['name']!r} and the namespace "
            f"{base.avro['namespace']!r}, so that readers of scores can read it"
        )
    fields, passed = dict(own.record.fields), dict.fromkeys(scores.passthrough)
    defaults = {field["name"] for field in own.avro["fields"] if "default" in field}
    for name, kind in base.record.fields:
        if name in passed:
            raise SchemaError(f"{what}: every score has the field {name!r} itself; take it out of passthrough")
        if fields.get(name) != kind:
            raise SchemaError(f"{what}: the field {name!r} must be as in the schema {base.name!r} of the engine")
    event_fields = dict(events.record.fields)
    for name in passed:
        if name not in event_fields:
            raise SchemaError(
                f"{what}: passthrough names field {name!r}, which schema {events.name!r} does not have; it has "
                f"{', '.join(event_fields)}"
            )
        if name not in fields or name not in defaults:
            raise SchemaError(f"{what}: add the field {json.dumps(_passed(events.avro, name))}")
        if fields[name] != event_fields[name] and without_null(fields[name]) != event_fields[name]:
            raise SchemaError(
                f"{what}: the field {name!r} has another type than in schema {events.name!r}; write it as "
                f"{json.dumps(_passed(events.avro, name))}"
            )
    if unknown := [name for name in fields if name not in passed and name not in dict(base.record.fields)]:
        raise SchemaError(f"{what}: nothing fills the field {unknown[0]!r}; name it in passthrough, or take it out")


def make_score_schema(contracts: SchemaRepository, pipeline: Pipeline) -> Json:
    """Return the schema of scores that ``passthrough`` needs: the engine's fields, then those of the events.

    Each added field may be null and has the default null, so that it can be added and removed later. Raises
    SchemaError if the events lack a field.
    """
    base, events = engine_schemas().schema(pipeline.scores.engine_schema), contracts.current(pipeline.events.schema)
    if missing := [name for name in pipeline.scores.passthrough if name not in dict(events.record.fields)]:
        raise SchemaError(f"passthrough names field {missing[0]!r}, which schema {events.name!r} does not have")
    written: set[str] = set()
    added = [_passed(events.avro, name, written) for name in pipeline.scores.passthrough]
    return {**base, "fields": [*base["fields"], *added]}


def write_score_schema(folder: Path, name: str, avro: Json) -> int:
    """Write a new schema and its id into a folder of schemas; return the id. Raises SchemaError if it exists."""
    path, ids_path = folder / f"{name}.avsc", folder / IDS
    ids: dict[str, Any] = json.loads(ids_path.read_text())
    if path.exists() or any(each["schema"] == name for each in ids.values()):
        raise SchemaError(f"{path} exists; edit it, and give it a new version in {ids_path} if it was released")
    taken = {version.id for versions in engine_schemas().versions.values() for version in versions} | set(map(int, ids))
    new = next(id_ for id_ in range(max(map(int, ids), default=0) + 1, 2**31) if id_ not in taken)
    ids[str(new)] = {"schema": name, "version": 1}
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in ids.items())
    path.write_text(json.dumps(avro, indent=2, ensure_ascii=False) + "\n")
    ids_path.write_text(f"{{\n{lines}\n}}\n")
    return new


def _passed(events: Json, name: str, written: set[str] | None = None) -> Json:
    """Return the field of a score that holds a field of the events, nullable.

    Named types are written out where they are not among those ``written`` before, and added to these.
    """
    field = next(each for each in events["fields"] if each["name"] == name)
    kind = _written_out(field["type"], dict(_definitions(events)), set() if written is None else written)
    branches = [each for each in kind if each != "null"] if isinstance(kind, list) else [kind]
    doc = {"doc": field["doc"]} if "doc" in field else {}
    return {"name": name, "type": ["null", *branches], "default": None, **doc}


def _definitions(avro: Json) -> Iterator[tuple[str, Json]]:
    """Yield the named types of a schema by name without namespace."""
    if isinstance(avro, list):
        for each in avro:
            yield from _definitions(each)
    elif isinstance(avro, dict):
        if avro.get("type") in _NAMED:
            yield _short(avro["name"]), avro
        for part in _PARTS:
            yield from _definitions(avro.get(part))


def _written_out(kind: Json, definitions: dict[str, Json], written: set[str]) -> Json:
    """Return a type with named types by their names without namespace, defined at their first use."""
    if isinstance(kind, list):
        return [_written_out(each, definitions, written) for each in kind]
    if isinstance(kind, str) and _short(kind) not in definitions:
        return kind
    definition = definitions[_short(kind)] if isinstance(kind, str) else kind
    if definition.get("type") not in _NAMED:
        return {
            part: _written_out(each, definitions, written) if part in _PARTS else each
            for part, each in definition.items()
        }
    name = _short(definition["name"])
    if name in written:
        return name
    written.add(name)
    found = {part: each for part, each in definition.items() if part != "namespace"} | {"name": name}
    if "fields" in found:
        found["fields"] = [
            {**field, "type": _written_out(field["type"], definitions, written)} for field in found["fields"]
        ]
    return found


def _short(name: str) -> str:
    return name.rpartition(".")[2]
