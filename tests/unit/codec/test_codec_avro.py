"""Batches with good and bad records: what is decoded, what is dead-lettered and why, what can be encoded."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from surgetank.codec import base
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.base import Unencodable
from surgetank.codec.schema_repository import SchemaRepository, project_schemas
from surgetank.errors import SchemaError
from surgetank.records import Step
from tests.unit.codec.avro_samples import BYTES_MAX, MILLIS, contracts_of, record, records_of, rows_of, written

LISTS = record(
    ("id", "int"),
    ("tags", {"type": "array", "items": "string"}),
    ("counts", {"type": "map", "values": "long"}),
    ("kind", {"type": "enum", "name": "Kind", "symbols": ["a", "b"]}),
)
SMALL = record(("name", "string"), ("count", "int"), ("flag", "boolean"), ("maybe", ["null", "long"]))


def small(i: int) -> dict[str, Any]:
    """Return a row of SMALL."""
    return {"name": f"n{i}", "count": i, "flag": i % 2 == 0, "maybe": None if i % 3 else i}


def decoder_of(contracts: SchemaRepository) -> AvroDeserializer:
    """Return a decoder of the schema 'event'."""
    return AvroDeserializer(contracts, "event", value_bytes_max=BYTES_MAX)


GOOD = written(SMALL, small(0))
BODY = GOOD[5:]
HEAD = GOOD[:5]
BAD = {
    "null": (None, base.NULL_VALUE, "the value is null"),
    "no bytes": (b"", base.EMPTY, "no bytes"),
    "too large": (written(SMALL, {**small(0), "name": "x" * BYTES_MAX}), base.VALUE_TOO_LARGE, "at most 10000"),
    "half a frame": (b"\0\0\0", base.NOT_FRAMED, "3 bytes"),
    "other magic byte": (b"\1" + GOOD[1:], base.NOT_FRAMED, "the first byte is 1"),
    "json": (b'{"name": "x"}', base.NOT_FRAMED, "the first byte is 123"),
    "unknown id": (b"\0\0\0\0\7" + BODY, base.UNKNOWN_SCHEMA, "schema id 7; those of 'event': 1"),
    "huge id": (b"\0\xff\xff\xff\xff" + BODY, base.UNKNOWN_SCHEMA, "schema id 4294967295"),
    "frame only": (HEAD, base.UNDECODABLE, "field 'name': needs 1 bytes, 0 are left"),
    "truncated": (GOOD[:-1], base.UNDECODABLE, "field 'maybe': needs 1 bytes, 0 are left"),
    "trailing byte": (GOOD + b"\0", base.UNDECODABLE, "1 bytes follow the end"),
    "twice": (GOOD + GOOD, base.UNDECODABLE, f"{len(GOOD)} bytes follow the end"),
    "negative length": (HEAD + b"\1" + BODY[1:], base.UNDECODABLE, "field 'name': needs -1 bytes"),
    "endless length": (
        HEAD + b"\xfe" + b"\xff" * 8 + b"\1",
        base.UNDECODABLE,
        "needs 9223372036854775807 bytes",
    ),
    "endless varint": (HEAD + b"\xff" * 40, base.UNDECODABLE, "a number of more than ten bytes"),
    "not utf-8": (HEAD + b"\4\xc3\x28" + BODY[3:], base.UNDECODABLE, "field 'name': not UTF-8"),
    "int of 33 bits": (
        HEAD + b"\2a\x80\x80\x80\x80\x10\1\0",
        base.UNDECODABLE,
        "field 'count': the number has more",
    ),
    "int of 36 bits that wraps": (HEAD + b"\2a\x80\x80\x80\x80\x7f\1\0", base.UNDECODABLE, "field 'count'"),
    "boolean of 2": (HEAD + b"\2a\0\2\0", base.UNDECODABLE, "field 'flag': a boolean is 0 or 1, this is 2"),
    "branch 2": (HEAD + b"\2a\0\1\4", base.UNDECODABLE, "field 'maybe': branch 2 of 2"),
    "branch -2": (HEAD + b"\2a\0\1\3", base.UNDECODABLE, "field 'maybe': branch -2 of 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_dead_and_its_neighbours_live(tmp_path: Path, name: str) -> None:
    """Each kind of bad value is one dead letter with its reason; the records around it go on in order."""
    value, reason, message = BAD[name]
    values = [written(SMALL, small(i)) for i in range(9)]
    batch, dead = decoder_of(contracts_of(tmp_path, SMALL)).deserialize(records_of([*values[:4], value, *values[4:]]))
    assert [(letter.row, letter.stage, letter.reason) for letter in dead] == [(4, Step.DECODE, reason)]
    assert message in dead[0].message
    assert len(dead[0].message) <= 200
    assert batch.rows.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert batch.rows.dtype == np.int64
    assert rows_of(batch.columns) == [small(i) for i in range(9)]


def test_all_kinds_of_bad_records_at_once(tmp_path: Path) -> None:
    """Bad values of every kind between good ones: each row is in the batch or dead, once, in order."""
    values: list[bytes | None] = []
    for i, (value, _, _) in enumerate(BAD.values()):
        values += [written(SMALL, small(i)), value]
    batch, dead = decoder_of(contracts_of(tmp_path, SMALL)).deserialize(records_of(values))
    assert [letter.row for letter in dead] == list(range(1, len(values), 2))
    assert [letter.reason for letter in dead] == [reason for _, reason, _ in BAD.values()]
    assert batch.rows.tolist() == list(range(0, len(values), 2))
    assert rows_of(batch.columns) == [small(i) for i in range(len(BAD))]


@pytest.mark.parametrize("name", [*BAD, "padded", "overflowing"])
def test_a_record_fares_alike_in_any_company(tmp_path: Path, name: str) -> None:
    """Whether a value is decoded, and to what, does not depend on what else is in the batch."""
    odd = {"padded": HEAD + b"\x82\0a\x84\0\1\0", "overflowing": HEAD + b"\2a\0\1\2" + b"\x80" * 9 + b"\x7e"}
    value = odd[name] if name in odd else BAD[name][0]
    decoder = decoder_of(contracts_of(tmp_path, SMALL))
    fates = set()
    for company in ([], [GOOD], [None], [GOOD + b"x"], [HEAD]):
        batch, dead = decoder.deserialize(records_of([value, *company]))
        letters = [letter.reason for letter in dead if letter.row == 0]
        fates.add(str((letters, rows_of(batch.columns)[:1] if 0 in batch.rows else [])))
    assert len(fates) == 1


@pytest.mark.parametrize("values", [[], [None, b"", b"\0"], [GOOD + b"x"], [HEAD, HEAD]])
def test_a_batch_without_a_good_record_has_the_columns(tmp_path: Path, values: list[bytes | None]) -> None:
    """Nothing decoded is an empty batch with all columns, not an error."""
    contracts = contracts_of(tmp_path, SMALL)
    batch, dead = decoder_of(contracts).deserialize(records_of(values))
    assert (len(batch), batch.columns.num_rows, len(dead)) == (0, 0, len(values))
    assert batch.columns.schema == contracts.columns("event")


def test_arrays_in_several_blocks_are_as_good_as_in_one(tmp_path: Path) -> None:
    """Blocks with and without their sizes are Avro too; such records are decoded among plain ones."""
    plain = {"id": 1, "tags": ["x", "y"], "counts": {"k": 3}, "kind": "b"}
    blocks = HEAD + b"\2" + b"\2\2x" + b"\1\4\2y" + b"\0" + b"\1\6\2k\6\0" + b"\2"
    padded = HEAD + b"\x82\0" + b"\4\2x\2y\0" + b"\2\2k\6\0" + b"\2"
    values = [written(LISTS, plain), blocks, padded, written(LISTS, {**plain, "id": 2})]
    batch, dead = decoder_of(contracts_of(tmp_path, LISTS)).deserialize(records_of(values))
    assert dead == ()
    assert rows_of(batch.columns) == [plain, plain, plain, {**plain, "id": 2}]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\2\0\0\1", "field 'kind': symbol -1 of 2"),
        (b"\2\0\0\4", "field 'kind': symbol 2 of 2"),
        (b"\2" + b"\xfe" + b"\xff" * 8 + b"\1" + b"\2x\0\0\0", "field 'tags[]'"),
        (b"\2" + b"\xff" * 9 + b"\1" + b"\0\2x\0\0\0", "field 'tags[]'"),
        (b"\2\1\0\0\0", "field "),
    ],
    ids=["symbol -1", "symbol 2", "2^63 items", "-2^63 items", "a block without its items"],
)
def test_hostile_counts_and_places_are_dead(tmp_path: Path, body: bytes, message: str) -> None:
    """Places that do not exist and counts that no bytes follow cost nothing and are dead letters."""
    batch, dead = decoder_of(contracts_of(tmp_path, LISTS)).deserialize(records_of([HEAD + body]))
    assert [letter.reason for letter in dead] == [base.UNDECODABLE]
    assert message in dead[0].message
    assert len(batch) == 0


V1 = record(("id", "int"), ("gone", "string"), ("wide", "int"), ("free", "long"), ("old", "double"))
V2 = record(
    ("id", "int"),
    ("wide", "long"),
    ("free", ["null", "long"]),
    {"name": "new", "type": "double", "aliases": ["old"]},
    {"name": "text", "type": "string", "default": "none"},
    {"name": "maybe", "type": ["null", MILLIS], "default": None},
    {"name": "list", "type": {"type": "array", "items": "int"}, "default": [1, 2]},
)


def test_old_versions_are_fitted_to_the_current_columns(tmp_path: Path) -> None:
    """Old and new events mix in a batch: fields that were added, removed, renamed, widened or made nullable fit."""
    contracts = contracts_of(tmp_path, V1, V2)
    old = [written(V1, {"id": i, "gone": "x", "wide": i, "free": i, "old": 0.5}, 1) for i in range(4)]
    row: dict[str, object] = {"id": 9, "wide": 2**40, "free": None, "new": 1.5, "text": "t", "maybe": None, "list": []}
    new = written(V2, row, 2)
    batch, dead = decoder_of(contracts).deserialize(records_of([old[0], new, old[1], old[2] + b"x", old[3]]))
    fitted = {"new": 0.5, "text": "none", "maybe": None, "list": [1, 2]}
    assert batch.columns.schema == contracts.columns("event")
    assert batch.rows.tolist() == [0, 1, 2, 4]
    assert rows_of(batch.columns) == [
        {"id": 0, "wide": 0, "free": 0} | fitted,
        row,
        {"id": 1, "wide": 1, "free": 1} | fitted,
        {"id": 3, "wide": 3, "free": 3} | fitted,
    ]
    assert [(letter.row, letter.reason) for letter in dead] == [(3, base.UNDECODABLE)]


def test_a_nested_change_is_resolved_record_by_record(tmp_path: Path) -> None:
    """A change inside a nested type follows Avro's rules; a record that has no such reading is dead."""

    def version(*symbols: str, extra: bool) -> Any:
        colour = {"type": "enum", "name": "Colour", "symbols": list(symbols)}
        fields: list[Any] = [("colour", colour)]
        if extra:
            fields.append({"name": "depth", "type": "int", "default": 7})
        return record(("id", "int"), ("part", record(*fields, name="Part")))

    first, second = version("red", "green", extra=False), version("red", extra=True)
    contracts = contracts_of(tmp_path, first, second)
    values = [written(first, {"id": i, "part": {"colour": "green" if i == 1 else "red"}}, 1) for i in range(4)]
    batch, dead = decoder_of(contracts).deserialize(records_of(values))
    assert rows_of(batch.columns) == [{"id": i, "part": {"colour": "red", "depth": 7}} for i in (0, 2, 3)]
    assert [(letter.row, letter.reason) for letter in dead] == [(1, base.UNDECODABLE)]


