"""Lag in seconds: the method for each case, its accuracy, and the unknown cases."""

import bisect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.lag.end_offset_history import POINTS_MAX, SPACING, EndOffsetHistory
from surgetank.lag.rates import drain, rates
from surgetank.lag.seconds import SKEW_SECONDS, LagMethod, LagSeconds, lag_seconds
from tests.unit.lag.histories import every, history, window

STEADY = [(0.0, 0), (10.0, 100), (20.0, 200)]  # ten a second


@pytest.mark.parametrize(
    ("points", "processed", "end", "record_at", "expected"),
    [
        (STEADY, 200, 200, None, LagSeconds(0, LagMethod.NO_LAG)),
        (STEADY, 250, 200, None, LagSeconds(0, LagMethod.NO_LAG)),
        (STEADY, 150, 200, None, LagSeconds(15, LagMethod.INTERPOLATED)),
        (STEADY, 100, 200, None, LagSeconds(20, LagMethod.INTERPOLATED)),
        (STEADY, 150, 200, 14.5, LagSeconds(15.5, LagMethod.RECORD)),
        ([(0.0, 50), (10.0, 100)], 25, 100, None, LagSeconds(35, LagMethod.EXTRAPOLATED)),
        ([(0.0, 50), (10.0, 100)], 25, 100, -5000.0, LagSeconds(5030, LagMethod.RECORD)),  # an old backlog
        ([(0.0, 50), (25.0, 50)], 25, 50, None, None),  # no line without traffic
        ([(0.0, 50)], 25, 50, None, None),  # nor through one point
        ([], 25, 50, None, None),
        ([], 25, 50, 12.0, LagSeconds(18, LagMethod.RECORD)),
    ],
)
def test_the_best_known_method_is_used(
    points: list[tuple[float, int]], processed: int, end: int, record_at: float | None, expected: LagSeconds | None
) -> None:
    """Timestamp, then interpolation, then extrapolation, then unknown. The time is 30 s after the start."""
    found = lag_seconds(30.0, processed, end, history(points), record_at)
    if found is None or expected is None:
        assert found is expected
        return
    assert found.seconds == pytest.approx(expected.seconds)
    assert found.how is expected.how


def test_a_burst_after_a_long_pause_is_dated_by_the_burst() -> None:
    """Its records are not spread over the hours without traffic."""
    seen = history([(0.0, 50), (1800.0, 50), (3600.0, 50), (3610.0, 100)])
    assert lag_seconds(3612.0, 75, 100, seen) == LagSeconds(7.0, LagMethod.INTERPOLATED)
    assert len(seen) == 3


@pytest.mark.parametrize("skew", [3600.0, -3600.0, 8 * 3600.0, 1e9])
def test_a_timestamp_of_a_wrong_clock_is_replaced_by_the_arrival(skew: float) -> None:
    """A timestamp outside the bounds of the arrival gives the method BOUNDED."""
    found = lag_seconds(30.0, 150, 200, history(STEADY), 15.0 + skew)
    assert found == LagSeconds(15.0, LagMethod.BOUNDED)


def test_a_timestamp_in_the_future_is_detected_at_the_first_evaluation() -> None:
    """A record before the first end offset arrived no later than that time."""
    assert lag_seconds(30.0, 10, 50, history([(20.0, 50)]), 7200.0) == LagSeconds(10.0, LagMethod.BOUNDED)
    assert lag_seconds(30.0, 10, 50, EndOffsetHistory(), 7200.0) == LagSeconds(0.0, LagMethod.BOUNDED)


@given(skew=st.floats(-SKEW_SECONDS, SKEW_SECONDS))
def test_a_timestamp_within_the_tolerance_is_used(skew: float) -> None:
    """A record from the future has the age 0."""
    found = lag_seconds(20.0, 150, 200, history(STEADY), 15.0 + skew)
    assert found is not None
    assert found.how is LagMethod.RECORD
    assert found.seconds == pytest.approx(max(0.0, 5.0 - skew), abs=1e-9)


bursts = st.lists(st.tuples(st.floats(0.5, 5), st.integers(0, 1000) | st.just(0)), min_size=30, max_size=400)


