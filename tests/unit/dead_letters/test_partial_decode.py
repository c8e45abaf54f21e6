"""A value is decoded as far as it goes, and the place where that ends is said."""

from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.dead_letters.partial_decode import decode_partially, hex_dump

CONTRACTS = project_schemas()


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
    found = decode_partially(CONTRACTS, VALUE)
    assert (found.next_field, found.stopped_at) == (None, len(VALUE))
    assert list(found.fields) == CONTRACTS.columns("card_payment").names
    assert found.schema.startswith("card_payment ")


def test_bytes_behind_the_record_are_pointed_to() -> None:
    """All fields decode, and something follows."""
    found = decode_partially(CONTRACTS, VALUE + b"xyz")
    assert (found.next_field, found.stopped_at) == (None, len(VALUE))


def test_a_truncated_value_shows_the_fields_before_the_cut() -> None:
    """For every length: the fields shown are the first ones of the whole value."""
    whole = decode_partially(CONTRACTS, VALUE)
    names, shown = list(whole.fields), []
    for length in range(5, len(VALUE)):
        found = decode_partially(CONTRACTS, VALUE[:length])
        assert found.fields == {name: whole.fields[name] for name in names[: len(found.fields)]}
        assert found.next_field == names[len(found.fields)]
        assert 5 <= found.stopped_at <= length
        shown.append(len(found.fields))
    assert shown == sorted(shown)
    assert max(shown) == len(names) - 1


@given(st.binary(max_size=60))
def test_any_bytes_give_an_answer(value: bytes) -> None:
    """Without the frame or with an unknown schema there are no fields."""
    found = decode_partially(CONTRACTS, value)
    assert 0 <= found.stopped_at <= max(len(value), 1)
    assert found.schema or not found.fields
    assert decode_partially(CONTRACTS, b"\0\x7f\xff\xff\xff" + value).schema == ""


def test_the_dump_marks_the_byte() -> None:
    """The mark is below the byte."""
    lines = hex_dump(bytes(range(64)), 0x23).splitlines()
    at = next(number for number, line in enumerate(lines) if "^^" in line)
    column = lines[at].index("^^")
    assert lines[at - 1][column : column + 2] == "23"
    assert hex_dump(b"", 0) == ""
