"""The intended times of sending."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from surgetank.drills.pacing import Spike, at_rate, at_speed, intended, parse_speed, parse_spike

rates = st.floats(0.5, 100_000)


@st.composite
def spike_lists(draw: st.DrawFn) -> list[Spike]:
    """Up to four spikes that do not overlap, in any order."""
    spikes, free = [], 0.0
    for _ in range(draw(st.integers(0, 4))):
        start = free + draw(st.floats(0, 20))
        spikes.append(Spike(draw(st.floats(0.1, 50)), start, draw(st.floats(0.01, 20))))
        free = spikes[-1].end + 1e-6
    return draw(st.permutations(spikes))


def events_until(second: float, rate: float, spikes: list[Spike]) -> float:
    """How many events a naive reading of the rate makes due until a second: the area under the rate."""
    extra = sum((spike.factor - 1) * max(0.0, min(second, spike.end) - spike.start) for spike in spikes)
    return rate * (second + extra)


@settings(deadline=None)
@example(rate=1.0, spikes=[Spike(2.0, 5e-324, 1.0)], count=1)
@given(rates, spike_lists(), st.integers(1, 5000))
def test_times_start_at_zero_and_never_fall(rate: float, spikes: list[Spike], count: int) -> None:
    """The first event is due at once, and events are due in their order."""
    due = intended(count, rate, spikes)
    assert due.shape == (count,)
    assert due[0] == 0.0
    assert (np.diff(due) >= 0).all()


@settings(deadline=None)
@given(rates, spike_lists(), st.integers(1, 2000))
def test_each_event_is_due_when_the_area_under_the_rate_reaches_it(
    rate: float, spikes: list[Spike], count: int
) -> None:
    """Event number i is due when the rate, spikes included, has made room for i events."""
    due = intended(count, rate, spikes)
    for number in {0, 1, count // 2, count - 1} & set(range(count)):
        assert events_until(float(due[number]), rate, spikes) == pytest.approx(number, rel=1e-6, abs=1e-4)


@settings(deadline=None)
@given(rates, spike_lists(), st.integers(0, 3000), st.integers(1, 500))
def test_a_stretch_is_due_as_in_the_whole(rate: float, spikes: list[Spike], start: int, count: int) -> None:
    """Asking piece by piece gives the times that asking for all at once gives."""
    whole = at_rate(rate, spikes)(0, start + count)
    np.testing.assert_allclose(at_rate(rate, spikes)(start, start + count), whole[start:], rtol=1e-9, atol=1e-9)


def test_a_spike_sends_its_factor_more_for_its_length() -> None:
    """100 a second with 10x from second 20 for 15 seconds: 15,000 events in it, else 100 a second."""
    due = intended(30_000, 100, [parse_spike("10x@20s+15s")])
    assert ((due >= 20) & (due < 35)).sum() == pytest.approx(15_000, abs=1)
    assert (due < 20).sum() == pytest.approx(2_000, abs=1)
    assert ((due >= 35) & (due < 36)).sum() == pytest.approx(100, abs=1)


@settings(deadline=None)
@given(st.floats(0.1, 1000), st.floats(0, 1000), st.floats(0.1, 1000))
def test_a_spike_is_read_as_it_is_written(factor: float, start: float, length: float) -> None:
    """What a spike prints is what the command line accepts for it."""
    spike = Spike(*(float(f"{value:.3f}") for value in (factor, start, length)))
    assert parse_spike(f"{spike.factor:.3f}x@{spike.start:.3f}s+{spike.length:.3f}s") == spike


@pytest.mark.parametrize("text", ["", "10x", "10@20s+15s", "10x@20+15", "x@1s+1s", "10x@20s+15s+1s", "-1x@0s+1s"])
def test_a_malformed_spike_is_refused_with_the_form_to_use(text: str) -> None:
    """The error repeats what was written and shows how to write it."""
    with pytest.raises(ValueError, match="10x@20s\\+15s") as caught:
        parse_spike(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["0x@1s+1s", "2x@1s+0s"])
def test_a_spike_without_rate_or_length_is_refused(text: str) -> None:
    """A factor or length of zero has no meaning."""
    with pytest.raises(ValueError, match="more than 0"):
        parse_spike(text)


def test_overlapping_spikes_are_refused_by_name() -> None:
    """Two spikes at once are ambiguous; the error names both."""
    with pytest.raises(ValueError, match=r"10x@20s\+15s and 2x@30s\+1s overlap"):
        at_rate(100, [parse_spike("2x@30s+1s"), parse_spike("10x@20s+15s")])


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    """A rate must be a number above zero."""
    with pytest.raises(ValueError, match="rate"):
        at_rate(rate)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50), st.floats(0.1, 10_000))
def test_speed_keeps_the_distances_of_the_recording(times: list[int], speed: float) -> None:
    """At 600x two events ten minutes apart are sent one second apart; the first goes at once."""
    recorded = np.sort(np.array(times, dtype=np.int64))
    due = at_speed(speed, lambda start, stop: recorded[start:stop])(0, len(recorded))
    np.testing.assert_allclose(due, (recorded - recorded[0]) / 1000 / speed)


def test_a_speed_is_read_with_or_without_its_x() -> None:
    """600x and 600 mean the same; nothing below or at zero is a speed."""
    assert parse_speed("600x") == parse_speed("600") == 600.0
    for text in ("0x", "fast", "-2x", ""):
        with pytest.raises(ValueError, match="600x"):
            parse_speed(text)
