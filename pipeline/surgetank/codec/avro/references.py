"""Puts the types that a schema takes from other schemas into it, so that it stands alone."""

import json
from collections.abc import Sequence

from surgetank.codec.avro.types import Json


def inlined(text: str, others: Sequence[str]) -> str:
    """Return a schema in which the first use of a named type of ``others`` is its definition. All are JSON texts."""
    definitions = {_full_name(each): each for each in map(json.loads, others)}
    return json.dumps(_with_definitions(json.loads(text), "", definitions))


def _with_definitions(schema: Json, namespace: str, definitions: dict[str, Json]) -> Json:
    """Return the schema; what is used is removed from ``definitions``."""
    match schema:
        case str():
            full = schema if "." in schema or not namespace else f"{namespace}.{schema}"
            found = definitions.pop(full, None)
            return schema if found is None else _with_definitions(found, "", definitions)
        case list():
            return [_with_definitions(each, namespace, definitions) for each in schema]
        case {"type": "record", "fields": list(fields)}:
            inner = _full_name(schema).rpartition(".")[0] or namespace
            types = [_with_definitions(each["type"], inner, definitions) for each in fields]
            return schema | {"fields": [each | {"type": kind} for each, kind in zip(fields, types, strict=True)]}
        case dict():
            parts = schema.keys() & {"type", "items", "values"}
            return schema | {name: _with_definitions(schema[name], namespace, definitions) for name in sorted(parts)}
    return schema


def _full_name(schema: Json) -> str:
    name, namespace = schema["name"], schema.get("namespace", "")
    return name if "." in name or not namespace else f"{namespace}.{name}"
