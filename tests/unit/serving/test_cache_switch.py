"""A prediction cache is in use while it pays; else it is tried again, less and less often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.serving.prediction_cache.cache_switch import PAUSE_MAX, WINDOW_SECONDS, CacheSwitch

BATCH_SECONDS = 0.01


def shares_in_use(gains: list[float], seconds: float) -> list[float]:
    """Return the share of batches that used the cache, for successive gains of a batch, each for some seconds."""
    switch, now, shares = CacheSwitch(), 0.0, []
    for gain in gains:
        used, batches = 0, round(seconds / BATCH_SECONDS)
        for _ in range(batches):
            now += BATCH_SECONDS
            if switch.in_use(now):
                used += 1
                switch.used(now, spent=0.001, saved=0.001 + gain)
        shares.append(used / batches)
    return shares


def test_a_cache_that_pays_stays_in_use() -> None:
    """From the first batch on."""
    assert shares_in_use([0.001], 100.0) == [1.0]


def test_a_cache_that_does_not_pay_is_tried_for_a_small_share_of_the_time() -> None:
    """A twentieth in the first minute, a hundredth in an hour."""
    assert 0.03 < shares_in_use([-0.001], 60.0)[0] <= 0.07
    assert shares_in_use([-0.0001], 3600.0)[0] < 0.01


def test_a_cache_that_begins_to_pay_is_in_use_again() -> None:
    """After the pause at the latest, and for good."""
    longest = WINDOW_SECONDS * PAUSE_MAX * 1.1
    shares = shares_in_use([-0.001, 0.001, 0.001], longest)
    assert shares[0] < 0.05
    assert shares[2] == 1.0


def test_one_window_without_gain_is_enough() -> None:
    """And a window of few batches is longer."""
    switch = CacheSwitch()
    for batch in range(8):
        assert switch.in_use(batch)
        switch.used(batch, spent=0.1, saved=0.0)
    assert not switch.in_use(8.0)


@given(batches=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1), st.floats(0, 1)), max_size=200))
def test_a_paused_cache_is_always_tried_again(batches: list[tuple[float, float, float]]) -> None:
    """However long its windows were."""
    switch, now = CacheSwitch(), 0.0
    for passed, spent, saved in batches:
        now += passed
        if switch.in_use(now):
            switch.used(now, spent=spent, saved=saved)
    assert switch.in_use(now + 1e7)


def test_a_gain_of_nothing_is_none() -> None:
    """Without hits nothing is saved, and even a cache that takes no time is paused."""
    assert shares_in_use([0.0], 60.0)[0] == pytest.approx(0.05, abs=0.02)
