"""surgetank.processing.key_comparison: which record keys repeat the key field, whatever its type."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.declaration import Events
from surgetank.processing.key_comparison import find_mismatches, without_mismatches
from surgetank.records import DecodedBatch, RecordBatch, TopicPartition, large_binary
from surgetank.text_columns import as_key

REFUSING = Events("events", schema="event", key="k", time="t", differing_keys="refuse")


def batch_of(keys: list[bytes | None], column: pa.Array, rows: list[int] | None = None) -> DecodedBatch:
    """Return decoded events: ``rows`` of the records with these keys, all by default, have the values of a column."""
    n = len(keys)
    records = RecordBatch(
        (TopicPartition("events", 0),),
        np.zeros(n, dtype=np.int32),
        np.arange(n, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
        large_binary(keys),
        large_binary([None] * n),
    )
    return DecodedBatch(
        records, np.array(range(n) if rows is None else rows, dtype=np.int64), pa.record_batch({"k": column})
    )


def differing(keys: list[bytes | None], column: pa.Array) -> list[int]:
    """Return the places of the events whose keys do not repeat the column."""
    places: list[int] = find_mismatches(batch_of(keys, column), "k").places.tolist()
    return places


def test_a_missing_key_and_a_null_field_are_told_apart() -> None:
    """Null repeats null; an empty key is not null."""
    found = find_mismatches(
        batch_of([b"a", None, b"b", None, b"", b"c"], pa.array(["a", "a", "x", None, None, None])), "k"
    )

    assert found.places.tolist() == [1, 2, 4, 5]
    assert found.missing.tolist() == [True, False, False, False]
    assert found.keys.to_pylist() == [b"a", b"x", None, None]


def test_only_decoded_records_are_compared() -> None:
    """Places are those of the events; other records between them have any key."""
    found = find_mismatches(batch_of([b"?", b"a", b"?", b"x", b"c"], pa.array(["a", "b", "c"]), [1, 3, 4]), "k")
    assert found.places.tolist() == [1]


@pytest.mark.parametrize(
    ("key", "value", "dtype"),
    [
        (b"17", 17, pa.int32()),
        ((17).to_bytes(4, "big"), 17, pa.int32()),
        ((-2).to_bytes(8, "big", signed=True), -2, pa.int64()),
        ((17).to_bytes(8, "big"), 17, pa.int32()),
        (b"\0\xff", b"\0\xff", pa.binary()),
        (b"\0\xff", b"\0\xff", pa.binary(2)),
        (b"\0\0\0\0\x07\x06abc", "abc", pa.string()),  # the key has a schema of its own
        (b"\0\0\0\0\x07\x22", 17, pa.int64()),
        (b"true", True, pa.bool_()),
    ],
)
def test_a_key_repeats_its_field_in_the_usual_encodings(key: bytes, value: Any, dtype: pa.DataType) -> None:
    """As text or bytes, as Java writes whole numbers, or with a schema, which is not compared."""
    assert differing([key, key], pa.array([value, value], dtype)) == []


@pytest.mark.parametrize(
    ("key", "value", "dtype"),
    [
        ((18).to_bytes(4, "big"), 17, pa.int32()),
        ((17).to_bytes(8, "little"), 17, pa.int64()),
        (b"\0\0\0\x11", None, pa.int32()),
        (b"\0\0\0\0\x07\x06abc", b"abc", pa.binary()),  # bytes may begin with a zero
        (b"\0abc", "abc", pa.string()),
        (b"ABC", "abc", pa.string()),
    ],
)
def test_another_key_is_found_whatever_its_encoding(key: bytes, value: Any, dtype: pa.DataType) -> None:
    """Other numbers, other bytes, other case."""
    assert differing([key], pa.array([value], dtype)) == [0]


@given(st.lists(st.tuples(st.none() | st.text(max_size=3), st.none() | st.text(max_size=3)), max_size=20), st.data())
def test_any_texts_are_compared_one_by_one(pairs: list[tuple[str | None, str | None]], data: st.DataObject) -> None:
    """As Python compares them, also for a part of the column."""
    keys = [None if key is None else key.encode() for key, _ in pairs]
    start = data.draw(st.integers(0, len(pairs)))
    column = pa.array([value for _, value in pairs], pa.string()).slice(start)
    expected = [place for place, (key, value) in enumerate(pairs[start:]) if key != value]

    assert differing(keys[start:], column) == expected
    assert as_key(column).to_pylist() == [None if value is None else value.encode() for _, value in pairs[start:]]


def test_an_offline_reader_leaves_out_what_a_worker_refuses_or_sends_again() -> None:
    """The row of the events and of the columns, and no deletion; by default nothing."""
    batch = batch_of([b"a", b"x", b"c"], pa.array(["a", "b", "c"]))

    kept = without_mismatches(batch, REFUSING)

    assert (kept.rows.tolist(), kept.columns["k"].to_pylist()) == ([0, 2], ["a", "c"])
    assert without_mismatches(batch, Events("events", schema="event", key="k", time="t")) is batch
    same = batch_of([b"a"], pa.array(["a"]))
    assert without_mismatches(same, REFUSING) is same
