"""Avro object container files: records are found and kept as bytes, and written files are read by other libraries."""

import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.codec.avro.container import ContainerDeserializer, ContainerReader, ContainerWriter
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.errors import SchemaError, StartupError
from tests.unit.codec.avro_samples import BYTES_MAX, MILLIS, contracts_of, record, records_of, written

FIXED = {"type": "fixed", "name": "Hash", "size": 3}
ENUM = {"type": "enum", "name": "Colour", "symbols": ["RED", "GREEN"]}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
EVENT = record(
    ("event_id", "string"),
    ("at", MILLIS),
    ("amount", ["null", "double"]),
    ("small", "float"),
    ("yes", "boolean"),
    ("colour", ENUM),
    ("hash", FIXED),
    ("price", DECIMAL),
    ("note", ["null", "string"]),
    ("inner", ["null", record(("x", "int"), ("tags", {"type": "array", "items": "string"}), name="Inner")]),
    ("counts", {"type": "map", "values": "long"}),
)
events = st.fixed_dictionaries(
    {
        "event_id": st.text(max_size=5),
        "at": st.integers(0, 2**40),
        "amount": st.none() | st.floats(allow_nan=False),
        "small": st.sampled_from([0.0, 1.5]),
        "yes": st.booleans(),
        "colour": st.sampled_from(["RED", "GREEN"]),
        "hash": st.binary(min_size=3, max_size=3),
        "price": st.sampled_from([Decimal(0), Decimal("1.25")]),
        "note": st.none() | st.text(max_size=9),
        "inner": st.none()
        | st.fixed_dictionaries({"x": st.integers(-5, 5), "tags": st.lists(st.text(max_size=3), max_size=3)}),
        "counts": st.dictionaries(st.text(max_size=3), st.integers(-9, 9), max_size=3),
    }
)


def container(values: list[Any], *, codec: str = "null", sync_interval: int = 200) -> bytes:
    """Return a container file as fastavro writes it."""
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(EVENT, named_schemas={}), values, codec, sync_interval)
    return out.getvalue()


def bodies(content: bytes) -> list[bytes]:
    """Return the bodies of all records of a file."""
    return [body for part in ContainerReader(io.BytesIO(content), "events").values() for body in part.to_pylist()]


def bodies_or_refusal(content: bytes) -> list[bytes] | StartupError:
    """Return the same, or why the file is refused."""
    try:
        return bodies(content)
    except StartupError as error:
        return error


@given(st.lists(events, max_size=30), st.sampled_from(["null", "deflate", "bzip2", "xz"]))
def test_the_records_of_a_file_are_found_as_bytes(values: list[Any], codec: str) -> None:
    """Each has the bytes that the record alone has."""
    assert bodies(container(values, codec=codec)) == [written(EVENT, value)[5:] for value in values]


@given(st.lists(events, min_size=1, max_size=9), st.data())
def test_a_cut_file_is_an_error(values: list[Any], data: st.DataObject) -> None:
    """It names the file; a file without its last blocks cannot be told from a whole one."""
    whole = container(values, sync_interval=10**6)
    found = bodies_or_refusal(whole[: data.draw(st.integers(5, len(whole) - 1))])
    assert found == [] or str(found).startswith("events")  # nothing is left where it is cut after the header


@given(st.lists(events, min_size=1, max_size=5), st.integers(0, 10**6), st.integers(0, 255))
def test_a_changed_byte_is_an_error_or_another_value(values: list[Any], place: int, byte: int) -> None:
    """Nothing hangs, and no memory is read that is not of the file."""
    content = bytearray(container(values))
    content[place % len(content)] = byte
    found = bodies_or_refusal(bytes(content))
    assert isinstance(found, list) or str(found).startswith("events")


def test_a_file_of_another_kind_is_refused() -> None:
    """With its name."""
    with pytest.raises(SchemaError, match=r"lines\.csv is no Avro object container file"):
        ContainerReader(io.BytesIO(b"Obj\x01 and no header"), "lines.csv")
    out = io.BytesIO()
    fastavro.writer(out, "string", ["a"])
    with pytest.raises(SchemaError, match="its schema is not that of a record"):
        ContainerReader(io.BytesIO(out.getvalue()), "texts.avro")


def test_a_file_of_an_earlier_schema_is_read_as_the_current_one(tmp_path: Path) -> None:
    """By the rules of Avro; a schema that does not fit is refused with the reason."""
    old, new = (
        record(("event_id", "string"), ("a", "int"), name="Payment"),
        record(("event_id", "string"), ("a", "long"), {"name": "b", "type": "string", "default": "none"}, name="Event"),
    )
    current = contracts_of(tmp_path, new).current("event")
    deserializer = ContainerDeserializer(old, current, value_bytes_max=BYTES_MAX)

    batch, dead = deserializer.deserialize(records_of([written(old, {"event_id": "e", "a": 7})[5:], b"\xff"]))

    assert batch.columns.to_pylist() == [{"event_id": "e", "a": 7, "b": "none"}]
    assert [(letter.row, letter.reason.label) for letter in dead] == [(1, "undecodable")]
    with pytest.raises(SchemaError, match="it cannot be read as 'event'"):
        ContainerDeserializer(record(("event_id", "string"), ("a", "string")), current, value_bytes_max=BYTES_MAX)


def test_a_large_record_is_a_dead_letter(tmp_path: Path) -> None:
    """It is not decoded; its neighbours are."""
    schema = record(("event_id", "string"))
    deserializer = ContainerDeserializer(schema, contracts_of(tmp_path, schema).current("event"), value_bytes_max=5)
    values = [written(schema, {"event_id": text})[5:] for text in ("a", "more than five", "b")]

    batch, dead = deserializer.deserialize(records_of(values))

    assert batch.columns["event_id"].to_pylist() == ["a", "b"]
    assert [(letter.row, letter.reason.label) for letter in dead] == [(1, "too_large")]


@given(st.lists(st.lists(st.text(max_size=9), max_size=5), max_size=5))
def test_a_written_file_is_read_by_another_library(blocks: list[list[str]]) -> None:
    """Value by value, in order, with its schema."""
    schema = record(("event_id", "string"))
    out = io.BytesIO()
    writer = ContainerWriter(out, schema)
    for texts in blocks:
        framed = [written(schema, {"event_id": text}) for text in texts]
        column = pa.array([b"before", *framed, b"after"], pa.large_binary())
        writer.write(column.slice(1, len(framed)))
    out.seek(0)
    assert [each["event_id"] for each in fastavro.reader(out)] == [text for texts in blocks for text in texts]


def test_a_serialized_batch_is_read_back(tmp_path: Path) -> None:
    """As columns of the project's own serializer."""
    schema = record(("event_id", "string"), ("a", "double"))
    contracts = contracts_of(tmp_path, schema)
    columns = pa.RecordBatch.from_pydict({"event_id": ["a", "b"], "a": [1.0, 2.0]})
    out = io.BytesIO()
    ContainerWriter(out, schema).write(AvroSerializer(contracts, "event").serialize(columns))
    deserializer = ContainerDeserializer(schema, contracts.current("event"), value_bytes_max=BYTES_MAX)
    batch, _ = deserializer.deserialize(records_of(bodies(out.getvalue())))
    assert batch.columns.to_pylist() == columns.to_pylist()
