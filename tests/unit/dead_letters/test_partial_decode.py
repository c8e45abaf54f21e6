"""A value is decoded as far as it goes, and the place where that ends is said."""

from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.dead_letters.partial_decode import decode_partially, hex_dump
from surgetank.declaration import Events

CONTRACTS = project_schemas()
PAYMENTS = Events("payments.requests", schema="card_payment", key="card", time="paid_at")


def payment() -> bytes:
    """Return a valid card payment, a value with fields of several types."""
    schema = CONTRACTS.columns("card_payment")
    row = {field.name: _some(field.type) for field in schema}
    (value,) = AvroSerializer(CONTRACTS, "card_payment").serialize(pa.RecordBatch.from_pylist([row], schema=schema))
    found: bytes = value.as_py()
    return found


def _some(kind: pa.DataType) -> object:
    if pa.types.is_timestamp(kind):
        return datetime(2026, 1, 1, tzinfo=UTC)
    if pa.types.is_integer(kind):
        return 7
    if pa.types.is_floating(kind):
        return 1.5
    if pa.types.is_boolean(kind):
        return True
    return "text"


VALUE = payment()


def test_a_valid_value_decodes_whole() -> None:
    """To the last byte."""
    found = decode_partially(CONTRACTS, VALUE, PAYMENTS)
    assert (found.next_field, found.stopped_at) == (None, len(VALUE))
    assert list(found.fields) == CONTRACTS.columns("card_payment").names
    assert found.schema.startswith("card_payment ")


def test_bytes_behind_the_record_are_pointed_to() -> None:
    """All fields decode, and something follows."""
    found = decode_partially(CONTRACTS, VALUE + b"xyz", PAYMENTS)
    assert (found.next_field, found.stopped_at) == (None, len(VALUE))


def test_a_truncated_value_shows_the_fields_before_the_cut() -> None:
    """For every length: the fields shown are the first ones of the whole value."""
    whole = decode_partially(CONTRACTS, VALUE, PAYMENTS)
    names, shown = list(whole.fields), []
    for length in range(5, len(VALUE)):
        found = decode_partially(CONTRACTS, VALUE[:length], PAYMENTS)
        assert found.fields == {name: whole.fields[name] for name in names[: len(found.fields)]}
        assert found.next_field == names[len(found.fields)]
        assert 5 <= found.stopped_at <= length
        shown.append(len(found.fields))
    assert shown == sorted(shown)
    assert max(shown) == len(names) - 1


@given(st.binary(max_size=60))
def test_any_bytes_give_an_answer(value: bytes) -> None:
    """Without the frame or with an unknown schema there are no fields."""
    found = decode_partially(CONTRACTS, value, PAYMENTS)
    assert 0 <= found.stopped_at <= max(len(value), 1)
    assert found.schema or not found.fields
    assert decode_partially(CONTRACTS, b"\0\x7f\xff\xff\xff" + value, PAYMENTS).schema == ""


JSON_PAYMENTS = replace(PAYMENTS, format="json")
JSON_VALUE = b'{"event_id": "a", "note": [1, {"x": "}"}], "amount": 1.5, "card": "4711", "paid_at": 1767225600000}'
JSON_FIELDS = {"event_id": "a", "card": "4711", "amount": 1.5, "paid_at": 1767225600000}


def test_a_valid_json_value_decodes_whole() -> None:
    """To the last byte; fields that the schema does not name are left out."""
    found = decode_partially(CONTRACTS, JSON_VALUE, JSON_PAYMENTS)
    assert (found.next_field, found.stopped_at, found.problem) == (None, len(JSON_VALUE), "")
    assert found.fields == JSON_FIELDS
    assert found.schema == "card_payment 1"


def test_a_truncated_json_value_shows_the_fields_before_the_cut() -> None:
    """For every length, with the byte where it ends."""
    shown = []
    for length in range(1, len(JSON_VALUE)):
        found = decode_partially(CONTRACTS, JSON_VALUE[:length], JSON_PAYMENTS)
        assert found.fields.items() <= JSON_FIELDS.items()
        assert found.stopped_at == length
        assert f"byte {length}" in found.problem
        shown.append(len(found.fields))
    assert shown == sorted(shown)


@pytest.mark.parametrize(
    ("old", "new", "fields", "at", "field"),
    [
        (b"1.5", b'"1.5"', {"event_id": "a"}, b'"1.5"', "amount"),
        (b"1.5", b"1.5.", {"event_id": "a", "amount": 1.5}, b".,", "amount"),
        (b'"x"', b"x", {"event_id": "a"}, b"x:", None),
        (b', "card": "4711"', b', "event_id": "b"', {"event_id": "a", "amount": 1.5}, b'"event_id": "b"', "event_id"),
    ],
)
def test_the_fault_of_a_json_value_is_pointed_to(
    old: bytes, new: bytes, fields: dict[str, object], at: bytes, field: str | None
) -> None:
    """The fields before it, its byte and its field."""
    value = JSON_VALUE.replace(old, new)
    found = decode_partially(CONTRACTS, value, JSON_PAYMENTS)
    assert (found.fields, found.next_field) == (fields, field)
    assert found.stopped_at == value.index(at)
    assert f"byte {found.stopped_at}" in found.problem


@given(st.binary(max_size=60), st.integers(0, len(JSON_VALUE)))
def test_any_json_bytes_give_an_answer(value: bytes, cut: int) -> None:
    """Whatever they are."""
    for each in (value, JSON_VALUE[:cut] + value):
        found = decode_partially(CONTRACTS, each, JSON_PAYMENTS)
        assert 0 <= found.stopped_at <= len(each)
    deep = decode_partially(CONTRACTS, b'{"event_id":"a","x":' + b"[" * 100_000, JSON_PAYMENTS)
    assert (deep.fields, deep.stopped_at) == ({"event_id": "a"}, 20 + 512)


def test_the_dump_marks_the_byte() -> None:
    """The mark is below the byte."""
    lines = hex_dump(bytes(range(64)), 0x23).splitlines()
    at = next(number for number, line in enumerate(lines) if "^^" in line)
    column = lines[at].index("^^")
    assert lines[at - 1][column : column + 2] == "23"
    assert hex_dump(b"", 0) == ""