@given(looks=bursts, where=st.floats(0, 1), later=st.floats(0, 30))
def test_thinning_keeps_a_tenth_whatever_the_bursts(looks: list[tuple[float, int]], where: float, later: float) -> None:
    """Each age is accurate to a tenth, or to the distance of two evaluations, for any age and traffic."""
    seen, at, end = EndOffsetHistory(), 0.0, 0
    truth: list[tuple[int, float, float]] = []  # from this offset on, records came after the one, before the other time
    for seconds, arrived in looks:
        if arrived:
            truth.append((end, at, at + seconds))
        at, end = at + seconds, end + arrived
        seen.add(at, end)
    offset = int(where * end)
    first = seen.points[0][1]
    if not first <= offset < end:
        return
    _, after, before = truth[bisect.bisect_right(truth, (offset, math.inf, math.inf)) - 1]
    now = at + later
    found = lag_seconds(now, offset, end, seen)
    assert found is not None
    assert found.how is LagMethod.INTERPOLATED
    slack = SPACING * (now - after) + 1e-6
    assert now - before - max(slack, before - after) <= found.seconds <= now - after + max(slack, before - after)


def test_a_history_is_bounded() -> None:
    """A week with an evaluation every five seconds fits; the oldest point is kept."""
    seen = EndOffsetHistory()
    for second in range(0, 7 * 24 * 3600, 5):
        seen.add(float(second), second * 3)
    assert len(seen) <= POINTS_MAX
    assert seen.points[0] == (0.0, 0)


def test_a_history_drops_points_that_no_group_needs() -> None:
    """One point before the lowest offset remains."""
    seen = history([(float(n), 10 * n) for n in range(50)])
    seen.trim_before(401)
    assert seen.points[0] == (40.0, 400)
    seen.trim_before(10_000)
    assert seen.points == [(49.0, 490)]


def test_a_recreated_topic_starts_a_new_history() -> None:
    """A lower end offset clears the points; a point that is not later is ignored."""
    seen = history([(0.0, 100), (10.0, 200), (20.0, 5), (20.0, 7), (19.0, 9)])
    assert seen.points == [(20.0, 5)]


@pytest.mark.parametrize(
    ("lag", "arrival", "processing", "expected"),
    [
        (0, None, None, 0.0),
        (0, 10.0, 0.0, 0.0),
        (100, 10.0, 20.0, 10.0),
        (100, 10.0, 10.0, math.inf),
        (100, 10.0, 0.0, math.inf),
        (100, None, 10.0, None),
        (100, 10.0, None, None),
    ],
)
def test_the_time_to_drain(lag: int, arrival: float | None, processing: float | None, expected: float | None) -> None:
    """Lag divided by the difference of the rates; infinite if it does not shrink, unknown without rates."""
    assert drain(lag, arrival, processing) == expected


def test_rates_cover_the_last_ten_seconds() -> None:
    """A spike that is over does not hide that its lag drains."""
    spike = [(second, 10_000 * second, 2_000 * second) for second in range(21)]
    after = [(20 + second, 200_000 + 100 * second, 40_000 + 2_000 * second) for second in range(1, 13)]
    found = rates(window([*spike, *after]))
    assert (found.arrival, found.processing) == (100, 2_000)
    assert found.drain == pytest.approx((201_200 - 64_000) / 1_900)


def test_rates_of_a_slow_committer_cover_four_movements() -> None:
    """Ten seconds of a group that commits once a minute contain no commit."""
    rare = window((5.0 * n, 50 * n + 50, 600 * (n // 12)) for n in range(100))
    found = rates(rare)
    assert found.arrival == 10
    assert found.processing == pytest.approx(10, rel=0.3)


def test_rates_need_two_observations() -> None:
    """The rates are between an older and the newest observation."""
    found = rates(every(10, [100, 200, 300], [0, 150, 280]))
    assert (found.arrival, found.processing, found.drain) == (10, 14, 5)
    assert rates(window([(0, 100, 50)])) == (None, None, None)
    assert rates(window([])) == (None, None, None)


def test_rates_are_unknown_across_a_rewind() -> None:
    """The processing rate across a rewind, both rates across a recreated topic."""
    back = rates(every(10, [100, 200, 300], [50, 20, 60]))
    assert (back.arrival, back.processing, back.drain) == (10, None, None)
    assert rates(every(10, [100, 5], [50, 0])) == (None, None, None)
    assert rates(every(10, [100, 5, 15], [50, 0, 10]))[:2] == (1, 1)
