"""Old events in new columns: columns alone give what fastavro's schema resolution gives."""

import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from surgetank.codec.avro.conversion import columns_conversion
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.rows import Rows, fastavro_schema, read_row
from surgetank.codec.avro.types import Json, arrow_schema, parse
from surgetank.codec.evolution import unreadable
from surgetank.codec.schema_repository import SchemaRepository, SchemaVersion
from tests.unit.codec.avro_samples import BYTES_MAX, contracts_of, record, records_of, rows_of, written
from tests.unit.codec.compatible_pairs import pairs_with_events

VALUES: dict[str, list[float]] = {
    "int": [0, -5, 2**31 - 1],
    "long": [0, 2**53 + 1],
    "float": [0.5, -3.0],
    "double": [0.1],
}
WIDER = {"int": ["int", "long", "float", "double"], "long": ["long", "float", "double"]}
WIDER |= {"float": ["float", "double"], "double": ["double"]}
PAIRS = [(old, new) for old, wider in WIDER.items() for new in wider]
SHAPES = [(False, False), (False, True), (True, True)]


@pytest.mark.parametrize(("old", "new"), PAIRS)
@pytest.mark.parametrize(("was_nullable", "is_nullable"), SHAPES)
def test_numbers_widen_as_avro_says(tmp_path: Path, old: str, new: str, was_nullable: bool, is_nullable: bool) -> None:
    """Each promotion, with and without null, gives the numbers that fastavro gives (a float is of 32 bits)."""
    first = record(("it", ["null", old] if was_nullable else old))
    second = record(("it", [new, "null"] if is_nullable else new))
    plain = [*VALUES[old], None] if was_nullable else VALUES[old]
    values = [written(first, {"it": each}) for each in plain]
    contracts = contracts_of(tmp_path, first, second)
    batch, dead = AvroDeserializer(contracts, "event", value_bytes_max=BYTES_MAX).deserialize(records_of(values))
    expected = [read_row(value, fastavro_schema(first), fastavro_schema(second))["it"] for value in values]
    assert dead == ()
    assert batch.columns.schema == contracts.columns("event")
    single = new == "float"
    assert [row["it"] for row in rows_of(batch.columns)] == [
        pytest.approx(each, rel=1e-7) if single and each is not None else each for each in expected
    ]


def test_a_null_that_may_no_longer_be_is_dead(tmp_path: Path) -> None:
    """Where null was taken away, old nulls are dead letters and the other old events are decoded."""
    first, second = record(("it", ["null", "int"])), record(("it", "int"))
    values = [written(first, {"it": each}) for each in (1, None, 3)]
    batch, dead = AvroDeserializer(contracts_of(tmp_path, first, second), "event", value_bytes_max=99).deserialize(
        records_of(values)
    )
    assert rows_of(batch.columns) == [{"it": 1}, {"it": 3}]
    assert [letter.row for letter in dead] == [1]


PAIR = record(("x", "bytes"), {"name": "y", "type": "bytes", "default": "\u00fe"}, name="In")
DEFAULTS: list[tuple[Any, Any, Any]] = [
    ("string", "x", "x"),
    ("boolean", True, True),
    (["null", "string"], None, None),
    (["string", "null"], "x", "x"),
    ({"type": "enum", "name": "E", "symbols": ["a", "b"]}, "b", "b"),
    ({"type": "map", "values": "int"}, {"a": 1}, {"a": 1}),
    (record(("x", "int"), name="In"), {"x": 3}, {"x": 3}),
    ("bytes", "\u00ff", b"\xff"),
    (["bytes", "null"], "\u00ff", b"\xff"),
    ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 1}}, ["\u00ff"], [b"\xff"]),
    ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "\u0085", Decimal("-1.23")),
    (PAIR, {"x": "\u00ff"}, {"x": b"\xff", "y": b"\xfe"}),
]


@pytest.mark.parametrize(("kind", "default", "shown"), DEFAULTS)
def test_a_new_field_has_its_default(tmp_path: Path, kind: Any, default: Any, shown: Any) -> None:
    """Events of writers that did not know the field have its default, of any type."""
    first = record(("id", "int"))
    second = record(("id", "int"), {"name": "new", "type": kind, "default": default})
    contracts = contracts_of(tmp_path, first, second)
    values = [written(first, {"id": i}) for i in range(3)]
    batch, dead = AvroDeserializer(contracts, "event", value_bytes_max=99).deserialize(records_of(values))
    assert dead == ()
    assert rows_of(batch.columns) == [{"id": i, "new": shown} for i in range(3)]


def test_a_new_nested_field_has_its_default(tmp_path: Path) -> None:
    """Inside a nested record too a default of bytes is bytes."""
    first = record(("in", record(("x", "int"), name="In")))
    second = record(("in", record(("x", "int"), {"name": "y", "type": "bytes", "default": "\u00ff"}, name="In")))
    decoder = AvroDeserializer(contracts_of(tmp_path, first, second), "event", value_bytes_max=99)
    batch, dead = decoder.deserialize(records_of([written(first, {"in": {"x": 1}})]))
    assert (rows_of(batch.columns), dead) == ([{"in": {"x": 1, "y": b"\xff"}}], ())


def test_versions_in_any_order_keep_the_order_of_records(tmp_path: Path) -> None:
    """However three versions alternate in a batch, the rows stay in the order of the records."""
    versions = [
        record(("id", "int"), *({"name": f"f{k}", "type": "int", "default": k} for k in range(n))) for n in range(3)
    ]
    decoder = AvroDeserializer(contracts_of(tmp_path, *versions), "event", value_bytes_max=99)
    for order in itertools.product(range(3), repeat=4):
        values = [written(versions[n], {"id": i} | {f"f{k}": 9 for k in range(n)}, n + 1) for i, n in enumerate(order)]
        batch, dead = decoder.deserialize(records_of(values))
        assert dead == ()
        assert batch.columns.column("id").to_pylist() == [0, 1, 2, 3]
        assert batch.columns.column("f1").to_pylist() == [9 if n == 2 else 1 for n in order]


@settings(max_examples=300, deadline=None)
@given(pairs_with_events())
def test_columns_of_a_compatible_writer_are_those_of_the_library(
    pair: tuple[Json, Json, list[dict[str, Any]]],
) -> None:
    """Of random pairs of schemas, at any depth: what fastavro resolves value by value, and whole columns only."""
    writer, reader, events = pair
    assert not unreadable(reader, writer)
    versions = [
        SchemaVersion("event", number, number, Path("event.avsc"), avro, parse(avro))
        for number, avro in enumerate((writer, reader), 1)
    ]
    assert columns_conversion(versions[0].record, versions[1].record, arrow_schema(versions[1].record).types)
    values = [written(fastavro_schema(writer), each) for each in events]
    decoder = AvroDeserializer(SchemaRepository({"event": tuple(versions)}), "event", value_bytes_max=BYTES_MAX)
    batch, dead = decoder.deserialize(records_of(values))
    assert dead == ()
    expected = Rows(versions[1].record).of(
        [read_row(value, fastavro_schema(writer), fastavro_schema(reader)) for value in values]
    )
    assert batch.columns.schema == expected.schema
    batch.columns.validate(full=True)
    assert batch.columns.to_pylist() == expected.to_pylist()
