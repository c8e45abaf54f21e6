"""Mutated JSON events: none crashes the decoder, none is lost, none is read otherwise than Python's json reads it."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.codec.base import EMPTY, NOT_JSON, NULL_VALUE, UNDECODABLE, VALUE_TOO_LARGE
from surgetank.codec.json.deserializer import JsonDeserializer
from tests.unit.codec.avro_samples import contracts_of, record, records_of
from tests.unit.codec.json_reference import Misfit, NotJson, reference_row
from tests.unit.codec.mutated_batches import mutated_batches

BYTES_MAX = 4096
SCHEMA = record(
    ("id", "string"),
    ("count", "int"),
    ("total", "long"),
    ("ratio", "double"),
    {"name": "share", "type": ["null", "float"], "default": None},
    ("good", ["boolean", "null"]),
    ("colour", {"type": "enum", "name": "Colour", "symbols": ["RED", "GREEN", "ROT"]}),
    {"name": "raw", "type": "bytes", "default": "\u00ff"},
    ("three", ["null", {"type": "fixed", "name": "Three", "size": 3}]),
    {"name": "place", "type": "string", "default": "x", "aliases": ["city"]},
    {"name": "points", "type": {"type": "array", "items": "double"}, "default": []},
    ("codes", ["null", {"type": "array", "items": "int"}]),
)
FIELDS = SCHEMA["fields"]
REQUIRED = {"id", "count", "total", "ratio", "colour"}
TOKENS = [
    *(
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"null",
        b"true",
        b"false",
        b"0",
        b"-0",
        b"1e400",
        b"1e-400",
        b"1E5",
        b"-",
        b".",
    ),
    *(b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808", b"-9223372036854775809", b"1" * 50),
    *(b"2147483647", b"2147483648", b"-2147483648", b"0.1000000000000000055511151231257827", b"00", b"+1", b"1."),
    *(b'"', b"\\", b"\\u", b"\\ud800", b"\\ud83d\\ude00", b"\\u0000", b"\\/", b'\\"', b"\n", b"\0", b"\x7f", b"\x1f"),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b" ",
        b"\t",
        b'"id":"x",',
        b'"city":"y",',
        b'"other":[{"a":null}],',
        b"{}",
        b"[]",
    ),
    *(
        b"\xff",
        b"\xc3\xa9",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98\x80",
        b"\xe2\x80\xa8",
        b"\xef\xbb\xbf",
        b"AAEC",
        b"AA==",
        b"=",
    ),
]
LABELS = ["", "a", "é", "\U0001f600", 'quote"d', "back\\slash", "line\nbreak", "x" * 40, "\u2028", "\x7f", "/"]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> JsonDeserializer:
    """Return a decoder of SCHEMA, the same for all batches: what it learns from one must not spoil another."""
    contracts = contracts_of(tmp_path_factory.mktemp("schemas"), SCHEMA)
    return JsonDeserializer(contracts, "event", value_bytes_max=BYTES_MAX)


def pick(rng: np.random.Generator, *options: Any) -> Any:
    """Return one of the options."""
    return options[int(rng.integers(len(options)))]


def event(rng: np.random.Generator) -> bytes:
    """Return a good event, in one of several styles."""
    fields: dict[str, Any] = {
        "id": pick(rng, *LABELS),
        "count": int(rng.integers(-(2**31), 2**31)),
        "total": int(rng.integers(-(2**63), 2**63 - 1)),
        "ratio": float(rng.normal()) * 10.0 ** int(rng.integers(-300, 300)),
        "share": pick(rng, None, 1.5, 1e-40, 3e38, 16777217),
        "good": pick(rng, None, True, False),
        "colour": pick(rng, "RED", "GREEN", "ROT"),
        "raw": pick(rng, "", "AA==", "/+8=", "AAECAwQF"),
        "three": pick(rng, None, "AAEC"),
        pick(rng, "place", "city"): pick(rng, *LABELS),
        "points": rng.normal(size=int(rng.integers(4))).tolist(),
        "codes": pick(rng, None, [], [1, -2147483648, 0]),
        "other": {"a": [1, "]", None, {"b": {}}]},
    }
    names = list(fields)
    if rng.random() < 0.5:
        rng.shuffle(names)
    kept = [name for name in names if rng.random() < (0.99 if name in REQUIRED else 0.9)]
    indent = None if rng.random() < 0.7 else 1
    return json.dumps(
        {name: fields[name] for name in kept}, ensure_ascii=bool(rng.random() < 0.5), indent=indent
    ).encode()


EVENTS = [event(np.random.default_rng(seed)) for seed in range(200)]


def mutate(rng: np.random.Generator, value: bytes) -> bytes | None:
    """Return the value after one or two accidents."""
    for _ in range(rng.integers(1, 3)):
        at = int(rng.integers(0, len(value) + 1))
        match rng.integers(0, 10):
            case 0:
                value = value[:at]
            case 1 | 2 if at < len(value):
                value = value[:at] + bytes([value[at] ^ (1 << int(rng.integers(0, 8)))]) + value[at + 1 :]
            case 3:
                other = EVENTS[int(rng.integers(0, len(EVENTS)))]
                value = value[:at] + other[int(rng.integers(0, len(other))) :]
            case 4:
                value += rng.bytes(int(rng.integers(1, 20)))
            case 5 | 6:
                value = value[:at] + TOKENS[int(rng.integers(0, len(TOKENS)))] + value[at:]
            case 7:
                # A value in place of another: behind a colon, up to the next comma.
                colons = [k for k, byte in enumerate(value) if byte == ord(":")]
                if colons:
                    begin = int(rng.choice(colons)) + 1
                    end = value.find(b",", begin)
                    token = TOKENS[int(rng.integers(0, len(TOKENS)))]
                    value = value[:begin] + token + value[end if end > 0 else len(value) - 1 :]
            case 8:
                end = min(len(value), at + int(rng.integers(1, 9)))
                value = value[:at] + value[end:]
            case 9 if rng.integers(0, 6) == 0:
                return None
    return value


def assert_sound(decoder: JsonDeserializer, values: Sequence[bytes | None]) -> tuple[int, int]:
    """Check a decoded batch against the reference, value by value; return how many lived and died."""
    batch, dead = decoder.deserialize(records_of(values))
    batch.columns.validate(full=True)
    kept, died = batch.rows.tolist(), [letter.row for letter in dead]
    assert kept == sorted(kept)
    assert died == sorted(died)
    assert sorted(kept + died) == list(range(len(values)))
    rows = dict(zip(kept, batch.columns.to_pylist(), strict=True))
    reasons = {letter.row: letter.reason for letter in dead}
    for row, value in enumerate(values):
        if value is None:
            assert reasons[row] is NULL_VALUE
        elif not value:
            assert reasons[row] is EMPTY
        elif len(value) > BYTES_MAX:
            assert reasons[row] is VALUE_TOO_LARGE
        else:
            try:
                expected = reference_row(value, FIELDS)
            except NotJson:  # a fault of the schema may come before the one of the JSON
                assert reasons.get(row) in (NOT_JSON, UNDECODABLE), value
            except Misfit:
                assert reasons.get(row) is UNDECODABLE, value
            else:
                assert row in rows, (value, next(letter for letter in dead if letter.row == row))
                assert rows[row] == expected, value
    return len(kept), len(died)


def test_mutated_json_ends_in_exactly_one_place(decoder: JsonDeserializer) -> None:
    """Of mutated events in batches of mixed size, each is decoded as Python's json decodes it, or is a dead letter."""
    count = 20_000
    lived = died = 0
    for values in mutated_batches(EVENTS, mutate, count):
        here = assert_sound(decoder, values)
        lived, died = lived + here[0], died + here[1]
    assert lived > count / 10
    assert died > count / 10


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=8))
def test_any_bytes_among_json_events_are_survived(decoder: JsonDeserializer, others: list[bytes]) -> None:
    """Arbitrary bytes raise nothing; the good events live."""
    values = [value for i, other in enumerate(others) for value in (other, b"{" + other + b"}", EVENTS[i])]
    lived, _ = assert_sound(decoder, values)
    assert lived >= len(others)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from([field["name"] for field in FIELDS] + ["city", "z"]), JSON), max_size=4)
)
def test_any_json_in_any_field_is_judged_as_by_the_reference(
    decoder: JsonDeserializer, objects: list[dict[str, Any]]
) -> None:
    """Each alone, and laid over a good event."""
    good = json.loads(EVENTS[0])
    values = [json.dumps(each).encode() for each in objects] + [json.dumps(good | each).encode() for each in objects]
    assert_sound(decoder, values)
