"""JSON values become columns by the fields of the schema; a value that does not fit is a dead letter that says why."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from surgetank import Events, Pipeline, Scores, Table
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.base import EMPTY, NOT_FRAMED, NOT_JSON, NULL_VALUE, UNDECODABLE, VALUE_TOO_LARGE
from surgetank.codec.json.deserializer import JsonDeserializer
from surgetank.errors import SchemaError
from surgetank.records import DeadLetter, large_binary
from surgetank.worker.wire_parts import deserializers
from tests.unit.codec.avro_samples import MILLIS, contracts_of, record, records_of

BYTES_MAX = 100_000
SCHEMA = record(
    ("id", "string"),
    ("count", "int"),
    ("total", "long"),
    ("ratio", "double"),
    ("share", "float"),
    ("good", "boolean"),
    ("at", MILLIS),
    ("colour", {"type": "enum", "name": "Colour", "symbols": ["RED", "GREEN"]}),
    ("raw", "bytes"),
    ("five", {"type": "fixed", "name": "Five", "size": 5}),
    ("note", ["null", "string"]),
    {"name": "size", "type": "int", "default": 7},
    {"name": "place", "type": ["null", "string"], "default": None, "aliases": ["city"]},
)
EVENT = {
    "id": "a",
    "count": -5,
    "total": 2**62,
    "ratio": 0.1,
    "share": 0.5,
    "good": True,
    "at": 1_700_000_000_123,
    "colour": "GREEN",
    "raw": "AAECAw==",
    "five": "aGVsbG8=",
    "note": "é\n",
    "size": 3,
    "place": "here",
}
VALUE = json.dumps(EVENT).encode()


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> JsonDeserializer:
    """Return a decoder of SCHEMA."""
    contracts = contracts_of(tmp_path_factory.mktemp("schemas"), SCHEMA)
    return JsonDeserializer(contracts, "event", value_bytes_max=BYTES_MAX)


@pytest.fixture(scope="module")
def doubles(tmp_path_factory: pytest.TempPathFactory) -> JsonDeserializer:
    """Return a decoder of one double."""
    return one("double", tmp_path_factory.mktemp("schemas"))


def one(kind: Any, folder: Path, **more: Any) -> JsonDeserializer:
    """Return a decoder of a schema with one field, ``x``."""
    contracts = contracts_of(folder, record({"name": "x", "type": kind, **more}))
    return JsonDeserializer(contracts, "event", value_bytes_max=10**9)


def decoded(decoder: JsonDeserializer, values: Sequence[bytes | None]) -> tuple[list[Any], tuple[DeadLetter, ...]]:
    """Return the rows and the dead letters; check that each value is one of both, and that the columns are valid."""
    batch, dead = decoder.deserialize(records_of(values))
    batch.columns.validate(full=True)
    assert batch.columns.schema == decoder.schema
    assert sorted([*batch.rows.tolist(), *(letter.row for letter in dead)]) == list(range(len(values)))
    return batch.columns.to_pylist(), dead


def changed(**fields: Any) -> bytes:
    """Return the event with other fields."""
    return json.dumps(EVENT | fields).encode()


def test_an_event_of_all_types_is_decoded(decoder: JsonDeserializer) -> None:
    """Times are integers of their unit, bytes are base64."""
    ((row,), dead) = decoded(decoder, [VALUE])
    assert dead == ()
    assert row.pop("at").timestamp() == 1_700_000_000.123
    assert row == {
        **{name: value for name, value in EVENT.items() if name != "at"},
        "raw": bytes([0, 1, 2, 3]),
        "five": b"hello",
    }


@pytest.mark.parametrize(
    "style",
    [{"indent": 2}, {"sort_keys": True}, {"ensure_ascii": False}, {"separators": (",", ":")}, {"indent": "\t \r\n"}],
)
def test_the_same_event_in_another_style_is_the_same(decoder: JsonDeserializer, style: dict[str, Any]) -> None:
    """White space, order and escapes do not matter, also in turns in one batch."""
    other = json.dumps(EVENT, **style).encode()
    rows, dead = decoded(decoder, [VALUE, other, VALUE, b"\n " + other + b"\t"])
    assert dead == ()
    assert all(row == rows[0] for row in rows)


def test_a_json_event_has_fields_that_the_schema_lacks(decoder: JsonDeserializer) -> None:
    """They are ignored: of any kind, at any place, any number of times, with names in any spelling."""
    extra: Any = {"a": [1, {"b": []}, ']}\\"', None, True, -1.5e-7], "": {}, "é": "\ud83d\ude00"}
    value = json.dumps({"first": extra, **EVENT, "last": extra}).encode()
    twice = b'{"other":1,"other":[2],' + VALUE[1:]
    rows, dead = decoded(decoder, [VALUE, value, twice])
    assert dead == ()
    assert rows[0] == rows[1] == rows[2]


def test_missing_fields_have_their_default_or_are_null(decoder: JsonDeserializer) -> None:
    """A default of the schema; null for a field that may be null; nothing else is made up."""
    fewer = {name: value for name, value in EVENT.items() if name not in {"note", "size", "place"}}
    rows, dead = decoded(decoder, [json.dumps(fewer).encode(), b"{}"])
    assert (rows[0]["note"], rows[0]["size"], rows[0]["place"]) == (None, 7, None)
    assert [(letter.reason, letter.message) for letter in dead] == [(UNDECODABLE, "byte 2, field 'id' is missing")]


@pytest.mark.parametrize(
    ("kind", "default", "expected"),
    [
        ("string", 'é"\\\n\u2028', 'é"\\\n\u2028'),
        ("bytes", "\u00ff\u0000A", b"\xff\0A"),
        ({"type": "fixed", "name": "Two", "size": 2}, "\u00fe!", b"\xfe!"),
        ({"type": "enum", "name": "Side", "symbols": ["LEFT", "RIGHT"]}, "RIGHT", "RIGHT"),
        ("double", -1.5e-300, -1.5e-300),
        ("float", 3, 3.0),
        ("long", -(2**63), -(2**63)),
        ("boolean", True, True),
        (["string", "null"], "x", "x"),
        (["null", "long"], None, None),
    ],
)
def test_defaults_of_all_types(kind: Any, default: Any, expected: Any, tmp_path: Path) -> None:
    """As Avro writes them in a schema."""
    rows, dead = decoded(one(kind, tmp_path, default=default), [b"{}", b'{"y":1}'])
    assert (rows, dead) == ([{"x": expected}] * 2, ())


def test_a_field_is_found_by_its_alias(decoder: JsonDeserializer) -> None:
    """Under the name or an alias, not under both."""
    renamed = VALUE.replace(b'"place"', b'"city"')
    rows, dead = decoded(decoder, [VALUE, renamed, VALUE[:-1] + b',"city":"there"}'])
    assert rows[0] == rows[1]
    (letter,) = dead
    assert letter.message.endswith("field 'place' is there twice")


def test_names_may_be_written_with_escapes(decoder: JsonDeserializer) -> None:
    r"""``\u0069d`` is the field ``id``, and counts as it."""
    escaped = VALUE.replace(b'"id"', b'"\\u0069d"')
    rows, dead = decoded(decoder, [VALUE, escaped, VALUE[:-1] + b',"\\u0069d":"b"}', VALUE[:-1] + b',"id\\ud800":1}'])
    assert rows[0] == rows[1] == rows[2]
    assert [letter.message for letter in dead] == [f"byte {len(VALUE)}, field 'id' is there twice"]


BROKEN: list[tuple[bytes | None, Any, str]] = [
    (None, NULL_VALUE, "the value is null"),
    (b"", EMPTY, "the value has no bytes"),
    (b" " * (BYTES_MAX + 1), VALUE_TOO_LARGE, "100001 bytes; at most 100000 are decoded"),
    (b"\xef\xbb\xbf" + VALUE, NOT_JSON, "byte 0: 0xef does not begin a JSON value"),
    (VALUE.decode().encode("utf-16"), NOT_JSON, "byte 0: 0xff does not begin a JSON value"),
    (b"\0\0\0\0\1" + VALUE, NOT_JSON, "byte 0: 0x00 does not begin a JSON value"),
    (b"  ", NOT_JSON, "byte 2: the JSON ends too early"),
    (VALUE[:-1], NOT_JSON, f"byte {len(VALUE) - 1}: the JSON ends too early"),
    (VALUE + b"\n{}", NOT_JSON, f"byte {len(VALUE) + 1}: 2 bytes follow the end of the object"),
    (VALUE + VALUE, NOT_JSON, f"byte {len(VALUE)}: {len(VALUE)} bytes follow the end of the object"),
    (VALUE[:-1] + b",}", NOT_JSON, f"byte {len(VALUE)}: 0x7d instead of a name in quotation marks"),
    (
        VALUE[:-1] + b"]",
        NOT_JSON,
        f"byte {len(VALUE) - 1}, field 'place': 0x5d instead of a comma or the closing bracket",
    ),
    (b'{"x" 1}', NOT_JSON, "byte 5: 0x31 instead of a colon"),
    (b'{"x":[1,]}', NOT_JSON, "byte 8: 0x5d does not begin a JSON value"),
    (b'{"x":01}', NOT_JSON, "byte 7: not a JSON number"),
    (b'{"x":1.}', NOT_JSON, "byte 7: not a JSON number"),
    (b'{"x":"\\x41"}', NOT_JSON, "byte 6: not a JSON escape sequence"),
    (b'{"x":"a\nb"}', NOT_JSON, "byte 7: a control character that is not escaped"),
    (b'{"x":"\xff"}', NOT_JSON, "byte 6: not UTF-8: invalid start byte"),
    (b'{"id":"abc\xc3"}', NOT_JSON, "byte 10, field 'id': not UTF-8: invalid continuation byte"),
    (b'{"\xed\xa0\x80":1}', NOT_JSON, "byte 2: not UTF-8: invalid continuation byte"),
    (b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}", NOT_JSON, "byte 517: nested more than 512 levels deep"),
    (b"[" * 10_000, NOT_JSON, "byte 512: nested more than 512 levels deep"),
    (b'{"ratio":NaN}', NOT_JSON, "byte 9, field 'ratio': 0x4e does not begin a JSON value"),
    (b'{"ratio":-Infinity}', NOT_JSON, "byte 10, field 'ratio': not a JSON number"),
    (b'{"x":Infinity}', NOT_JSON, "byte 5: 0x49 does not begin a JSON value"),
    (b"[{}]", UNDECODABLE, "byte 0: the value is not an object"),
    (b" null", UNDECODABLE, "byte 1: the value is not an object"),
    (changed(count=1.5), UNDECODABLE, "the number has a fraction or an exponent, and the type is an int"),
    (
        b'{"total":1e3}',
        UNDECODABLE,
        "byte 9, field 'total': the number has a fraction or an exponent, and the type is a long",
    ),
    (b'{"count":2147483648}', UNDECODABLE, "byte 9, field 'count': the number has more than 32 bits"),
    (b'{"total":9223372036854775808}', UNDECODABLE, "byte 9, field 'total': the number has more than 64 bits"),
    (b'{"total":' + b"9" * 5000 + b"}", UNDECODABLE, "byte 9, field 'total': the number has more than 64 bits"),
    (b'{"ratio":1e400}', UNDECODABLE, "byte 9, field 'ratio': the number is too large for a double"),
    (b'{"share":3.5e38}', UNDECODABLE, "byte 9, field 'share': the number is too large for a float"),
    (b'{"id":1}', UNDECODABLE, "byte 6, field 'id': a number instead of a string"),
    (b'{"count":"1"}', UNDECODABLE, "byte 9, field 'count': a text instead of an int"),
    (b'{"good":0}', UNDECODABLE, "byte 8, field 'good': a number instead of a boolean"),
    (b'{"id":true}', UNDECODABLE, "byte 6, field 'id': a boolean instead of a string"),
    (b'{"id":{}}', UNDECODABLE, "byte 6, field 'id': an object instead of a string"),
    (b'{"at":[1]}', UNDECODABLE, "byte 6, field 'at': an array instead of a long"),
    (b'{"id":null}', UNDECODABLE, "byte 6, field 'id' is null"),
    (b'{"size":null}', UNDECODABLE, "byte 8, field 'size' is null"),
    (b'{"id":"a","id":"a"}', UNDECODABLE, "byte 10, field 'id' is there twice"),
    (b'{"id":"\\ud800"}', UNDECODABLE, "byte 7, field 'id': half of a surrogate pair"),
    (b'{"colour":"BLUE"}', UNDECODABLE, "byte 10, field 'colour': the text is no symbol of the enum"),
    (b'{"raw":"AAECAw="}', UNDECODABLE, "byte 7, field 'raw': the text is not base64"),
    (b'{"five":"aGVsbA=="}', UNDECODABLE, "byte 8, field 'five': the base64 text does not encode a fixed of 5 bytes"),
    (b'{"five":"aGVsbG=="}', UNDECODABLE, "byte 8, field 'five': the base64 text does not encode a fixed of 5 bytes"),
    (b'{"five":"aGVs*G8="}', UNDECODABLE, "byte 8, field 'five': the text is not base64"),
]


def assert_only_that_is_dead(decoder: JsonDeserializer, value: bytes | None, reason: Any, message: str) -> None:
    """Check that a value between two events is a dead letter, and that the events are not affected."""
    rows, dead = decoded(decoder, [VALUE, value, VALUE])
    assert len(rows) == 2
    assert rows[0] == rows[1]
    (letter,) = dead
    assert (letter.row, letter.reason) == (1, reason)
    assert letter.message.endswith(message)


@pytest.mark.parametrize(("value", "reason", "message"), [case for case in BROKEN if case[1] is not UNDECODABLE])
def test_a_json_event_is_not_json(decoder: JsonDeserializer, value: bytes | None, reason: Any, message: str) -> None:
    """The message names the byte."""
    assert_only_that_is_dead(decoder, value, reason, message)


@pytest.mark.parametrize(("value", "reason", "message"), [case for case in BROKEN if case[1] is UNDECODABLE])
def test_a_json_event_does_not_fit_the_schema(
    decoder: JsonDeserializer, value: bytes | None, reason: Any, message: str
) -> None:
    """The message names byte and field."""
    assert_only_that_is_dead(decoder, value, reason, message)


def test_avro_events_arrive_where_json_is_declared(decoder: JsonDeserializer, tmp_path: Path) -> None:
    """They are dead letters at the first byte, as JSON is where Avro is declared."""
    contracts = contracts_of(tmp_path, SCHEMA)
    columns, _, _ = decoder.deserialize_values(large_binary([VALUE] * 3))
    avro = AvroSerializer(contracts, "event").serialize(columns).to_pylist()
    _, dead = decoded(decoder, avro)
    assert [(letter.reason, letter.message) for letter in dead] == [
        (NOT_JSON, "byte 0: 0x00 does not begin a JSON value")
    ] * 3
    _, dead = AvroDeserializer(contracts, "event", value_bytes_max=BYTES_MAX).deserialize(records_of([VALUE]))
    assert [letter.reason for letter in dead] == [NOT_FRAMED]


def test_events_and_facts_have_formats_of_their_own(tmp_path: Path) -> None:
    """A worker reads each topic in the format that is declared for it."""
    schema = record(("event_id", "string"), ("k", "string"), ("t", MILLIS), ("x", "double"))
    facts = Events("facts", schema="event", key="k", time="t", format="json")
    pipeline = Pipeline(
        name="mixed",
        events=Events("events", schema="event", key="k", time="t"),
        features=(Table("rates", facts=facts).last("x"),),
        model="m",
        scores=Scores("scores"),
    )
    events, by_topic = deserializers(pipeline, contracts_of(tmp_path, schema), BYTES_MAX)
    value = b'{"event_id":"a","k":"k","t":1,"x":2}'
    batch, dead = events.deserialize(records_of([value]))
    assert (len(batch), [letter.reason for letter in dead]) == (0, [NOT_FRAMED])
    batch, dead = by_topic["facts"].deserialize(records_of([value]))
    assert (batch.columns["x"].to_pylist(), dead) == ([2.0], ())


def test_all_broken_values_in_one_batch_are_told_apart(decoder: JsonDeserializer) -> None:
    """In any mix with good ones."""
    mixed = [each for value, _, _ in BROKEN for each in (value, VALUE)]
    rows, dead = decoded(decoder, mixed)
    assert rows == [rows[0]] * len(BROKEN)
    assert [letter.row for letter in dead] == list(range(0, len(mixed), 2))
    for letter, (_, reason, message) in zip(dead, BROKEN, strict=True):
        assert letter.reason == reason
        assert letter.message.endswith(message)


def test_values_of_50_megabytes_are_decoded_or_refused_whole(tmp_path: Path) -> None:
    """As long as they may be: a long text, an array to ignore, a number of as many digits."""
    decoder = one(["null", "string"], tmp_path)
    size = 50_000_000
    text = b'{"x":"' + b"a" * size + b'"}'
    ignored = b'{"y":[' + b"1," * (size // 2) + b'1],"x":"b"}'
    digits = b'{"y":1' + b"0" * size + b',"x":"c"}'
    batch, dead = decoder.deserialize(records_of([text, ignored, digits, b'{"x":"d"}']))
    assert dead == ()
    assert pa.compute.utf8_length(batch.columns["x"]).to_pylist() == [size, 1, 1, 1]
    small = JsonDeserializer(contracts_of(tmp_path, SCHEMA), "event", value_bytes_max=1_000_000)
    _, dead = small.deserialize(records_of([text, ignored, digits]))
    assert [letter.reason for letter in dead] == [VALUE_TOO_LARGE] * 3


def test_texts_of_any_length_fit(tmp_path: Path) -> None:
    """Buffers grow in the middle of a batch and lose nothing."""
    decoder = one("string", tmp_path)
    for texts in (
        ["a"],
        ["b" * k for k in range(300)],
        ["é" * 4**k for k in range(9)],
        ["\n" * 4**k for k in range(9)],
    ):
        rows, dead = decoded(decoder, [json.dumps({"x": text}).encode() for text in texts])
        assert dead == ()
        assert [row["x"] for row in rows] == texts


def test_a_large_value_makes_no_room_for_as_many_in_a_larger_batch(tmp_path: Path) -> None:
    """The next batch has the room of its own bytes, however much a row of the last one took."""
    decoder = one("string", tmp_path)
    decoded(decoder, [b'{"x":"' + b"a" * 10_000_000 + b'"}'])
    before = pa.total_allocated_bytes()
    batch, _ = decoder.deserialize(records_of([b'{"x":"a"}'] * 10_000))
    assert pa.total_allocated_bytes() - before < 10_000_000
    assert len(batch) == 10_000


def test_an_alias_may_be_any_name_that_json_has(tmp_path: Path) -> None:
    """Names of Avro have letters, digits and underscores; producers of JSON use others."""
    decoder = one("long", tmp_path, aliases=["card-number", "é", 'a"b'])
    rows, dead = decoded(
        decoder, [b'{"card-number":1}', '{"é":2}'.encode(), b'{"\\u00e9":3}', b'{"x":4}', b'{"a"b":5}']
    )
    assert [row["x"] for row in rows] == [1, 2, 3, 4]
    assert [letter.row for letter in dead] == [4]


def test_a_part_of_an_array_of_values_is_decoded(decoder: JsonDeserializer) -> None:
    """The values of a batch may begin anywhere in an Arrow array."""
    values = large_binary([b"x", None, VALUE, b"", None, VALUE, b"{}"])
    for start in range(7):
        columns, rows, faults = decoder.deserialize_values(values.slice(start, 4))
        part = values.slice(start, 4).to_pylist()
        assert rows.tolist() == [row for row, value in enumerate(part) if value == VALUE]
        assert [row for row, _ in faults] == [row for row, value in enumerate(part) if value != VALUE]
        assert columns.num_rows == len(rows)


def test_no_values_are_no_rows(decoder: JsonDeserializer) -> None:
    """An empty batch, and one of nulls."""
    assert decoded(decoder, []) == ([], ())
    assert len(decoded(decoder, [None, None])[1]) == 2


DOUBLES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(DOUBLES, min_size=1, max_size=20))
@example(["2.2250738585072011e-308", "4.9e-324", "2.4703282292062327e-324", "1.7976931348623157e308", "-0", "0e999999"])
@example(
    ["9007199254740993", "9007199254740992.99999999999999999999", "1" + "0" * 400 + "e-400", "0." + "0" * 400 + "1e401"]
)
@example(
    [
        f"{2**53 + 1}." + "0" * 900,
        f"{2**53 + 1}." + "0" * 900 + "1",
        "1e99999999999999999999",
        "1e-99999999999999999999",
    ]
)
@example(
    ["123456789012345678901234567890e-10", "18446744073709551615", "18446744073709551616", "9223372036854775808.5"]
)
def test_doubles_are_those_of_python(doubles: JsonDeserializer, texts: list[str]) -> None:
    """Rounded to nearest, ties to even, however many digits; too large ones are refused."""
    values = [f'{{"x":{text}}}'.encode() for text in texts]
    rows, dead = decoded(doubles, values)
    expected = [float(text) for text in texts]
    finite = [number for number in expected if np.isfinite(number)]
    assert np.array([row["x"] for row in rows]).tobytes() == np.array(finite).tobytes()
    assert [letter.row for letter in dead] == [row for row, number in enumerate(expected) if not np.isfinite(number)]


@pytest.mark.parametrize(
    "kind",
    [
        "null",
        {"type": "array", "items": "string"},
        {"type": "array", "items": ["null", "long"]},
        {"type": "array", "items": {"type": "long", "logicalType": "timestamp-millis"}},
        {"type": "map", "values": "long"},
        record(("y", "int"), name="Inner"),
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
        {"type": "fixed", "name": "Money", "size": 4, "logicalType": "decimal", "precision": 4},
    ],
)
def test_a_type_that_json_events_cannot_have(kind: Any, tmp_path: Path) -> None:
    """It is refused at the start, with the file and the field."""
    with pytest.raises(SchemaError, match=r"event\.avsc: field 'x'.*leave the field out"):
        one(kind, tmp_path)