def test_a_schema_that_is_not_there_is_named() -> None:
    """Decoders and encoders of unknown schemas say which there are."""
    for build in (
        lambda: AvroDeserializer(project_schemas(), "flight", value_bytes_max=1),
        lambda: AvroSerializer(project_schemas(), "x"),
    ):
        with pytest.raises(SchemaError, match=r"no schema .*boarding, card_payment, departure, features, score"):
            build()


def test_columns_of_other_types_are_cast_where_nothing_is_lost(tmp_path: Path) -> None:
    """Wider numbers, other orders, more columns and times without a zone are written as the schema says."""
    schema = record(("count", "int"), ("at", MILLIS))
    encoder = AvroSerializer(contracts_of(tmp_path, schema), "event")
    columns = pa.record_batch(
        {
            "more": pa.array(["x", "y"]),
            "at": pa.array([5, 6], pa.int64()).cast(pa.timestamp("s")),
            "count": pa.array([1, 2], pa.int64()),
        }
    )
    expected = [written(record(("count", "int"), ("at", "long")), {"count": i, "at": (4 + i) * 1000}) for i in (1, 2)]
    assert encoder.serialize(columns).to_pylist() == expected
    assert encoder.serialize(columns.slice(1)).to_pylist() == expected[1:]
    assert encoder.serialize(columns.slice(2)).to_pylist() == []


