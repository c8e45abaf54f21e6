"""Arrays of numbers in JSON values become lists in columns."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.codec.base import NOT_JSON, UNDECODABLE
from surgetank.codec.json.deserializer import JsonDeserializer
from surgetank.codec.json.serializer import JsonSerializer
from tests.unit.codec.avro_samples import contracts_of, record, records_of
from tests.unit.codec.test_codec_json import decoded, one

SCHEMA = record(
    ("id", "string"),
    ("points", {"type": "array", "items": "double"}),
    ("codes", ["null", {"type": "array", "items": "int"}]),
    {"name": "small", "type": {"type": "array", "items": "float"}, "default": [1, 2.5]},
    ("large", {"type": "array", "items": "long"}),
    ("note", "string"),
)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> JsonDeserializer:
    """Return a decoder of SCHEMA."""
    contracts = contracts_of(tmp_path_factory.mktemp("schemas"), SCHEMA)
    return JsonDeserializer(contracts, "event", value_bytes_max=10_000_000)


@pytest.fixture(scope="module")
def doubles(tmp_path_factory: pytest.TempPathFactory) -> JsonDeserializer:
    """Return a decoder of one array of doubles."""
    return one({"type": "array", "items": "double"}, tmp_path_factory.mktemp("schemas"))


def event(**fields: Any) -> dict[str, Any]:
    """Return an event with other fields."""
    good = {"id": "a", "points": [0.1, -2, 1e300], "codes": [-5], "small": [0.5], "large": [2**62, 0], "note": "n"}
    return good | fields


def test_arrays_are_lists(decoder: JsonDeserializer) -> None:
    """Empty ones, null ones, missing ones with a default, and spaces between the items."""
    events = [
        event(),
        event(points=[], codes=None, large=[]),
        event(points=[1.0] * 50),
        {name: value for name, value in event().items() if name not in {"codes", "small"}},
    ]
    spaced = json.dumps(event(), indent=3).replace(",", "\t ,\r\n").encode()
    rows, dead = decoded(decoder, [*(json.dumps(each).encode() for each in events), spaced])
    assert dead == ()
    assert rows == [*events[:3], event(codes=None, small=[1.0, 2.5]), event()]


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        (b"[1,]", NOT_JSON, "byte 8, field 'x': 0x5d does not begin a JSON value"),
        (b"[,1]", NOT_JSON, "byte 6, field 'x': 0x2c does not begin a JSON value"),
        (b"[1 2]", NOT_JSON, "byte 8, field 'x': 0x32 instead of a comma or the closing bracket"),
        (b"[1}", NOT_JSON, "byte 7, field 'x': 0x7d instead of a comma or the closing bracket"),
        (b"[01]", NOT_JSON, "byte 8, field 'x': not a JSON number"),
        (b"[nul]", NOT_JSON, "byte 6, field 'x': 0x6e does not begin a JSON value"),
        (b"[NaN]", NOT_JSON, "byte 6, field 'x': 0x4e does not begin a JSON value"),
        (b"[1.5,", NOT_JSON, "byte 10, field 'x': 0x7d does not begin a JSON value"),
        (b"[1,null]", UNDECODABLE, "byte 8, field 'x': a null in an array of doubles"),
        (b"[true]", UNDECODABLE, "byte 6, field 'x': a boolean in an array of doubles"),
        (b'["1"]', UNDECODABLE, "byte 6, field 'x': a text in an array of doubles"),
        (b"[[1]]", UNDECODABLE, "byte 6, field 'x': an array in an array of doubles"),
        (b"[{}]", UNDECODABLE, "byte 6, field 'x': an object in an array of doubles"),
        (b"[1e400]", UNDECODABLE, "byte 6, field 'x': the number is too large for an array of doubles"),
        (b"1.5", UNDECODABLE, "byte 5, field 'x': a number instead of an array of doubles"),
        (b"{}", UNDECODABLE, "byte 5, field 'x': an object instead of an array of doubles"),
        (b"null", UNDECODABLE, "byte 5, field 'x' is null"),
    ],
)
def test_an_array_that_does_not_fit_affects_no_other(
    doubles: JsonDeserializer, text: bytes, reason: Any, message: str
) -> None:
    """Items that were read before the fault are not in the next row."""
    good = [b'{"x":[1,2,3]}', b'{"x":[4]}']
    rows, dead = decoded(doubles, [good[0], b'{"x":' + text + b"}", good[1]])
    assert rows == [{"x": [1.0, 2.0, 3.0]}, {"x": [4.0]}]
    assert [(letter.row, letter.reason, letter.message) for letter in dead] == [(1, reason, message)]


def test_an_array_that_ends_early(doubles: JsonDeserializer) -> None:
    """Behind an item, a comma or the bracket."""
    cut = [b'{"x":[', b'{"x":[1', b'{"x":[1,', b'{"x":[1 ']
    rows, dead = decoded(doubles, cut)
    assert rows == []
    assert [(each.reason, each.message) for each in dead] == [
        (NOT_JSON, f"byte {len(value)}, field 'x': the JSON ends too early") for value in cut
    ]


@pytest.mark.parametrize(("items", "text"), [("int", b"[1,2147483648]"), ("int", b"[1.0]"), ("float", b"[3.5e38]")])
def test_items_are_judged_as_single_numbers_are(items: str, text: bytes, tmp_path: Path) -> None:
    """In range, and whole for whole numbers."""
    _, dead = decoded(one({"type": "array", "items": items}, tmp_path), [b'{"x":' + text + b"}"])
    assert [letter.reason for letter in dead] == [UNDECODABLE]


_NUMBERS = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=300)


@given(st.lists(st.lists(_NUMBERS, min_size=1, max_size=4), min_size=1, max_size=6))
@settings(deadline=None)
def test_batches_of_any_sizes_have_the_numbers_of_python(
    doubles: JsonDeserializer, batches: list[list[list[float]]]
) -> None:
    """Room that was learnt from one batch fits the next, or grows."""
    for arrays in batches:
        rows, dead = decoded(doubles, [json.dumps({"x": numbers}).encode() for numbers in arrays])
        assert dead == ()
        assert [row["x"] for row in rows] == arrays


def test_a_long_array_behind_short_ones_makes_room(decoder: JsonDeserializer) -> None:
    """In the middle of a batch, beside other arrays and texts."""
    events = [event(), event(points=np.arange(100_000.0).tolist(), note="x" * 10_000), event()]
    rows, dead = decoded(decoder, [json.dumps(each).encode() for each in events])
    assert dead == ()
    assert rows == events


def test_serialized_arrays_are_read_again(decoder: JsonDeserializer, tmp_path: Path) -> None:
    """By tools that send recorded events."""
    columns = pa.RecordBatch.from_pylist([event(), event(codes=None, points=[])], schema=decoder.schema)
    values = JsonSerializer(contracts_of(tmp_path, SCHEMA), "event").serialize(columns).to_pylist()
    batch, dead = decoder.deserialize(records_of(values))
    assert dead == ()
    assert batch.columns.to_pylist() == columns.to_pylist()
