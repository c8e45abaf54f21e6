"""Latency of the bench: intended times, and percentiles of what was due in the measured window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.bench.latency import figures
from ops.bench.sender import Schedule


@settings(deadline=None)
@given(
    rate=st.floats(1, 200_000),
    seconds=st.floats(0.1, 3),
    wait=st.floats(-1, 5),
)
def test_what_is_due_is_what_has_its_time_behind_it(rate: float, seconds: float, wait: float) -> None:
    """An event is sent when its intended time has come: not before it, and none is forgotten."""
    schedule = Schedule(1_000_000.0, rate, seconds)
    now = schedule.start + wait
    due = schedule.due_by(now)
    assert 0 <= due <= schedule.count
    exact = schedule.start + np.arange(schedule.count) / rate
    assert abs(due - int((exact <= now).sum())) <= 1  # the last digit of a float


def test_intended_times_are_even_and_do_not_depend_on_the_sender() -> None:
    """Four events a second are 250 ms apart, whatever happens while they are sent."""
    schedule = Schedule(1_700_000_000.0, 4.0, 2.0)
    assert np.diff(schedule.due_ms()).tolist() == [250] * 7


def test_only_events_due_in_the_window_count() -> None:
    """The warm-up is left out by when events were due, so a late score of the window still counts."""
    due = np.array([0.0, 1000.0, 2000.0, 3000.0])
    took = np.array([9999.0, 10.0, 30.0, 9999.0])
    found = figures(due, took, begin_ms=1000, end_ms=3000)
    assert (found["count"], found["p50"], found["max"]) == (2, 20.0, 30.0)


@given(st.lists(st.floats(0, 10_000), min_size=1, max_size=200))
def test_percentiles_rise(took: list[float]) -> None:
    """p50 <= p99 <= p99.9 <= max, and p50 has half of the scores on each side."""
    found = figures(np.zeros(len(took)), np.array(took), begin_ms=0, end_ms=1)
    assert found["p50"] <= found["p99"] <= found["p999"] <= found["max"]
    assert found["p50"] == pytest.approx(float(np.median(took)), abs=0.06)


def test_no_scores_have_no_percentiles() -> None:
    """Nothing seen is not zero milliseconds."""
    assert figures(np.zeros(0), np.zeros(0), begin_ms=0, end_ms=1) == {
        "count": 0,
        "p50": None,
        "p99": None,
        "p999": None,
        "max": None,
    }
