"""Events of Kafka Connect and Debezium: envelopes, times as whole numbers, decimals, as a declaration names them."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from surgetank import Events
from surgetank.codec.formats import deserializer_of
from surgetank.declaration import Format
from surgetank.errors import SchemaError, TopologyError
from tests.unit.codec.avro_samples import BYTES_MAX, contracts_of, record, records_of, written


def connect(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """Return a type as Connect's converter writes it."""
    return {"type": kind, "connect.version": 1, "connect.name": name, **more}


MONEY = connect(
    "bytes",
    "org.apache.kafka.connect.data.Decimal",
    logicalType="decimal",
    precision=64,
    scale=2,
    **{"connect.parameters": {"scale": "2"}},
)
MICROS = connect("long", "io.debezium.time.MicroTimestamp")
ROW = record(("id", "long"), ("amount", ["null", MONEY]), ("updated_at", MICROS), name="Value")
ENVELOPE = record(
    ("before", ["null", ROW]), ("after", ["null", "Value"]), ("op", "string"), ("ts_ms", ["null", "long"])
)
DAY = connect("int", "io.debezium.time.Date")


def events(time: str = "after.updated_at", form: Format = "avro", **units: Any) -> Events:
    """Return events of the envelope, with units by field, a dot written as two underscores."""
    declared = {name.replace("__", "."): unit for name, unit in units.items()}
    return Events("rows", schema="event", key="after.id", id="after.id", time=time, format=form, time_units=declared)


def test_rows_of_an_envelope_are_columns(tmp_path: Path) -> None:
    """A named record that is used twice has its columns twice; a deletion has no row after it."""
    row = {"id": 7, "amount": Decimal("12.34"), "updated_at": 1_700_000_000_123_456}
    values = [
        written(ENVELOPE, {"before": None, "after": row, "op": "c", "ts_ms": 1}),
        written(ENVELOPE, {"before": row | {"amount": None}, "after": None, "op": "d", "ts_ms": None}),
    ]
    decoder = deserializer_of(
        events(after__updated_at="us"), contracts_of(tmp_path, ENVELOPE), value_bytes_max=BYTES_MAX
    )
    batch, dead = decoder.deserialize(records_of([*values, b"bad"]))
    columns = batch.columns
    assert len(dead) == 1
    assert columns.schema == decoder.schema
    assert columns["after.id"].to_pylist() == [7, None]
    assert columns["before.id"].to_pylist() == [None, 7]
    assert columns["after.amount"].to_pylist() == [Decimal("12.34"), None]
    assert columns["after.updated_at"].to_pylist() == [datetime(2023, 11, 14, 22, 13, 20, 123_456, UTC), None]
    assert columns["before.updated_at"].to_pylist() == [None, 1_700_000_000_123_456]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            events(after__updated_at="ms"),
            "says io.debezium.time.MicroTimestamp, which is in 'us': declare time_units={'after.updated_at': 'us'}",
        ),
        (
            events(time="ts_ms", after__born="s"),
            "time_units names field 'after.born', which is io.debezium.time.Date in schema 'event', no point in time",
        ),
    ],
)
def test_a_time_unit_contradicts_the_schema(tmp_path: Path, declared: Events, message: str) -> None:
    """The start ends with a sentence that names the field and says what to do."""
    born = record(*ROW["fields"], ("born", ["null", DAY]), name="Value")
    schema = record(("before", ["null", born]), *ENVELOPE["fields"][1:])
    with pytest.raises(SchemaError, match=re.escape(message)):
        deserializer_of(declared, contracts_of(tmp_path, schema), value_bytes_max=BYTES_MAX)


def test_an_event_time_in_whole_numbers_lacks_its_unit(tmp_path: Path) -> None:
    """Where the schema says the unit, the message says it too."""
    message = "calls io.debezium.time.MicroTimestamp: declare time_units={'after.updated_at': 'us'}"
    with pytest.raises(SchemaError, match=re.escape(message)):
        deserializer_of(events(), contracts_of(tmp_path, ENVELOPE), value_bytes_max=BYTES_MAX)


def test_a_time_unit_of_a_path_through_no_record(tmp_path: Path) -> None:
    """It names no field of the events."""
    with pytest.raises(TopologyError, match=r"time_units names field 'op\.at', which the events do not have"):
        deserializer_of(events("ts_ms", op__at="ms"), contracts_of(tmp_path, ENVELOPE), value_bytes_max=BYTES_MAX)


def test_json_events_have_times_in_whole_numbers_and_no_records(tmp_path: Path) -> None:
    """A unit is declared as with Avro; a path needs a record, which the schema of JSON events cannot have."""
    flat = record(("ts_ms", ["null", "long"]))
    declared = events("ts_ms", "json", ts_ms="ms")
    decoder = deserializer_of(declared, contracts_of(tmp_path / "flat", flat), value_bytes_max=BYTES_MAX)
    batch, _ = decoder.deserialize(records_of([b'{"ts_ms": 1700000000123}', b"{}"]))
    assert batch.columns["ts_ms"].to_pylist() == [datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC), None]
    with pytest.raises(SchemaError, match="field 'before': JSON events have"):
        deserializer_of(declared, contracts_of(tmp_path / "nested", ENVELOPE), value_bytes_max=BYTES_MAX)


def test_events_without_records_and_units_are_decoded_as_before(tmp_path: Path) -> None:
    """Nothing is put between the decoder and the processing."""
    plain = Events("rows", schema="event", time="t")
    schema = record(("t", {"type": "long", "logicalType": "timestamp-millis"}))
    decoder = deserializer_of(plain, contracts_of(tmp_path, schema), value_bytes_max=BYTES_MAX)
    assert type(decoder).__name__ == "AvroDeserializer"


@pytest.mark.parametrize(
    ("decimal", "message"),
    [
        ({"precision": 4, "scale": -2}, "no Avro schema: .*decimal scale must be a positive integer, not -2"),
        ({"precision": 4, "scale": 5}, "no Avro schema: .*decimal scale must be less than or equal to the precision"),
        ({}, "field 'd': a decimal of 0 digits; columns have 1 to 76"),
        ({"precision": 77}, "field 'd': a decimal of 77 digits; columns have 1 to 76"),
    ],
)
def test_a_decimal_has_a_negative_scale_or_no_precision(tmp_path: Path, decimal: dict[str, int], message: str) -> None:
    """The schema is refused at the start, with its file."""
    kind = {"type": "bytes", "logicalType": "decimal", **decimal}
    with pytest.raises(SchemaError, match=f"event.avsc.*{message}"):
        contracts_of(tmp_path, record(("d", kind)))