def test_rows_that_cannot_be_written_are_named_and_the_others_are_written(tmp_path: Path) -> None:
    """A null where none may be, a number out of range: the error has the good values, and the bad rows with why."""
    encoder = AvroSerializer(contracts_of(tmp_path, SMALL), "event")
    columns = pa.record_batch(
        {
            "name": pa.array(["n0", None, "n2", "n3"]),
            "count": pa.array([0, 1, 2**31, 3], pa.int64()),
            "flag": pa.array([True, False, True, False]),
            "maybe": pa.array([0, None, None, 3]),
        }
    )
    with pytest.raises(
        Unencodable, match=r"2 of 4 rows cannot be written as 'event'; row 1: .*'name' is null"
    ) as refused:
        encoder.serialize(columns)
    assert refused.value.values == [written(SMALL, small(0)), None, None, written(SMALL, small(3))]
    assert list(refused.value.why) == [1, 2]


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (pa.array([None], pa.list_(pa.string())), "field 'it' is null"),
        (pa.array([["a", None]], pa.list_(pa.string())), r"field 'it\[\]' is null"),
    ],
)
def test_nulls_inside_arrays_are_refused(tmp_path: Path, column: pa.Array, why: str) -> None:
    """Where an item may not be null, a null is an error and nothing is written in its place."""
    schema = record(("it", {"type": "array", "items": "string"}))
    encoder = AvroSerializer(contracts_of(tmp_path, schema), "event")
    with pytest.raises(Unencodable, match=why):
        encoder.serialize(pa.record_batch({"it": column}))


