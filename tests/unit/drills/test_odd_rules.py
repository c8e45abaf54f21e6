"""The rules by which the drill with odd pipelines judges: own readers of Avro, texts and features."""

import io
import math
from random import Random
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.drills.odd.avro_types import OddType, TypeGenerator
from surgetank.drills.odd.declaration import odd_pipeline
from surgetank.drills.odd.features import calendar_feature, elapsed_feature, meaning
from surgetank.drills.odd.oracle import Oracle
from surgetank.drills.odd.records import odd_records
from surgetank.drills.odd.refusals import set_up
from surgetank.drills.odd.same_text import is_text_of
from surgetank.drills.odd.strict_avro import conforms, physical

TYPES = st.integers(0, 2**32).map(lambda seed: TypeGenerator(Random(seed)).any())


def written(kind: OddType, value: Any) -> bytes:
    """Return a value as fastavro writes it."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(physical(kind.schema), named_schemas={}), value)
    return out.getvalue()


def read(kind: OddType, body: bytes) -> Any:
    """Return a value as fastavro reads it."""
    schema = fastavro.parse_schema(physical(kind.schema), named_schemas={})
    return fastavro.schemaless_reader(io.BytesIO(body), schema, None)


@settings(max_examples=200)
@given(kind=TYPES, seed=st.integers(0, 2**32), cut=st.integers(1, 5), more=st.binary(min_size=1, max_size=5))
def test_a_body_conforms_if_it_is_exactly_one_value(kind: OddType, seed: int, cut: int, more: bytes) -> None:
    """What fastavro writes conforms; with bytes behind it, or without its last ones, it does not."""
    body = written(kind, kind.draw(Random(seed)))
    fits = conforms(kind.schema)

    assert fits(body)
    assert not fits(body + more)
    assert not fits(body[:-cut])


@settings(max_examples=200)
@given(kind=TYPES, body=st.binary(max_size=40))
def test_a_conforming_body_is_one_that_fastavro_reads(kind: OddType, body: bytes) -> None:
    """Of arbitrary bytes, those that conform are read, and what was read conforms when it is written again."""
    fits = conforms(kind.schema)

    assert not fits(body) or fits(written(kind, read(kind, body)))


@pytest.mark.parametrize(
    ("schema", "body", "fits"),
    [
        ("int", b"\xfe\xff\xff\xff\x0f", True),
        ("int", b"\x80\x80\x80\x80\x10", False),
        ("long", b"\xff" * 9 + b"\x01", True),
        ("long", b"\xff" * 9 + b"\x02", False),
        ("long", b"\x80" * 10 + b"\x00", False),
        ("boolean", b"\x02", False),
        ("string", b"\x02\xff", False),
        ("bytes", b"\x01", False),
        (["null", "int"], b"\x04", False),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02", False),
        ({"type": "array", "items": "int"}, b"\x01\x02\x02\x00", True),
        ({"type": "map", "values": "int"}, b"\x02\x02a\x02\x00", True),
        ({"type": "bytes", "logicalType": "decimal", "precision": 2}, b"\x02\x63", True),
        ({"type": "bytes", "logicalType": "decimal", "precision": 2}, b"\x02\x64", False),
    ],
)
def test_edges_of_the_encoding(schema: Any, body: bytes, fits: bool) -> None:
    """Numbers of too many bits, indexes out of range and the like do not conform."""
    assert conforms(schema)(body) is fits


@pytest.mark.parametrize(
    ("text", "value", "schema", "same"),
    [
        ("4dfc", b"M\xfc", "bytes", True),
        ("M", b"M\xfc", "bytes", False),
        (None, None, ["null", "string"], True),
        ("", None, ["null", "string"], False),
        ("true", True, "boolean", True),
        ("-1.50", b"\xff\x6a", {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}, True),
        (
            "1.5",
            b"\x0f",
            {"type": "fixed", "name": "F", "size": 1, "logicalType": "decimal", "precision": 2, "scale": 1},
            True,
        ),
        ("1970-01-02", 1, {"type": "int", "logicalType": "date"}, True),
        ("2023-11-14 22:13:20.123Z", 1_700_000_000_123, {"type": "long", "logicalType": "timestamp-millis"}, True),
        ("2023-11-14 22:13:20.123", 1_700_000_000_123, {"type": "long", "logicalType": "timestamp-millis"}, False),
        ("00:00:01.000", 1_000, {"type": "int", "logicalType": "time-millis"}, True),
        ("-5", -5, {"type": "int", "logicalType": "time-millis"}, True),
        ("7", 7, {"type": "long", "logicalType": "unheard-of"}, True),
    ],
)
def test_texts_of_ids_and_keys(text: str | None, value: Any, schema: Any, same: bool) -> None:
    """The text of a value is the documented one."""
    assert is_text_of(text, value, schema) is same


def test_calendar_features() -> None:
    """Features of 2023-11-14 22:13:20, a Tuesday."""
    found = {}
    for seed in range(20):
        feature = calendar_feature(Random(seed), "t", 1_000)
        assert feature.value is not None
        found[feature.source] = feature.value({"t": 1_700_000_000_000})
        assert math.isnan(feature.value({"t": None}))

    assert found == {"HourOfDay('t')": pytest.approx(22 + 13 / 60 + 20 / 3600), "DayOfWeek('t')": 1, "Month('t')": 11}


def test_elapsed_of_two_units() -> None:
    """One time is in seconds times a thousand, the other times a million."""
    feature = elapsed_feature(Random(1), ("a", 1_000), ("b", 1_000_000))
    assert feature.value is not None
    assert feature.value({"a": 1_000, "b": 86_401_000_000}) in (86_400, 1_440, 24, 1)


def test_a_seed_makes_the_same_pipelines_and_records() -> None:
    """Nothing depends on anything but seed and number."""
    one, two = odd_pipeline(5, 3), odd_pipeline(5, 3)

    assert one.source == two.source
    assert set_up(one, 5) == set_up(two, 5)
    assert list(odd_records(one, 5, 200, 1 << 20)) == list(odd_records(two, 5, 200, 1 << 20))


def test_records_of_a_pipeline_have_many_outcomes() -> None:
    """Every reason of a record's end occurs in a few pipelines, and records of drawn size keep to their sum."""
    outcomes: set[str] = set()
    kinds: set[str] = set()
    for number in range(30):
        odd = odd_pipeline(1, number)
        kinds |= {meaning(kind.schema) for kind in odd.events.fields.values()}
        oracle, size = Oracle(odd), 0
        for record in odd_records(odd, 1, 300, 4 << 20):
            outcomes |= oracle.expected(record.topic, record.key, record.value).outcomes
            size += record.size
        assert size < 5 << 20

    assert outcomes >= {
        "score",
        "fact",
        *(f"decode/{label}" for label in ("null_value", "empty", "not_framed", "unknown_schema", "undecodable")),
        "decode/too_large",
        "infer/model_error",
        "infer/not_a_number",
        "emit/unencodable",
    }
    assert len(kinds) > 20


def test_each_kind_of_refusal_occurs() -> None:
    """A run of 500 pipelines has at least 30 kinds of refusals, and most of its pipelines run."""
    found = [set_up(odd_pipeline(1, number), 1)[1] for number in range(500)]

    assert len({refusal.kind for refusals in found for refusal in refusals}) >= 30
    assert 0.05 < sum(bool(refusals) for refusals in found) / len(found) < 0.4
