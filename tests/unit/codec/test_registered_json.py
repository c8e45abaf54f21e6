"""JSON events with ids of a schema registry: in frames, in headers and without, with a stub in place of a registry."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.clock import SystemClock
from surgetank.codec import base
from surgetank.codec.avro.equality import is_same_schema
from surgetank.codec.avro.id_headers import NAME
from surgetank.codec.json.deserializer import JsonDeserializer
from surgetank.codec.json.json_schema import check_json_schema
from surgetank.codec.json.registered_json import RegisteredJson
from surgetank.codec.schema_gate import RegisteredSchemaGate
from surgetank.codec.schema_ids import RegisteredSchema
from surgetank.codec.schema_lookup import SchemaLookup
from surgetank.codec.schema_registry import SchemaRegistry
from surgetank.codec.wire import frame
from surgetank.errors import SchemaError
from surgetank.records import Headers, RecordBatch, large_binary
from surgetank.settings import SchemaRegistrySettings
from tests.support.registry_stub import RegistryStub
from tests.unit.codec.avro_samples import BYTES_MAX, contracts_of, record, records_of, rows_of
from tests.unit.codec.registry_stage import records_with

READER = record(("id", "int"), {"name": "note", "type": ["null", "string"], "default": None, "aliases": ["remark"]})
WRITER = {"type": "object", "properties": {"id": {"type": "integer"}, "note": {"type": ["string", "null"]}}}
REFERRING = {
    "$ref": "#/$defs/Event",
    "$defs": {"Event": {"properties": {"id": {"$ref": "#/$defs/Id"}}}, "Id": {"type": "string"}},
}
AVRO, OTHER, UNKNOWN = 2, 3, 99


def text(number: int, note: str | None = None) -> bytes:
    """Return the JSON text of an event."""
    return json.dumps({"id": number, "note": note}).encode()


class JsonStage:
    """What a worker makes of a registry that has a JSON Schema as 1, an Avro schema, and one that contradicts."""

    def __init__(self, stub: RegistryStub, folder: Path) -> None:
        stub.schemas = {1: WRITER, AVRO: READER, OTHER: {"type": "object", "properties": {"id": {"type": "string"}}}}
        stub.types = {1: "JSON", OTHER: "JSON"}
        registry = SchemaRegistrySettings(url=stub.url, not_found_seconds=0.0)
        self.lookup = SchemaLookup(registry, SchemaRegistry(registry), None, SystemClock())
        contracts = contracts_of(folder, READER)
        self.ids = RegisteredJson(self.lookup, contracts.current("event"))
        self.plain = JsonDeserializer(contracts, "event", value_bytes_max=BYTES_MAX)
        self.decoder = JsonDeserializer(contracts, "event", value_bytes_max=BYTES_MAX, ids=self.ids)
        self.gate = RegisteredSchemaGate(self.lookup, {"events": self.ids}, BYTES_MAX)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JsonStage]:
    """Return a registry's stub and a decoder that asks it."""
    stub = RegistryStub()
    found = JsonStage(stub, tmp_path_factory.mktemp("schemas"))
    yield found
    found.lookup.stop()
    stub.stop()


def batch_of(values: Sequence[bytes | None], headers: list[Headers]) -> RecordBatch:
    """Return records with these values and headers."""
    return RecordBatch.of_partitions([records_with(values, headers)])


def test_texts_in_frames_with_headers_and_alone(stage: JsonStage) -> None:
    """Rows keep their order, and a position in a message counts from the start of the value."""
    values = [frame(1) + text(1), text(2, "b"), text(3), b"{", frame(1) + b'{"id": x}', None, b"", frame(1)]
    headers: list[Headers] = [()] * len(values)
    headers[2] = ((NAME, frame(1)),)
    batch, dead = stage.decoder.deserialize(batch_of(values, headers))
    assert rows_of(batch.columns) == [{"id": 1, "note": None}, {"id": 2, "note": "b"}, {"id": 3, "note": None}]
    assert batch.rows.tolist() == [0, 1, 2]
    assert [(each.row, each.reason) for each in dead] == [
        (3, base.NOT_JSON),
        (4, base.NOT_JSON),
        (5, base.NULL_VALUE),
        (6, base.EMPTY),
        (7, base.NOT_JSON),
    ]
    assert "byte 12" in dead[1].message, dead[1].message


