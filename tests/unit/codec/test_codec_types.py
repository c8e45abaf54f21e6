"""Every Avro type, there and back; and random schemas that combine them."""

import datetime as dt
import decimal
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.avro.types import parse
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.errors import SchemaError
from tests.unit.codec.avro_samples import BYTES_MAX, MILLIS, contracts_of, record, records_of, rows_of, written

INSTANT = dt.datetime(2013, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
LOCAL = INSTANT.replace(tzinfo=None)
ENUM = {"type": "enum", "name": "Colour", "symbols": ["red", "green"]}
POINT = record(("x", "int"), ("label", ["null", "string"]), name="Point")
DECIMAL: dict[str, Any] = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
TIMES = pa.list_(pa.field("item", pa.timestamp("ms", "UTC"), nullable=False))
CENTS = decimal.Decimal("-12.34")


def logical(base: str, name: str) -> dict[str, str]:
    """Return a logical type over a primitive."""
    return {"type": base, "logicalType": name}


# schema, value as fastavro writes it, value as Arrow gives it, Arrow type
TYPES: dict[str, tuple[Any, Any, Any, pa.DataType | None]] = {
    "boolean": ("boolean", True, True, pa.bool_()),
    "int": ("int", -(2**31), -(2**31), pa.int32()),
    "long": ("long", 2**63 - 1, 2**63 - 1, pa.int64()),
    "float": ("float", 0.5, 0.5, pa.float32()),
    "double": ("double", -0.1, -0.1, pa.float64()),
    "string": ("string", "Zürich ✈", "Zürich ✈", pa.string()),
    "empty string": ("string", "", "", pa.string()),
    "enum": (ENUM, "green", "green", pa.string()),
    "array": ({"type": "array", "items": "string"}, ["a", ""], ["a", ""], None),
    "empty array": ({"type": "array", "items": "long"}, [], [], None),
    "array of null or int": ({"type": "array", "items": ["null", "int"]}, [1, None], [1, None], None),
    "array of records": ({"type": "array", "items": POINT}, [{"x": 1, "label": None}], [{"x": 1, "label": None}], None),
    "array of times": (
        {"type": "array", "items": MILLIS},
        [INSTANT],
        [INSTANT],
        TIMES,
    ),
    "map": ({"type": "map", "values": "int"}, {"a": 1, "b": 2}, {"a": 1, "b": 2}, None),
    "map of null or enum": (
        {"type": "map", "values": ["null", ENUM]},
        {"a": None, "b": "red"},
        {"a": None, "b": "red"},
        None,
    ),
    "record": (POINT, {"x": 1, "label": "a"}, {"x": 1, "label": "a"}, None),
    "null or record": (["null", POINT], {"x": 1, "label": None}, {"x": 1, "label": None}, None),
    "null or string": (["null", "string"], "x", "x", pa.string()),
    "string or null": (["string", "null"], None, None, pa.string()),
    "null or array": (["null", {"type": "array", "items": "int"}], [7], [7], None),
    "date": (logical("int", "date"), dt.date(2013, 1, 2), dt.date(2013, 1, 2), pa.date32()),
    "timestamp-millis": (MILLIS, INSTANT, INSTANT, pa.timestamp("ms", "UTC")),
    "timestamp-micros": (logical("long", "timestamp-micros"), INSTANT, INSTANT, pa.timestamp("us", "UTC")),
    "null or timestamp-millis": (["null", MILLIS], None, None, pa.timestamp("ms", "UTC")),
    "unknown logical type": (logical("string", "made-up"), "x", "x", pa.string()),
    "null": ("null", None, None, pa.null()),
    "bytes": ("bytes", b"\x00\xff", b"\x00\xff", pa.binary()),
    "null or bytes": (["null", "bytes"], b"x", b"x", pa.binary()),
    "fixed": ({"type": "fixed", "name": "Three", "size": 3}, b"abc", b"abc", pa.binary(3)),
    "decimal": (DECIMAL, CENTS, CENTS, pa.decimal128(9, 2)),
    "fixed decimal": ({**DECIMAL, "type": "fixed", "name": "Eight", "size": 8}, CENTS, CENTS, pa.decimal128(9, 2)),
    "wide decimal": ({**DECIMAL, "precision": 50}, CENTS, CENTS, pa.decimal256(50, 2)),
    "uuid": (logical("string", "uuid"), uuid.UUID(int=7), str(uuid.UUID(int=7)), pa.string()),
    "time-millis": (logical("int", "time-millis"), dt.time(1, 2, 3), dt.time(1, 2, 3), pa.time32("ms")),
    "time-micros": (logical("long", "time-micros"), dt.time(1, 2, 3), dt.time(1, 2, 3), pa.time64("us")),
    "local-timestamp-millis": (logical("long", "local-timestamp-millis"), LOCAL, LOCAL, pa.timestamp("ms")),
    "local-timestamp-micros": (logical("long", "local-timestamp-micros"), LOCAL, LOCAL, pa.timestamp("us")),
}


@pytest.mark.parametrize(("kind", "value", "shown", "dtype"), TYPES.values(), ids=TYPES)
def test_a_type_comes_through_and_goes_back(
    tmp_path: Path, kind: Any, value: Any, shown: Any, dtype: pa.DataType | None
) -> None:
    """What fastavro writes is decoded to the value, in the declared Arrow type, and encoded to the same bytes."""
    schema = record(("a", "int"), ("it", kind), ("z", "string"))
    contracts = contracts_of(tmp_path, schema)
    values = [written(schema, {"a": i, "it": value, "z": "end"}) for i in range(3)]
    batch, dead = AvroDeserializer(contracts, "event", value_bytes_max=BYTES_MAX).deserialize(records_of(values))
    assert dead == ()
    assert batch.columns.schema == contracts.columns("event")
    assert rows_of(batch.columns) == [{"a": i, "it": shown, "z": "end"} for i in range(3)]
    assert dtype is None or batch.columns.schema.field("it").type == dtype
    assert AvroSerializer(contracts, "event").serialize(batch.columns).to_pylist() == values


def test_a_named_type_that_is_used_twice_is_decoded(tmp_path: Path) -> None:
    """A reference to a named type means that type, in its namespace."""
    schema = record(("one", POINT), ("two", ["null", "Point"]), ("three", {"type": "array", "items": "geo.Point"}))
    schema["namespace"] = "geo"
    contracts = contracts_of(tmp_path, schema)
    row = {"one": {"x": 1, "label": None}, "two": {"x": 2, "label": "b"}, "three": [{"x": 3, "label": "c"}]}
    batch, dead = AvroDeserializer(contracts, "event", value_bytes_max=BYTES_MAX).deserialize(
        records_of([written(schema, row)])
    )
    assert (rows_of(batch.columns), dead) == ([row], ())


@pytest.mark.parametrize("millis", [-(2**63), -1, 2**63 - 1])
def test_every_instant_on_the_wire_is_one_in_the_column(tmp_path: Path, millis: int) -> None:
    """Times that Python's datetime has no year for are decoded all the same."""
    contracts = contracts_of(tmp_path, record(("at", MILLIS)))
    value = written(record(("at", "long")), {"at": millis})
    decoder = AvroDeserializer(contracts, "event", value_bytes_max=BYTES_MAX)
    batch, dead = decoder.deserialize(records_of([value]))
    assert dead == ()
    assert batch.columns.column("at").cast(pa.int64()).to_pylist() == [millis]


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (record(("it", ["null", "int", "string"])), "field 'it': a union can be of null and one other"),
        (record(("it", ["string"])), "field 'it': a union"),
        (record(("it", {"type": "array", "items": "null"})), "field 'it': the items of an array take no bytes"),
        (record(("it", {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}})), "take no bytes"),
        (record(("it", ["null", "Event"])), "'Event' contains itself"),
        (record(("it", record(name="Empty"))), "record 'Empty' has no fields"),
        (record(("deep", record(("er", ["int", "long"]), name="In"))), "field 'deep.er': a union"),
        (record(("it", {**DECIMAL, "precision": 77})), "field 'it': a decimal of 77 digits"),
        (ENUM, "the top level must be a record"),
    ],
)
def test_what_cannot_become_columns_is_refused_by_name(schema: Any, says: str) -> None:
    """A schema that columns cannot hold, or that a few bytes could make endless, is refused with its field."""
    with pytest.raises(SchemaError) as refused:
        parse(schema)
    assert says in str(refused.value)


