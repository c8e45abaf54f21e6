"""The cost of a batch is found from measured batches: any line, with outliers, after a change, with few sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.serving.batch_cost import BatchCost, CostLine
from surgetank.serving.recent_mean import RecentMean

SIZES = [1, 3, 20, 90, 400, 3000, 8192]


def measured(line: CostLine, sizes: list[int], times: int = 9) -> BatchCost:
    """Return the cost after batches of these sizes in turn."""
    cost = BatchCost()
    for _ in range(times):
        for rows in sizes:
            cost.add(rows, line.seconds(rows))
    return cost


def line_of(cost: BatchCost) -> CostLine:
    """Return the line, which must be known."""
    assert cost.line is not None
    return cost.line


def test_nothing_is_known_before_the_first_batch() -> None:
    """And a batch without rows or without a duration says nothing."""
    cost = BatchCost()
    cost.add(0, 1.0)
    cost.add(5, 0.0)
    assert cost.line is None
    assert cost.measured_rows == 0


@given(row=st.floats(1e-7, 1e-2), fixed=st.floats(1e-5, 0.1), sizes=st.permutations(SIZES))
def test_exact_measurements_give_the_exact_line(row: float, fixed: float, sizes: list[int]) -> None:
    """In whatever order the sizes come."""
    found = line_of(measured(CostLine(row, fixed), sizes))
    for rows in SIZES:
        assert found.seconds(rows) == pytest.approx(row * rows + fixed, rel=1e-6)


@given(rows=st.integers(1, 8192), seconds=st.floats(1e-6, 10.0))
def test_one_size_gives_a_proportional_line(rows: int, seconds: float) -> None:
    """What a batch costs that has no rows is not known then."""
    found = line_of(measured(CostLine(0.0, seconds), [rows]))
    assert found.fixed_seconds == 0
    assert found.seconds(rows) == pytest.approx(seconds)


@given(
    measurements=st.lists(st.tuples(st.integers(1, 10_000), st.floats(1e-6, 100.0)), min_size=1, max_size=60),
)
def test_no_measurement_gives_a_negative_cost(measurements: list[tuple[int, float]]) -> None:
    """Whatever was measured, more rows do not take less time."""
    cost = BatchCost()
    for rows, seconds in measurements:
        cost.add(rows, seconds)
        found = line_of(cost)
        assert found.row_seconds >= 0
        assert found.fixed_seconds >= 0
        assert found.seconds(1) > 0


def test_pauses_in_a_tenth_of_the_batches_change_little() -> None:
    """A batch in ten takes fifty times as long."""
    true, cost, random = CostLine(2e-6, 1e-3), BatchCost(), np.random.default_rng(1)
    for _ in range(500):
        rows = int(2 ** random.uniform(0, 13))
        cost.add(rows, true.seconds(rows) * (50 if random.random() < 0.1 else random.uniform(0.9, 1.1)))
    for rows in (64, 1024, 8192):
        assert line_of(cost).seconds(rows) == pytest.approx(true.seconds(rows), rel=0.25)


def test_a_slower_model_is_noticed_within_few_batches_of_one_size() -> None:
    """Other sizes were measured with the fast one only."""
    cost = measured(CostLine(2e-6, 1e-3), SIZES)
    slow = CostLine(2e-5, 1e-2)
    for _ in range(6):
        cost.add(90, slow.seconds(90))
    assert line_of(cost).seconds(90) == pytest.approx(slow.seconds(90), rel=0.01)
    assert line_of(cost).seconds(400) == pytest.approx(slow.seconds(400), rel=0.5)


def test_a_size_of_long_ago_still_tells_fixed_and_variable_cost_apart() -> None:
    """A thousand batches of one size later the line is the same."""
    true = CostLine(2e-3, 3e-3)
    cost = measured(true, [4, 60])
    for _ in range(1000):
        cost.add(5, true.seconds(5))
    assert line_of(cost).fixed_seconds == pytest.approx(3e-3, rel=0.05)
    assert line_of(cost).row_seconds == pytest.approx(2e-3, rel=0.05)


def test_a_mean_follows_its_values_and_limits_outliers() -> None:
    """One value a hundred times as large moves it by an eighth of the mean."""
    mean = RecentMean()
    for _ in range(50):
        mean.add(0.01)
    mean.add(1.0)
    assert mean.mean == pytest.approx(0.01125)
    for _ in range(200):
        mean.add(0.03)
    assert mean.mean == pytest.approx(0.03, rel=0.01)
    assert mean.deviation < 0.001


def test_a_mean_of_zeros_can_rise() -> None:
    """The limit of outliers is none while the mean is 0."""
    mean = RecentMean()
    mean.add(0.0)
    mean.add(2.0)
    assert mean.mean == 1.0


def test_a_size_that_is_alone_for_long_does_not_make_the_line_noise() -> None:
    """The weight of other sizes vanishes; then a batch costs in proportion to its rows."""
    cost = BatchCost()
    cost.add(1_000, 3.0)
    for _ in range(60_000):
        cost.add(10, 0.03)
    assert cost.line is not None
    assert np.isclose(cost.line.seconds(8_192), 8_192 * 0.003, rtol=0.05)