def test_nulls_inside_maps_and_records_are_refused(tmp_path: Path) -> None:
    """Nested values and fields that may not be null are looked at, in slices too; absent records may be null."""
    inner = record(("x", "int"), name="Inner")
    schema = record(("map", {"type": "map", "values": "int"}), ("rec", ["null", inner]))
    contracts = contracts_of(tmp_path, schema)
    maps = pa.array([[("a", None)], [("a", 1)], [("a", 1)]], pa.map_(pa.string(), pa.int32()))
    recs = pa.array([{"x": 1}, None, {"x": None}], pa.struct([("x", pa.int32())]))
    encoder = AvroSerializer(contracts, "event")
    with pytest.raises(Unencodable) as refused:
        encoder.serialize(pa.record_batch({"map": maps, "rec": recs}))
    assert list(refused.value.why) == [0, 2]
    assert refused.value.values[1] == written(schema, {"map": {"a": 1}, "rec": None})


def test_a_text_that_is_no_symbol_is_refused(tmp_path: Path) -> None:
    """An enum takes its symbols only."""
    schema = record(("it", {"type": "enum", "name": "Kind", "symbols": ["a", "b"]}))
    encoder = AvroSerializer(contracts_of(tmp_path, schema), "event")
    with pytest.raises(Unencodable) as refused:
        encoder.serialize(pa.record_batch({"it": pa.array(["b", "c"])}))
    assert refused.value.values == [written(schema, {"it": "b"}), None]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    """Columns that lack a field of the schema are refused with its name and what there is."""
    encoder = AvroSerializer(contracts_of(tmp_path, SMALL), "event")
    with pytest.raises(SchemaError, match=r"has the field 'count'; the columns are: \['name'\]"):
        encoder.serialize(pa.record_batch({"name": pa.array(["x"])}))
