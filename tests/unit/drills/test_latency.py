"""Joining scores to the times of their events."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.drills.latency import Latencies


def column(*values: int) -> np.ndarray:
    """An int64 column."""
    return np.array(values, dtype=np.int64)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5000), st.integers(0, 10**6), st.floats(0, 5000)),
        min_size=1,
        max_size=40,
        unique_by=lambda row: row[:2],
    ),
    st.randoms(use_true_random=False),
)
def test_each_score_meets_its_event_whichever_is_read_first(
    rows: list[tuple[int, int, int, float]], random: object
) -> None:
    """In any order of reading, the latencies are arrival less timestamp, one per score."""
    latencies = Latencies()
    steps = [("event", row) for row in rows] + [("score", row) for row in rows]
    random.shuffle(steps)  # type: ignore[attr-defined]
    for kind, (partition, offset, sent, took) in steps:
        if kind == "event":
            latencies.events(column(partition), column(offset), column(sent))
        else:
            latencies.scores(column(partition), column(offset), (sent + took) / 1000)
    found = latencies.percentiles()
    expected = [took for *_, took in rows]
    assert found.count == len(rows)
    assert found.max_ms == pytest.approx(max(expected), abs=1e-3)
    assert found.p50_ms == pytest.approx(np.percentile(expected, 50), abs=1e-3)
    assert found.p99_ms == pytest.approx(np.percentile(expected, 99), abs=1e-3)


def test_a_score_without_its_event_waits() -> None:
    """A score whose event was not read yet is not counted, and not forgotten."""
    latencies = Latencies()
    latencies.scores(column(0, 0), column(1, 2), 2.0)
    latencies.events(column(0), column(1), column(1500))
    assert latencies.percentiles().count == 1
    latencies.events(column(0), column(2), column(1000))
    assert latencies.percentiles().count == 2
    assert latencies.percentiles().max_ms == 1000.0


def test_a_stretch_of_time_can_be_asked_for() -> None:
    """Percentiles of the scores that arrived in a window look at no others."""
    latencies = Latencies()
    latencies.events(column(0, 0), column(0, 1), column(0, 0))
    latencies.scores(column(0), column(0), 1.0)
    latencies.scores(column(0), column(1), 3.0)
    assert latencies.percentiles(after=2.0).p50_ms == 3000.0
    assert latencies.percentiles(before=2.0).p50_ms == 1000.0
    assert latencies.percentiles(after=4.0).count == 0
