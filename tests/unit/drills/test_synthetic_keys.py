"""Recorded events dealt out over made-up keys."""

from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.declaration import Events
from surgetank.drills.recording import Recording
from surgetank.drills.synthetic_keys import synthetic_keys
from surgetank.event_columns import TimeUnit

EVENTS = Events("t.events", schema="event", key="key", time="at")
FIRST_MS = 700
RECORDING = Recording.merge(
    [
        (
            EVENTS,
            pa.table(
                {
                    "event_id": ["a", "b", "c"],
                    "key": ["one", None, "two"],
                    "at": pa.array([FIRST_MS, 900, 60_000], pa.timestamp("ms", tz="UTC")),
                    "amount": [1, 2, 3],
                }
            ),
        )
    ],
    lap=timedelta(hours=1),
)


@given(st.integers(1, 20), st.integers(1, 60))
def test_each_key_has_its_turn(keys: int, count: int) -> None:
    """Keys come one after the other, no id twice, a millisecond apart; all else is as recorded."""
    found = synthetic_keys(RECORDING, EVENTS, keys, count)

    (table,) = found.tables
    assert [int(key[1:]) for key in table["key"].to_pylist()] == [number % keys for number in range(count)]
    assert len(set(table["event_id"].to_pylist())) == count
    assert found.times(0, count).tolist() == [FIRST_MS + number for number in range(count)]
    assert table["amount"].to_pylist() == [1 + number % 3 for number in range(count)]
    assert table.schema == RECORDING.tables[0].schema


def test_events_without_a_key_are_refused() -> None:
    """There is nothing to deal them out by."""
    with pytest.raises(ValueError, match="no key"):
        synthetic_keys(RECORDING, replace(EVENTS, key=None), 2, 2)


@pytest.mark.parametrize("unit", ["ms", "us", None])
def test_times_keep_the_unit_of_their_field(unit: TimeUnit | None) -> None:
    """A millisecond apart, as whole numbers of a declared unit or as microseconds by type."""
    (table,) = RECORDING.tables
    times = table["at"].cast(pa.timestamp("us", "UTC")) if unit is None else table["at"].cast(pa.timestamp(unit, "UTC"))
    whole = table.set_column(2, "at", times if unit is None else times.cast(pa.int64()))
    events = replace(EVENTS, time_units={"at": unit} if unit else {})
    found = synthetic_keys(Recording.merge([(events, whole)], lap=timedelta(hours=1)), events, 2, 3)
    assert found.time_ms.tolist() == [FIRST_MS, FIRST_MS + 1, FIRST_MS + 2]


def test_nested_keys_are_refused() -> None:
    """A synthetic key replaces a column."""
    (table,) = RECORDING.tables
    row = pa.StructArray.from_arrays([column.combine_chunks() for column in table.columns], table.schema.names)
    events = replace(EVENTS, key="row.key")
    nested = table.append_column("row", row)
    with pytest.raises(ValueError, match=r"'row\.key' is a field of a record"):
        synthetic_keys(Recording.merge([(events, nested)], lap=timedelta(hours=1)), events, 2, 3)
