"""The longest silence of a partition around a rebalance."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.drills.rebalance_pauses import longest_gap


@pytest.mark.parametrize(
    ("times", "start", "stop", "gap"),
    [
        ([0, 1, 2, 3], 0.5, 2.5, 1.0),
        ([0, 1, 5, 6], 2, 3, 4.0),  # a silence counts whole, also what of it lies outside
        ([0, 4, 5, 6, 9], 5, 6, 1.0),  # one that lies outside does not
        ([0, 1], 0, 10, 9.0),  # nothing more came: silent to the end
        ([8, 9], 0, 9, 8.0),
        ([], 0, 3, 3.0),
    ],
)
def test_silences_that_touch_the_window_count(times: list[float], start: float, stop: float, gap: float) -> None:
    """Each interval between arrivals that has a part in the window counts whole; the edges count as far as it goes."""
    assert longest_gap(np.array(times, dtype=float), start, stop) == gap


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.floats(0, 100), st.floats(0, 50))
def test_the_longest_is_found_whatever_comes(times: list[float], start: float, length: float) -> None:
    """It is the longest of all intervals that overlap the window, found one by one."""
    stop = start + length
    rising = sorted(times)
    edges = [min(start, rising[0]), *rising, max(stop, rising[-1])]
    overlapping = [b - a for a, b in itertools.pairwise(edges) if b > start and a < stop]

    found = longest_gap(np.array(rising), start, stop)

    assert found >= max(overlapping, default=0.0)
    assert found in [b - a for a, b in itertools.pairwise(edges)]
