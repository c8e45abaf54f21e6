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
