"""Decodes one value as far as it goes, for people who look for the fault in it."""

import io
import json
from dataclasses import dataclass, replace
from typing import Any

import fastavro
import pyarrow as pa

from surgetank.codec.json.deserializer import JsonDeserializer
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.codec.wire import FRAME_BYTES, MAGIC
from surgetank.declaration import Events

# What fastavro raises for bytes that do not match the schema.
_FAULTS = (EOFError, ValueError, IndexError, TypeError, KeyError, OverflowError, MemoryError)


@dataclass(frozen=True, slots=True)
class PartialValue:
    """The first fields of a value. ``stopped_at`` is the byte at which ``next_field`` begins, which does not decode.

    ``next_field`` is None if all fields decode; then ``stopped_at`` is the byte behind them. ``schema`` is name and
    version of the schema, "" if the value names none that is known; then there are no fields. ``problem`` says what
    does not decode and where, "" if the whole value decodes.
    """

    schema: str
    fields: dict[str, Any]
    stopped_at: int
    next_field: str | None
    problem: str


def decode_partially(contracts: SchemaRepository, value: bytes, events: Events) -> PartialValue:
    """Return the fields of a value of a topic of events up to the first one that does not decode."""
    if events.format == "json":
        return _decode_json(contracts, value, events.schema)
    found = _decode_avro(contracts, value)
    if found.next_field is not None:
        return replace(found, problem=f"field {found.next_field!r}, which begins at byte {found.stopped_at}")
    if not found.schema or found.stopped_at < len(value):
        return replace(found, problem=f"what is at byte {found.stopped_at}")
    return found


def _decode_avro(contracts: SchemaRepository, value: bytes) -> PartialValue:
    if len(value) < FRAME_BYTES or value[:1] != MAGIC:
        return PartialValue("", {}, 0, None, "")
    schema_id = int.from_bytes(value[1:FRAME_BYTES], "big")
    version = next((each for all_ in contracts.versions.values() for each in all_ if each.id == schema_id), None)
    if version is None:
        return PartialValue("", {}, 1, None, "")
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
        return PartialValue(f"{version.name} {version.number}", fields, FRAME_BYTES + body.tell(), following, "")
    raise AssertionError("a record without fields always decodes")


def _decode_json(contracts: SchemaRepository, value: bytes, schema: str) -> PartialValue:
    version = contracts.current(schema)
    deserializer = JsonDeserializer(contracts, schema, value_bytes_max=len(value))
    _, _, faults = deserializer.deserialize_values(pa.array([value], pa.large_binary()))
    stopped_at = faults[0][1].position if faults else len(value)
    before = fields_before(value, stopped_at)
    return PartialValue(
        schema=f"{version.name} {version.number}",
        fields={name: before[name] for name in deserializer.schema.names if name in before},
        stopped_at=stopped_at,
        next_field=faults[0][1].field or None if faults else None,
        problem=str(faults[0][1]) if faults else "",
    )


def fields_before(value: bytes, stop: int) -> dict[str, Any]:
    """Return the fields of a JSON object that end before a byte, or before the first that is not JSON.

    A field that the end of the value may have cut is left out.
    """
    text = value[:stop].decode(errors="replace")
    decoder = json.JSONDecoder()
    fields: dict[str, Any] = {}
    at = _after_space(text, 0)
    expected = "{"
    while text[at : at + 1] == expected:
        try:
            name, at = decoder.raw_decode(text, _after_space(text, at + 1))
            at = _after_space(text, at)
            if not isinstance(name, str) or text[at : at + 1] != ":":
                break
            field, at = decoder.raw_decode(text, _after_space(text, at + 1))
        except (ValueError, RecursionError):
            break
        at = _after_space(text, at)
        if text[at : at + 1] not in (",", "}") and (at < len(text) or stop == len(value)):
            break
        fields[name] = field
        expected = ","
    return fields


def _after_space(text: str, at: int) -> int:
    """Return the place of the next character that is no white space."""
    while text[at : at + 1] in (" ", "\t", "\n", "\r"):
        at += 1
    return at


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
