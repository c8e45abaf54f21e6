"""Decodes one Avro value as far as it goes, for people who look for the fault in it."""

import io
from dataclasses import dataclass
from typing import Any

import fastavro

from surgetank.codec.schema_repository import SchemaRepository
from surgetank.codec.wire import FRAME_BYTES, MAGIC

# What fastavro raises for bytes that do not match the schema.
_FAULTS = (EOFError, ValueError, IndexError, TypeError, KeyError, OverflowError, MemoryError)


@dataclass(frozen=True, slots=True)
class PartialValue:
    """The first fields of a value. ``stopped_at`` is the byte at which ``next_field`` begins, which does not decode.

    ``next_field`` is None if all fields decode; then ``stopped_at`` is the byte behind them. ``schema`` is name and
    version of the schema, "" if the value names none that is known; then there are no fields.
    """

    schema: str
    fields: dict[str, Any]
    stopped_at: int
    next_field: str | None


def decode_partially(contracts: SchemaRepository, value: bytes) -> PartialValue:
    """Return the fields of a value in the Confluent wire format up to the first one that does not decode."""
    if len(value) < FRAME_BYTES or value[:1] != MAGIC:
        return PartialValue("", {}, 0, None)
    schema_id = int.from_bytes(value[1:FRAME_BYTES], "big")
    version = next((each for all_ in contracts.versions.values() for each in all_ if each.id == schema_id), None)
    if version is None:
        return PartialValue("", {}, 1, None)
    schema = version.avro
    assert isinstance(schema, dict)
    for count in range(len(schema["fields"]), -1, -1):
        # A type is defined before it is used: the first fields are a schema of their own.
        first = fastavro.parse_schema(schema | {"fields": schema["fields"][:count]}, named_schemas={})
        body = io.BytesIO(value[FRAME_BYTES:])
        try:
            fields: Any = fastavro.schemaless_reader(body, first, None)
        except _FAULTS:
            continue
        following = schema["fields"][count]["name"] if count < len(schema["fields"]) else None
        return PartialValue(f"{version.name} {version.number}", fields, FRAME_BYTES + body.tell(), following)
    raise AssertionError("a record without fields always decodes")


def hex_dump(value: bytes, at: int, *, around: int = 32) -> str:
    """Return the bytes around a position in lines of 16 bytes, with a mark below the byte at ``at``."""
    first = max(0, at - around) // 16 * 16
    lines = []
    for start in range(first, min(len(value), at + around), 16):
        row = value[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:>10}  {row.hex(' '):<47}  {text}")
        if start <= at < start + 16:
            lines.append(" " * (12 + 3 * (at - start)) + "^^")
    return "\n".join(lines)
