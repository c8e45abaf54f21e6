"""The size of a batch for a latency target: each bound and its reason."""

from dataclasses import replace
from math import ceil, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.serving.batch_cost import CostLine
from surgetank.serving.batch_size_choice import (
    BatchLimits,
    Measured,
    Reason,
    choose,
    paying_rows,
)

LIMITS = BatchLimits(target=0.1, cap=8192, model_rows_max=1 << 40, buffer_rows=40_000)
SLOW = CostLine(2e-3, 3e-3)
CALM = Measured(SLOW, largest=1000, commit=0.012, slow_commit=0.012, arrivals=100.0)

lines = st.builds(CostLine, st.floats(0.0, 0.1), st.floats(0.0, 1.0)).filter(lambda line: line.seconds(1) > 0)
known = st.builds(
    Measured,
    st.none() | lines,
    st.integers(1, 20_000),
    st.floats(0.0, 1.0),
    st.floats(0.0, 2.0),
    st.floats(0.0, 1e6),
    st.floats(1.0, 1e5) | st.just(inf),
)
limits = st.builds(
    BatchLimits, st.floats(1e-3, 10.0), st.integers(1, 10_000), st.integers(1, 1 << 40), st.integers(1, 50_000)
)


@given(limits=limits, measured=known, waiting=st.integers(0, 1_000_000))
def test_a_batch_has_one_row_at_least_and_the_cap_at_most(
    limits: BatchLimits, measured: Measured, waiting: int
) -> None:
    """Several calls of the model are whole calls."""
    size = choose(limits, measured, waiting)
    assert 1 <= size.rows <= limits.cap
    assert size.backlog_rows >= 1
    assert size.rows <= limits.model_rows_max or size.rows % limits.model_rows_max == 0


def test_a_batch_and_its_commit_take_half_of_the_target() -> None:
    """The oldest row waits for the batch before, too: 2 * (2 ms * 17 + 3 ms + 12 ms) = 98 ms."""
    size = choose(LIMITS, CALM, 0)
    assert (size.rows, size.reason) == (17, Reason.COST)


@given(target=st.floats(0.06, 5.0), commit=st.floats(0.0, 0.01), row=st.floats(1e-6, 5e-3), fixed=st.floats(0, 5e-3))
def test_the_largest_size_within_the_target_is_chosen(target: float, commit: float, row: float, fixed: float) -> None:
    """One row more would exceed it."""
    line = CostLine(row, fixed)
    measured = Measured(line, largest=1 << 40, commit=commit, slow_commit=commit)
    size = choose(replace(LIMITS, target=target, cap=1 << 40), measured, 0)
    assert size.reason is Reason.COST
    assert 2 * (line.seconds(size.rows) + commit) <= target * (1 + 1e-9)
    assert 2 * (line.seconds(size.rows + 1) + commit) > target * (1 - 1e-9)


def test_slow_commits_leave_less_time_for_the_batch() -> None:
    """A deviation of 4 ms costs two rows of 2 ms."""
    assert choose(LIMITS, replace(CALM, slow_commit=0.016), 0).rows == 15


def test_the_safety_loop_takes_away() -> None:
    """Its bound holds while it is the smaller one."""
    assert choose(LIMITS, replace(CALM, safety=9.7), 0).rows == 9
    assert choose(LIMITS, replace(CALM, safety=9.7), 0).reason is Reason.SAFETY
    assert choose(LIMITS, replace(CALM, safety=40.0), 0).reason is Reason.COST


def test_a_batch_is_not_computed_faster_than_a_commit() -> None:
    """It would wait for the commit in progress: (12 ms - 3 ms) / 2 ms = 5 rows, although the target allows none."""
    size = choose(replace(LIMITS, target=0.02), CALM, 0)
    assert (size.rows, size.reason) == (5, Reason.LOAD)
    assert size.least_seconds == pytest.approx(2 * (0.005 + 0.012))


def test_a_batch_is_large_enough_to_keep_up_with_the_arrivals() -> None:
    """At 430 rows/s, of 500 that any size can do, 20 rows at a time do 465; much smaller batches fall behind."""
    size = choose(replace(LIMITS, target=0.03), replace(CALM, arrivals=430.0), 0)
    assert (size.rows, size.reason) == (20, Reason.LOAD)
    assert size.rows / SLOW.seconds(size.rows) >= 430 + 0.5 * (500 - 430)


def test_arrivals_that_no_size_can_keep_up_with_get_the_size_that_pays() -> None:
    """It is the largest one that a target out of reach ever gives."""
    size = choose(replace(LIMITS, target=0.03), replace(CALM, arrivals=10_000.0), 0)
    assert size.rows == ceil(paying_rows(SLOW)) == 49
    assert size.rows / SLOW.seconds(size.rows) >= 0.969 / SLOW.row_seconds


def test_a_backlog_gets_throughput_instead_of_small_batches() -> None:
    """More than 1.5 targets of work wait."""
    calm, lagging = choose(LIMITS, CALM, 60), choose(LIMITS, CALM, 10_000)
    assert not calm.lagging
    assert (lagging.rows, lagging.reason, lagging.lagging) == (48, Reason.BACKLOG, True)
    assert choose(LIMITS, replace(CALM, line=CostLine(2.6e-3, 0.0)), 10_000).rows == 38
    assert choose(LIMITS, CALM, lagging.backlog_rows).lagging
    assert not choose(LIMITS, CALM, lagging.backlog_rows - 1).lagging
    assert choose(LIMITS, replace(CALM, safety=1.0), 10_000).rows == 48


def test_half_a_buffer_of_waiting_rows_is_a_backlog() -> None:
    """However fast the model is: the rest of the backlog is not in the buffer."""
    fast = Measured(CostLine(1e-7, 1e-3), largest=8192, commit=0.01, slow_commit=0.01)
    assert choose(LIMITS, fast, 20_000).lagging
    assert not choose(LIMITS, fast, 19_999).lagging


def test_sizes_that_were_never_measured_are_approached_in_steps() -> None:
    """The cost of a batch of 8,192 rows is not known from batches of 100."""
    cheap = Measured(CostLine(1e-6, 1e-3), largest=100, commit=0.01, slow_commit=0.01)
    assert (choose(LIMITS, cheap, 0).rows, choose(LIMITS, cheap, 0).reason) == (200, Reason.UNKNOWN)
    assert (choose(LIMITS, Measured(None), 0).rows, choose(LIMITS, Measured(None), 0).reason) == (64, Reason.UNKNOWN)


def test_a_cheap_model_gets_the_whole_batch() -> None:
    """The target allows more than worker.batch_rows_max."""
    free = Measured(CostLine(0.0, 1e-3), largest=8192, commit=0.01, slow_commit=0.01)
    assert (choose(LIMITS, free, 0).rows, choose(LIMITS, free, 0).reason) == (8192, Reason.CAP)
    tiny = replace(LIMITS, cap=1)
    assert (choose(tiny, CALM, 0).rows, choose(tiny, CALM, 0).reason) == (1, Reason.CAP)


def test_a_batch_of_several_calls_of_the_model_has_whole_ones() -> None:
    """A call that is not full costs as much as a full one where the model pads it."""
    assert choose(replace(LIMITS, model_rows_max=8), CALM, 0).rows == 16
    assert choose(replace(LIMITS, model_rows_max=18), CALM, 0).rows == 17