def leaves() -> st.SearchStrategy[tuple[Any, st.SearchStrategy[Any]]]:
    """Return pairs of a type without parts, and values of it."""
    return st.sampled_from(
        [
            ("boolean", st.booleans()),
            ("int", st.integers(-(2**31), 2**31 - 1)),
            ("long", st.integers(-(2**63), 2**63 - 1)),
            ("float", st.floats(width=32, allow_nan=False)),
            ("double", st.floats(allow_nan=False)),
            ("string", st.text(max_size=70)),
            (logical("int", "date"), st.dates()),
        ]
    )


def parts(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return arrays, maps and nullable types of what ``inner`` gives."""
    return inner.flatmap(
        lambda pair: st.sampled_from(
            [
                ({"type": "array", "items": pair[0]}, st.lists(pair[1], max_size=3)),
                ({"type": "map", "values": pair[0]}, st.dictionaries(st.text(max_size=5), pair[1], max_size=3)),
                pair if isinstance(pair[0], list) else (["null", pair[0]], st.none() | pair[1]),
                pair if isinstance(pair[0], list) else ([pair[0], "null"], st.none() | pair[1]),
            ]
        )
    )


@st.composite
def schemas_and_rows(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a record schema with nested records, and some rows of it."""
    counter = iter(range(1000))

    def make(depth: int) -> tuple[dict[str, Any], st.SearchStrategy[dict[str, Any]]]:
        kinds: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {}
        for i in range(draw(st.integers(1, 4))):
            pair = draw(st.recursive(leaves(), parts, max_leaves=3))
            if depth < 2 and draw(st.integers(0, 3)) == 0:
                pair = make(depth + 1)
                pair = (["null", pair[0]], st.none() | pair[1]) if draw(st.booleans()) else pair
            kinds[f"f{i}"] = pair
        schema = record(*((name, kind) for name, (kind, _) in kinds.items()), name=f"R{next(counter)}")
        return schema, st.fixed_dictionaries({name: values for name, (_, values) in kinds.items()})

    schema, rows = make(0)
    return schema, draw(st.lists(rows, min_size=1, max_size=5))


@settings(max_examples=150, deadline=None)
@given(schemas_and_rows())
def test_the_codec_agrees_with_fastavro_on_any_schema(case: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    """Whatever types a schema combines, the rows that were written come back, and the same bytes are written."""
    schema, rows = case
    values = [written(schema, row) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        contracts = contracts_of(Path(folder), schema)
    batch, dead = AvroDeserializer(contracts, "event", value_bytes_max=10**7).deserialize(records_of(values))
    batch.columns.validate(full=True)
    assert dead == ()
    assert rows_of(batch.columns) == rows
    assert AvroSerializer(contracts, "event").serialize(batch.columns).to_pylist() == values


@pytest.mark.parametrize("schema_id", [1, 127, 0x000180FF, 0x00FFFFFF, 2**31 - 1])
def test_every_id_is_framed(tmp_path: Path, schema_id: int) -> None:
    """Any id survives decoding and encoding, also one whose bytes are no number when read as a float."""
    schema = record(("a", "int"))
    contracts_of(tmp_path, schema)
    (tmp_path / "ids.json").write_text(f'{{"{schema_id}": {{"schema": "event", "version": 1}}}}')
    contracts = SchemaRepository.load(tmp_path)
    values = [written(schema, {"a": i}, schema_id) for i in range(3)]
    batch, dead = AvroDeserializer(contracts, "event", value_bytes_max=BYTES_MAX).deserialize(records_of(values))
    assert (dead, batch.columns.column("a").to_pylist()) == ((), [0, 1, 2])
    assert AvroSerializer(contracts, "event").serialize(batch.columns).to_pylist() == values
