"""Schema ids in the header of a record, as Confluent's newer serializers write them: the value is the body alone."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka.schema_registry import header_schema_id_serializer, prefix_schema_id_serializer
from confluent_kafka.schema_registry.common.serde import SchemaId
from confluent_kafka.serialization import MessageField, SerializationContext

from surgetank.codec import base
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.id_headers import NAME, id_headers, key_in
from surgetank.codec.wire import FRAME_BYTES
from surgetank.header_columns import header_columns
from surgetank.record_headers import EncodedHeaders, encode_headers
from surgetank.records import Headers, RecordBatch, large_binary
from tests.support.registry_stub import RegistryStub
from tests.unit.codec.avro_samples import contracts_of, rows_of
from tests.unit.codec.registry_stage import OLDER, READER, RegistryStage, event, records_with

GUID = UUID("89791762-2336-4186-9674-299b90a802e2")
TRACE = ("trace", b"\0\0\0\0\1")


def by_guid(number: int) -> tuple[bytes, Headers]:
    """Return an event as the official serializer writes it with the GUID of OLDER in its header."""
    context = SerializationContext("events", MessageField.VALUE, [])
    payload = event(number, 2)[FRAME_BYTES:]
    value = header_schema_id_serializer(payload, context, SchemaId("AVRO", 2, str(GUID)))
    return value, [TRACE, *context.headers]


def by_id(number: int, schema_id: int = 2) -> tuple[bytes, Headers]:
    """Return an event with its id in the header."""
    return event(number, schema_id)[FRAME_BYTES:], [(NAME, struct.pack(">bI", 0, schema_id))]


def by_frame(number: int) -> tuple[bytes, Headers]:
    """Return an event as the official serializer writes it with its id in the value."""
    payload = event(number, 1)[FRAME_BYTES:]
    return prefix_schema_id_serializer(payload, None, SchemaId("AVRO", 1)), [TRACE]


@pytest.mark.parametrize("forms", [[by_guid], [by_id], [by_guid, by_frame, by_id], [by_frame, by_id]])
def test_ids_in_headers_and_in_values_of_one_batch(
    stage: RegistryStage, stub: RegistryStub, forms: list[Callable[[int], tuple[bytes, Headers]]]
) -> None:
    """Each value is decoded by its schema, in the order of the records; a header counts more than the first bytes."""
    stub.schemas[GUID] = OLDER
    values, headers = zip(*[forms[n % len(forms)](n) for n in range(9)], strict=True)
    stage.wait(lambda: stage.ready(values, headers) == 9)
    batch, dead = stage.decoder.deserialize(RecordBatch.of_partitions([records_with(values, headers)]))
    assert dead == ()
    assert [each["id"] for each in rows_of(batch.columns)] == list(range(9))
    assert {each["new"] for each in rows_of(batch.columns)} <= {"n", "-"}


def test_an_unknown_id_in_a_header_makes_its_events_wait(stage: RegistryStage, stub: RegistryStub) -> None:
    """Until the registry has the GUID; the reason names it."""
    stub.fault = lambda path: (503, b"{}") if "guids" in path else None
    stub.schemas[GUID] = OLDER
    (first, first_headers), (second, second_headers) = by_frame(0), by_guid(1)
    values, headers = [first, second], [first_headers, second_headers]
    stage.wait(lambda: stage.ready(values, headers) == 1)
    assert str(GUID) in stage.gate.why_waiting()
    stub.fault = lambda _: None
    stage.wait(lambda: stage.ready(values, headers) == 2)
    cache = stage.cache
    assert cache is not None
    stage.wait_until(lambda: set(cache.read()) == {1, GUID})


def test_a_disputed_id_in_a_header_makes_its_events_wait(stub: RegistryStub, tmp_path: Path) -> None:
    """As one in a value does."""
    stub.schemas[GUID] = OLDER
    stage = RegistryStage(stub, tmp_path, recheck_seconds=0.05)
    value, headers = by_guid(0)
    stage.wait(lambda: stage.ready([value], [headers]) == 1)
    stage.decoder.deserialize(RecordBatch.of_partitions([records_with([value], [headers])]))
    stub.schemas[GUID] = READER
    stage.wait(lambda: stage.ready([value], [headers]) == 0)
    stage.lookup.stop()


@pytest.mark.parametrize("header", [b"", b"\0", b"\0\0\0\0\0\1", b"\2\0\0\0\1", b"\1\0\0\0\1"])
def test_a_header_that_is_no_schema_id(stage: RegistryStage, header: bytes) -> None:
    """Its event is a dead letter; null and empty values and unknown ids are what they are with ids in values."""
    wrong: Headers = [(NAME, header)]
    denied: Headers = [(NAME, b"\0\0\0\0\x63")]
    values = [event(0, 1), None, b"", event(3, 1)[FRAME_BYTES:], b"\2"]
    headers = [wrong, wrong, wrong, denied, [(NAME, b"\0\0\0\0\1")]]
    stage.wait(lambda: stage.ready(values, headers) == 5)
    batch, dead = stage.decoder.deserialize(RecordBatch.of_partitions([records_with(values, headers)]))
    assert len(batch) == 0
    reasons = [base.NOT_FRAMED, base.NULL_VALUE, base.EMPTY, base.UNKNOWN_SCHEMA, base.UNDECODABLE]
    assert [letter.reason for letter in dead] == reasons
    assert NAME in dead[0].message
    assert "schema id 99" in dead[3].message


def test_without_a_registry_headers_are_not_looked_at(tmp_path: Path) -> None:
    """The ids of the project are in values."""
    decoder = AvroDeserializer(contracts_of(tmp_path, READER), "event", value_bytes_max=99)
    records = RecordBatch.of_partitions([records_with([event(0, 1)], [[(NAME, b"\0\0\0\0\x63")]])])
    batch, dead = decoder.deserialize(records)
    assert (len(batch), dead) == (1, ())


def test_headers_of_split_and_joined_records_stay_columns() -> None:
    """No header is decoded one by one: each part of a split has its rows, and joined parts follow one another."""
    given: list[Headers] = [[TRACE], [(NAME, b"a")], [], [(NAME, b"b"), (NAME, b"c")], [(NAME, None)]]
    records = records_with([b"x"] * 5)
    encoded = EncodedHeaders(large_binary([encode_headers(each) if each else None for each in given]))
    object.__setattr__(records, "headers_of", encoded)
    head, tail = records.split(1)
    middle, tail = tail.split(2)
    plain = records_with([b"x"] * 2)
    joined = RecordBatch.of_partitions([tail, plain, middle, head])
    found = id_headers(joined)
    assert found is not None
    assert found.to_pylist() == [b"c", None, None, None, b"a", None, None]
    assert [list(joined.headers_of(row)) for row in range(7)] == [
        *(list(given[row]) for row in (3, 4)),
        *([], []),
        *(list(given[row]) for row in (1, 2, 0)),
    ]
    assert id_headers(plain) is None
    assert id_headers(head) is None


@pytest.mark.parametrize(
    ("header", "key"), [(b"\0\0\0\1\0", 256), (b"\1" + GUID.bytes, GUID), (b"\0\xff\xff\xff\xff", 2**32 - 1)]
)
def test_the_key_in_a_header(header: bytes, key: Any) -> None:
    """The official library reads the same."""
    assert key_in(header) == key
    columns, _ = header_columns(large_binary([encode_headers([(NAME, header)])]), [NAME])
    assert columns[NAME].to_pylist() == [header]
