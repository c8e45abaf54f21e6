"""Says whether two texts of a registry are the same schema."""

import json

import fastavro
from fastavro.schema import SchemaParseException, UnknownType, to_parsing_canonical_form

from surgetank.codec.avro.types import Record, parse
from surgetank.codec.schema_ids import RegisteredSchema
from surgetank.errors import SchemaError


def is_same_schema(first: RegisteredSchema, second: RegisteredSchema) -> bool:
    """Return whether events of both have the same bytes and meaning: comments, spaces and order do not count."""
    if first == second:
        return True
    try:
        if first.type == second.type == "JSON":
            return bool(json.loads(first.text) == json.loads(second.text))
        return first.type == second.type == "AVRO" and identity(first.text) == identity(second.text)
    except (
        SchemaError,
        SchemaParseException,
        UnknownType,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ):
        return False


def identity(text: str) -> tuple[str, Record]:
    """Return what equal schemas have in common: names and types, and the wire format with its logical types.

    Raises what fastavro and ``parse`` raise.
    """
    avro = json.loads(text)
    fastavro.parse_schema(json.loads(text), named_schemas={})
    return to_parsing_canonical_form(avro), parse(avro)
