"""The slope of a worker's memory."""

import pytest

from ops.bench.soak import growth


def test_growth_is_the_slope_after_the_warm_up() -> None:
    """A steep start does not count; what comes after it does, in MiB a minute."""
    memory = [(second, 100.0 + second) for second in range(180)] + [
        (second, 500.0 + 2.0 * second / 60) for second in range(180, 600)
    ]

    assert growth(memory, 3) == pytest.approx(2.0)


def test_too_few_looks_have_no_slope() -> None:
    """One look is no line."""
    with pytest.raises(ValueError, match="too few"):
        growth([(0, 1.0), (200, 1.0)], 3)