def test_ids_that_no_json_event_can_have(stage: JsonStage) -> None:
    """An Avro schema, one with another type for a field, one that the registry does not have, and a damaged header."""
    values = [frame(AVRO) + text(1), frame(OTHER) + text(2), frame(UNKNOWN) + text(3), text(4), frame(1) + text(5)]
    headers: list[Headers] = [(), (), (), ((NAME, b"\0\0"),), ()]
    batch, dead = stage.decoder.deserialize(batch_of(values, headers))
    assert rows_of(batch.columns) == [{"id": 5, "note": None}]
    assert [(each.row, each.reason) for each in dead] == [
        (0, base.INCOMPATIBLE_SCHEMA),
        (1, base.INCOMPATIBLE_SCHEMA),
        (2, base.UNKNOWN_SCHEMA),
        (3, base.NOT_FRAMED),
    ]
    assert "a schema of type AVRO; events of this topic are JSON" in dead[0].message
    assert "the field 'id' is string, and in 'event' integer or number" in dead[1].message
    assert "schema id 99: the schema registry does not have it" in dead[2].message


def test_json_events_of_an_id_that_is_not_known_yet_wait(tmp_path: Path) -> None:
    """Texts without an id are ready."""
    stub = RegistryStub()
    stub.fault = lambda _: (500, b"{}")
    stage = JsonStage(stub, tmp_path)
    try:
        assert stage.gate.ready_rows(records_with([text(1), text(2), frame(1) + text(3)])) == 2
        assert "schema ids 1 are not known" in stage.gate.why_waiting()
        stub.fault = lambda _: None
        stage.lookup.resolve([1], 30)
        assert stage.gate.ready_rows(records_with([text(1), text(2), frame(1) + text(3)])) == 3
    finally:
        stage.lookup.stop()
        stub.stop()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.binary(max_size=6), st.integers(0, 99).map(text)))),
    st.integers(0, 3),
)
def test_a_frame_changes_nothing_but_positions(
    stage: JsonStage, drawn: list[tuple[bool, bytes | None]], skipped: int
) -> None:
    """In a column that begins in the middle of its memory too; a value that begins as a frame does is left out."""
    drawn = [each for each in drawn if not (each[1] or b"").startswith(b"\0")]
    alone = records_of([value for _, value in drawn][skipped:])
    framed = large_binary([frame(1) + value if with_id and value else value for with_id, value in drawn])
    wanted, faults = stage.plain.deserialize(alone)
    with_ids = records_of([None] * len(alone))
    batch, dead = stage.decoder.deserialize(
        RecordBatch(
            with_ids.sources, with_ids.source, with_ids.offsets, with_ids.arrived_ms, with_ids.keys, framed[skipped:]
        )
    )
    assert batch.columns.equals(wanted.columns)
    assert batch.rows.tolist() == wanted.rows.tolist()
    assert [(each.row, each.reason) for each in dead] == [(each.row, each.reason) for each in faults]


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "array"}, "a JSON Schema of array; events are objects"),
        ({"properties": {"id": {"type": ["string", "boolean"]}}}, "the field 'id' is boolean or string"),
        ({"properties": {"remark": {"type": "integer"}}}, "the field 'remark' is integer"),
        ({"properties": {"note": {}}, "additionalProperties": False}, "without the field 'id', which 'event' needs"),
        (
            {
                "$ref": "#/$defs/Event",
                "$defs": {"Event": {"properties": {"id": {"$ref": "#/$defs/Id"}}}, "Id": {"type": "string"}},
            },
            "the field 'id' is string",
        ),
        ({"properties": {"id": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, "the field 'id' is null or string"),
    ],
)
def test_a_json_schema_that_no_event_can_have(tmp_path: Path, schema: Any, why: str) -> None:
    """The sentence names the field."""
    with pytest.raises(SchemaError, match=why.replace("$", r"\$")):
        check_json_schema(contracts_of(tmp_path, READER).current("event"), json.dumps(schema))


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        WRITER,
        {"properties": {"id": {"anyOf": [{"type": "string"}, {"minimum": 3}]}}},
        {"properties": {"id": {"$ref": "https://example.com/id.json"}}},
        {"properties": {"id": {"$ref": "#/nowhere"}}},
        {"properties": {"id": {"$ref": "#/properties/id"}}},
        {"properties": {"id": {"type": "number"}, "more": {"type": "object"}}, "additionalProperties": False},
    ],
)
def test_a_json_schema_that_contradicts_nothing(tmp_path: Path, schema: Any) -> None:
    """What is not understood is left to the decoder, which looks at each value."""
    reader = contracts_of(tmp_path, READER).current("event")
    assert check_json_schema(reader, json.dumps(schema)) is None  # type: ignore[func-returns-value]


def test_json_schemas_are_the_same_whatever_their_spaces() -> None:
    """And differ by their content or type."""
    one = RegisteredSchema("JSON", '{"type": "object"}')
    assert is_same_schema(one, RegisteredSchema("JSON", '{"type":"object"}'))
    assert not is_same_schema(one, RegisteredSchema("JSON", '{"type":"array"}'))
    assert not is_same_schema(one, RegisteredSchema("JSON", "no schema"))
    assert not is_same_schema(one, RegisteredSchema("AVRO", '{"type":"object"}'))
