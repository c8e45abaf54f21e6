"""The breaker trips on the share of dead letters in a window, and on nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.processing.dead_letter_limit import DeadLetterLimit

BATCHES = st.lists(
    st.tuples(st.floats(0, 5), st.integers(0, 50), st.floats(0, 1)).map(lambda t: (t[0], t[1], int(t[1] * t[2]))),
    max_size=60,
)


def test_a_good_stream_never_trips() -> None:
    """Few dead letters among many events are no reason to stop."""
    breaker = DeadLetterLimit(share_max=0.5, window_seconds=60, minimum_events=100)
    for second in range(500):
        breaker.observe(second, events=100, dead=50)
        assert breaker.tripped(second) is None


def test_too_many_dead_letters_trip_with_the_numbers() -> None:
    """More than the share trips; the message has counts, share, window and bound."""
    breaker = DeadLetterLimit(share_max=0.5, window_seconds=60, minimum_events=1000)
    breaker.observe(10.0, events=1000, dead=501)
    said = breaker.tripped(10.0)
    assert said is not None
    for number in ("501 of the last 1000", "50.1%", "60 s", "at most 50.0%"):
        assert number in said
    assert "`surgetank dead-letters stats`, remove the cause, start again" in said
    assert said.endswith("again with `surgetank dead-letters replay`")


def test_few_events_do_not_trip() -> None:
    """Before the window holds the minimum nothing trips, even if all events died."""
    breaker = DeadLetterLimit(share_max=0.5, window_seconds=60, minimum_events=1000)
    breaker.observe(0.0, events=999, dead=999)
    assert breaker.tripped(0.0) is None
    breaker.observe(1.0, events=1, dead=0)
    assert breaker.tripped(1.0) is not None


def test_nothing_observed_does_not_trip() -> None:
    """A breaker that saw nothing is quiet."""
    assert DeadLetterLimit(share_max=0.1, window_seconds=1, minimum_events=1).tripped(1e9) is None


@pytest.mark.parametrize(("later", "trips"), [(58.9, True), (61.0, False)])
def test_the_window_slides(later: float, trips: bool) -> None:
    """What is older than the window is forgotten, also when nothing new is observed."""
    breaker = DeadLetterLimit(share_max=0.5, window_seconds=60, minimum_events=10)
    breaker.observe(100.0, events=10, dead=10)
    assert (breaker.tripped(100.0 + later) is not None) is trips


def test_a_clock_that_goes_back_loses_nothing() -> None:
    """A time before the last one counts as the last one."""
    breaker = DeadLetterLimit(share_max=0.5, window_seconds=60, minimum_events=10)
    breaker.observe(100.0, events=5, dead=5)
    breaker.observe(10.0, events=5, dead=5)
    assert breaker.tripped(11.0) is not None
    assert breaker.tripped(100.0) is not None
    assert breaker.tripped(161.0) is None


@given(batches=BATCHES, share=st.floats(0.01, 1), window=st.floats(1, 20), minimum=st.integers(1, 200))
def test_it_counts_as_a_list_of_all_batches_would(
    batches: list[tuple[float, int, int]], share: float, window: float, minimum: int
) -> None:
    """At each moment it trips exactly if the batches of the last 60 buckets, counted naively, say so."""
    breaker = DeadLetterLimit(share, window, minimum)
    now, seen = 0.0, []
    for wait, events, dead in batches:
        now += wait
        breaker.observe(now, events, dead)
        seen.append((int(now // (window / 60)), events, dead))
        last = seen[-1][0]
        total = sum(events for number, events, _ in seen if number > last - 60)
        died = sum(dead for number, _, dead in seen if number > last - 60)
        assert (breaker.tripped(now) is not None) is (total >= minimum and died > share * total)
