"""Compares a JSON Schema of a registry with the schema that JSON events are read by. Pure.

A JSON Schema says more than a decoder needs, and says it in many ways. What is looked at is which types a property may
have, and whether it can be there at all; what is not understood (``patternProperties``, ``if``, references to other
documents) contradicts nothing.
"""

import json
from typing import Any

from surgetank.codec.avro.types import Array, AvroType, FieldRule, Nullable, Primitive, Record, without_null
from surgetank.codec.schema_repository import SchemaVersion
from surgetank.errors import SchemaError

_REFERENCES_MAX = 32  # followed in a row
_NUMBERS = frozenset({"integer", "number"})
_TYPES = {"int": _NUMBERS, "long": _NUMBERS, "float": _NUMBERS, "double": _NUMBERS, "boolean": frozenset({"boolean"})}
_TEXT = frozenset({"string"})

Types = frozenset[str]


def check_json_schema(reader: SchemaVersion, text: str) -> None:
    """Raise SchemaError, which names the field, if no value of a JSON Schema can be read as ``reader``.

    Raises ValueError for a text that is no JSON.
    """
    whole = json.loads(text)
    schema = _followed(whole, whole)
    types = _types(schema, whole)
    if types is not None and "object" not in types:
        raise SchemaError(f"a JSON Schema of {_listed(types)}; events are objects")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return
    rules = reader.record.rules or (FieldRule(),) * len(reader.record.fields)
    for (name, kind), rule in zip(reader.record.fields, rules, strict=True):
        given = next((each for each in (name, *rule.aliases) if each in properties), None)
        if given is None:
            if schema.get("additionalProperties") is False and not rule.has_default and not isinstance(kind, Nullable):
                raise SchemaError(f"a JSON Schema without the field {name!r}, which {reader.name!r} needs")
            continue
        found = _types(properties[given], whole)
        wanted = _readable(kind)
        if found is not None and not found & wanted:
            raise SchemaError(f"the field {given!r} is {_listed(found)}, and in {reader.name!r} {_listed(wanted)}")


def _readable(kind: AvroType) -> Types:
    """Return the JSON types from which a type is decoded."""
    null = frozenset({"null"}) if isinstance(kind, Nullable) else frozenset()
    match without_null(kind):
        case Primitive(name=name):
            return _TYPES.get(name, _TEXT) | null
        case Record():
            return frozenset({"object"}) | null
        case Array():
            return frozenset({"array", "string"}) | null
    return _TEXT | null


def _types(schema: Any, whole: Any) -> Types | None:
    """Return the types that values of a schema may have; None if it does not say."""
    schema = _followed(schema, whole)
    if not isinstance(schema, dict):
        return None
    said = schema.get("type")
    if isinstance(said, str):
        return frozenset({said})
    if isinstance(said, list):
        return frozenset(each for each in said if isinstance(each, str))
    for word in ("anyOf", "oneOf"):
        parts = schema.get(word)
        if isinstance(parts, list):
            found = [_types(each, whole) for each in parts]
            known = [each for each in found if each is not None]
            return frozenset().union(*known) if len(known) == len(found) else None
    return None


def _followed(schema: Any, whole: Any) -> Any:
    """Return what a reference inside the document refers to; anything else as it is."""
    for _ in range(_REFERENCES_MAX):
        target = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(target, str) or not target.startswith("#/"):
            return schema
        schema = whole
        for part in target[2:].split("/"):
            schema = schema.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(schema, dict) else None
    return None


def _listed(types: Types) -> str:
    return " or ".join(sorted(types)) or "of no type"
