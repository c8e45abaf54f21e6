"""Burrow's rules: a table per rule, their order, and invariants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.lag.end_offset_history import LagWindow, Observation
from surgetank.lag.rules import (
    LagStatus,
    rule_1_rewind,
    rule_2_no_lag,
    rule_3_stop,
    rule_4_stall,
    rule_5_warn,
    status,
    worst,
)
from tests.unit.lag.histories import every, window

TEN = range(10)
GROWS = [100 * n + 100 for n in TEN]


@pytest.mark.parametrize(
    ("seen", "now", "holds"),
    [
        ([(0, 100, 50), (10, 110, 60)], 10, False),
        ([(0, 100, 50), (10, 110, 20)], 10, True),  # the committed offset decreased
        ([(0, 100, 50), (10, 110, 20), (20, 120, 49)], 20, True),
        ([(0, 100, 50), (10, 110, 20), (20, 120, 50)], 20, False),  # reached again
        ([(0, 100, 50), (10, 110, 20), (20, 120, 10), (30, 130, 49)], 30, True),  # twice: the first offset counts
        ([(0, 100, 100), (10, 5, 0)], 10, True),  # a recreated topic
        ([(0, 100, 100), (10, 5, 5)], 70, True),  # also without lag
        ([(0, 100, 100), (10, 5, 5)], 71, False),  # until a minute has passed
    ],
)
def test_rule_1_matches_after_a_rewind(seen: list[tuple[float, int, int]], now: float, holds: bool) -> None:
    """From the rewind until the earlier offset is reached, or a minute has passed."""
    assert rule_1_rewind(window(seen), now) is holds


@pytest.mark.parametrize(
    ("seen", "holds"),
    [
        ([(0, 100, 100)], True),
        ([(0, 100, 99)], False),
        ([(0, 100, 50), (1, 100, 100)], True),
        ([(0, 100, 120)], True),  # committed beyond the end: no negative lag
    ],
)
def test_rule_2_matches_without_lag(seen: list[tuple[float, int, int]], holds: bool) -> None:
    """By the newest observation alone."""
    assert rule_2_no_lag(window(seen)) is holds


@pytest.mark.parametrize(
    ("silent_for", "members", "holds"),
    [
        (29, False, False),
        (30, False, True),
        (30, True, False),
        (10_000, True, False),  # with members it is a stall
        (30, None, False),
        (90, None, False),
        (91, None, True),
    ],
)
def test_rule_3_matches_without_members(silent_for: float, members: bool | None, holds: bool) -> None:
    """Without members after ``stall_seconds``, with unknown members after three times as long."""
    assert rule_3_stop(window([(0, 100, 50)]), silent_for, members) is holds


def test_rule_3_allows_ten_typical_waits_if_members_are_unknown() -> None:
    """A group that commits once a minute: ten minutes without progress."""
    rare = window((60.0 * n, 1000 * n + 1000, 1000 * n) for n in range(20))
    last = rare.last.at
    assert rare.typical_wait == pytest.approx(60)
    assert not rule_3_stop(rare, last + 540, None)
    assert rule_3_stop(rare, last + 541, None)


@pytest.mark.parametrize(
    ("seen", "now", "holds"),
    [
        ([(0, 100, 50)], 29.9, False),
        ([(0, 100, 50)], 30, True),
        ([(0, 100, 50), (29, 200, 50), (30, 200, 50)], 30, True),
        ([(0, 100, 50), (9, 200, 51)], 38, False),  # progress
        ([(0, 100, 50), (9, 200, 51)], 39, True),
        ([(0, 100, 100), (10_000, 100, 100)], 10_000, False),  # no lag for hours
        ([(0, 100, 100), (10_000, 101, 100)], 10_029, False),  # idle time starts with the lag
        ([(0, 100, 100), (10_000, 101, 100)], 10_030, True),
    ],
)
def test_rule_4_matches_lag_without_progress(seen: list[tuple[float, int, int]], now: float, holds: bool) -> None:
    """For ``stall_seconds`` since the last progress, or since the lag began."""
    assert rule_4_stall(window(seen), now) is holds


def test_rule_4_allows_three_typical_waits() -> None:
    """A group that commits once a minute is stalled after three minutes."""
    rare = window((60.0 * n, 1000 * n + 1000, 1000 * n) for n in range(20))
    assert not rule_4_stall(rare, rare.last.at + 179)
    assert rule_4_stall(rare, rare.last.at + 181)


def test_rule_4_adapts_after_a_long_wait() -> None:
    """After hours without progress and some seconds of progress, the limit is half a minute again."""
    stood = window([(0, 10_000, 50), (7200, 10_000, 60), *((7200.0 + 2 * n, 10_000, 60 + n) for n in range(1, 30))])
    assert stood.stall_seconds == 30


@pytest.mark.parametrize(
    ("ends", "done", "holds"),
    [
        (GROWS, list(TEN), True),
        (GROWS[:9], list(range(9)), False),  # nine are too few
        (GROWS, [100 * n for n in TEN], False),  # a constant delay
        (GROWS, [*range(9), 150], False),  # it fell once
        (GROWS, [100, *range(100, 109)], False),  # it was 0 once
    ],
)
def test_rule_5_matches_growing_lag(ends: list[int], done: list[int], holds: bool) -> None:
    """Ten observations with lag, none lower than the one before, the last higher than the first."""
    assert rule_5_warn(every(10, ends, done)) is holds


@pytest.mark.parametrize(
    ("seen", "now", "members", "expected"),
    [
        ([], 0, True, LagStatus.OK),
        ([(0, 100, 100)], 1000, False, LagStatus.OK),
        ([(0, 100, 100), (1, 5, 5)], 2, True, LagStatus.REWIND),  # before OK
        ([(0, 100, 50), (1, 100, 40)], 40, False, LagStatus.REWIND),  # before STOP
        ([(0, 100, 50)], 40, False, LagStatus.STOP),  # before STALL
        ([(0, 100, 50)], 40, True, LagStatus.STALL),
        ([(0, 100, 50)], 40, None, LagStatus.STALL),
        ([(0, 100, 50)], 100, None, LagStatus.STOP),
        ([(2.0 * n, 100 * n + 100, n) for n in TEN], 18, True, LagStatus.WARN),
        ([(2.0 * n, 100 * n + 100, n) for n in TEN], 48, True, LagStatus.STALL),  # before WARN
        ([(2.0 * n, 100 * n + 100, 100 * n) for n in TEN], 18, True, LagStatus.OK),
    ],
)
def test_the_first_matching_rule_wins(
    seen: list[tuple[float, int, int]], now: float, members: bool | None, expected: LagStatus
) -> None:
    """The rules are evaluated in order."""
    assert status(window(seen), now, members) is expected


def test_the_worst_partition_is_the_status_of_the_group() -> None:
    """A group without partitions is OK."""
    assert worst([LagStatus.OK, LagStatus.STALL, LagStatus.WARN]) is LagStatus.STALL
    assert worst(LagStatus) is LagStatus.REWIND
    assert worst([]) is LagStatus.OK


steps = st.lists(
    st.tuples(
        st.floats(0.1, 120), st.integers(0, 500), st.integers(0, 500), st.sampled_from([False, False, False, True])
    ),
    min_size=1,
    max_size=60,
)


@given(steps=steps, members=st.sampled_from([True, False, None]), later=st.floats(0, 10_000))
def test_each_status_keeps_its_meaning(
    steps: list[tuple[float, int, int, bool]], members: bool | None, later: float
) -> None:
    """No lag is OK or REWIND; recent progress is no STALL or STOP; idle time never improves a status."""
    seen, at, end, done = LagWindow(), 0.0, 0, 0
    for seconds, arrived, worked, back in steps:
        at, end = at + seconds, end + arrived
        before, done = done, (done // 2 if back else min(end, done + worked))
        seen.add(Observation(at, end, done))
        found = status(seen, at, members)
        assert len(seen.observations) <= 10 + 600 / 0.1
        if done == end:
            assert found in {LagStatus.OK, LagStatus.REWIND}
        if done > before:
            assert found not in {LagStatus.STALL, LagStatus.STOP}
        if back and done < before:
            assert found is LagStatus.REWIND
    if status(seen, at, members) in {LagStatus.STALL, LagStatus.STOP}:
        assert status(seen, at + later, members) in {LagStatus.STALL, LagStatus.STOP}
