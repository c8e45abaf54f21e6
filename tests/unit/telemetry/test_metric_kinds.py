"""Counter, gauge, histogram: right numbers, bounded labels, nothing stale, many threads."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.telemetry.kinds import Counter, Gauge, Histogram, Label, Metric, MetricError

COLOUR = Label("colour", values=frozenset({"red", "green"}))
TOPIC = Label("topic", shape=r"[a-z.]+", bound=3)
PARTITION = Label("partition", shape=r"[0-9]+", bound=1000)

seconds = st.floats(min_value=-1, max_value=1e6, allow_nan=False)
bounds = st.lists(st.floats(min_value=1e-6, max_value=1e5), min_size=1, max_size=12, unique=True).map(sorted)


def told(metric: Metric[float] | Histogram) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the samples that a scraper would see, by name and label values."""
    return {(s.name, tuple(s.labels.values())): s.value for s in metric.family().samples}


def test_a_counter_adds_up_per_label_set() -> None:
    """Amounts of one label set add up; the exposed name ends in _total."""
    counter = Counter("things", "Things.", (TOPIC,))
    counter.add(3, topic="a")
    counter.add(4, topic="a")
    counter.add(topic="b")
    assert told(counter) == {
        ("surgetank_things_total", ("a",)): 7,
        ("surgetank_things_total", ("b",)): 1,
    }


@pytest.mark.parametrize("amount", [-1, -0.1, math.nan])
def test_a_counter_never_falls(amount: float) -> None:
    """A negative or undefined amount is refused and changes nothing."""
    counter = Counter("things", "Things.")
    counter.add(2)
    with pytest.raises(MetricError, match="a counter grows"):
        counter.add(amount)
    assert counter.value() == 2


def test_known_label_sets_start_at_zero() -> None:
    """Where every label lists its values, all label sets are told from the start, at 0."""
    counter = Counter("things", "Things.", (COLOUR, Label("size", values=frozenset({"s", "l"}))))
    assert set(told(counter).values()) == {0}
    assert {labels for _, labels in told(counter)} == {
        ("green", "l"),
        ("green", "s"),
        ("red", "l"),
        ("red", "s"),
    }


def test_a_gauge_goes_up_and_down() -> None:
    """Set and add do what they say, below zero too."""
    gauge = Gauge("level", "Level.")
    gauge.set(5)
    gauge.add(-7)
    assert gauge.value() == -2


def test_a_revoked_partition_leaves_nothing_behind() -> None:
    """After remove the label set is gone from the page; removing it again is no error."""
    gauge = Gauge("lag", "Lag.", (TOPIC, PARTITION))
    gauge.set(10, topic="a", partition=0)
    gauge.set(20, topic="a", partition=1)
    gauge.remove(topic="a", partition=0)
    gauge.remove(topic="a", partition=0)
    assert told(gauge) == {("surgetank_lag", ("a", "1")): 20}
    assert gauge.value(topic="a", partition=0) is None


def test_replace_swaps_all_label_sets_at_once() -> None:
    """Replace tells exactly what was given; what was there before and is not named vanishes."""
    gauge = Gauge("lag", "Lag.", (TOPIC, PARTITION))
    gauge.replace({("a", 0): 1, ("a", 1): 2})
    gauge.replace({("b", 1): 3, ("a", 1): 4})
    assert told(gauge) == {("surgetank_lag", ("b", "1")): 3, ("surgetank_lag", ("a", "1")): 4}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({("a", 0): 1.0, ("a",): 2.0}, "value for each of its labels"),
        ({("a", 0): 1.0, ("KEY", 1): 2.0}, "topic='KEY' is not allowed"),
        ({(name, 0): 1.0 for name in ("a", "b", "c", "d")}, "4 values of label topic; its bound is 3"),
    ],
)
def test_a_refused_replace_changes_nothing(values: dict[tuple[str, int], float], message: str) -> None:
    """What is not allowed is refused as a whole, and the values from before stay."""
    gauge = Gauge("lag", "Lag.", (TOPIC, PARTITION))
    gauge.replace({("z", 9): 1})
    with pytest.raises(MetricError, match=message):
        gauge.replace(values)
    assert told(gauge) == {("surgetank_lag", ("z", "9")): 1}


@pytest.mark.parametrize(
    "write",
    [
        lambda counter: counter.add(1),
        lambda counter: counter.add(1, topic="a"),
        lambda counter: counter.add(1, topic="a", colour="red", key="x"),
        lambda counter: counter.add(1, topic="a", color="red"),
    ],
)
def test_labels_must_be_the_declared_ones(write: Callable[[Counter], None]) -> None:
    """Missing, additional and misspelt labels are refused; the message lists the declared ones."""
    with pytest.raises(MetricError, match=r"surgetank_things: labels given: .*; declared: topic, colour"):
        write(Counter("things", "Things.", (TOPIC, COLOUR)))


def test_a_value_outside_a_closed_label_is_refused() -> None:
    """A label that lists its values takes no other, and the message lists them."""
    with pytest.raises(MetricError, match="colour='blue' is not allowed: it is one of green, red"):
        Counter("things", "Things.", (COLOUR,)).add(colour="blue")


@given(keys=st.lists(st.text(alphabet="abcdefgh.", min_size=1, max_size=8), min_size=1, max_size=50))
def test_the_keys_of_events_cannot_become_labels(keys: list[str]) -> None:
    """However many different values are written, no more label sets than the bound ever exist."""
    counter = Counter("things", "Things.", (TOPIC,))
    counted = 0
    for key in keys:
        with suppress(MetricError):
            counter.add(topic=key)
            counted += 1
    first_three = list(dict.fromkeys(keys))[:3]
    assert {labels for _, labels in told(counter)} == {(key,) for key in first_three}
    assert sum(told(counter).values()) == counted == sum(key in first_three for key in keys)


def test_a_removed_value_makes_room_within_the_bound() -> None:
    """The bound counts what is there now, so partitions that come and go never exhaust it."""
    gauge = Gauge("lag", "Lag.", (TOPIC,))
    for name in ("a", "b", "c"):
        gauge.set(1, topic=name)
    gauge.remove(topic="b")
    gauge.set(1, topic="d")
    assert {labels for _, labels in told(gauge)} == {("a",), ("c",), ("d",)}


@pytest.mark.parametrize(
    ("values", "shape", "bound"), [(frozenset(), "", 0), (frozenset(), "x+", 0), (frozenset({"a"}), "x+", 3)]
)
def test_a_label_without_a_bound_cannot_be_declared(values: frozenset[str], shape: str, bound: int) -> None:
    """A label either lists its values or has a shape and a bound."""
    with pytest.raises(MetricError, match="declare either its values, or its shape and its bound"):
        Label("key", values=values, shape=shape, bound=bound)


@given(values=st.lists(seconds, max_size=200), buckets=bounds, cut=st.integers(0, 200))
def test_a_histogram_counts_as_a_naive_one_would(values: list[float], buckets: list[float], cut: int) -> None:
    """Buckets are cumulated and inclusive, negatives are 0; it does not matter in how many calls."""
    histogram = Histogram("wait", "Wait.", buckets=buckets, unit="seconds")
    histogram.observe_many(np.array(values[:cut], dtype=np.float64))
    for value in values[cut:]:
        histogram.observe(value)
    samples = told(histogram)
    clipped = [max(value, 0.0) for value in values]
    for bound in buckets:
        expected = sum(value <= bound for value in clipped)
        assert samples["surgetank_wait_seconds_bucket", (str(bound),)] == expected
    assert samples["surgetank_wait_seconds_bucket", ("+Inf",)] == len(values)
    assert samples["surgetank_wait_seconds_count", ()] == histogram.count() == len(values)
    assert samples["surgetank_wait_seconds_sum", ()] == pytest.approx(math.fsum(clipped))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_histogram_refuses_what_would_poison_its_sum(value: float) -> None:
    """A column with a value that is not finite is refused as a whole."""
    histogram = Histogram("wait", "Wait.", buckets=(1, 2))
    with pytest.raises(MetricError, match="must be finite"):
        histogram.observe_many(np.array([1.0, value]))
    assert histogram.count() == 0


@pytest.mark.parametrize("buckets", [(), (2, 1), (1, 1), (1, math.inf)])
def test_buckets_must_rise(buckets: tuple[float, ...]) -> None:
    """Empty, falling, repeated and infinite bounds are refused when declared."""
    with pytest.raises(MetricError, match="buckets must be finite and rise"):
        Histogram("wait", "Wait.", buckets=buckets)


def test_timing_a_block_counts_it_also_when_it_raises() -> None:
    """The time of a block is observed once, with and without an exception, which goes on."""
    histogram = Histogram("wait", "Wait.", (COLOUR,), buckets=(1, 2))
    with histogram.time(colour="red"):
        pass
    with pytest.raises(ZeroDivisionError), histogram.time(colour="red"):
        _ = 1 / 0
    assert histogram.count(colour="red") == 2
    assert histogram.count(colour="green") == 0


def test_nothing_is_lost_between_threads() -> None:
    """Eight threads that write to the same label sets while a ninth scrapes add up exactly."""
    counter = Counter("things", "Things.", (TOPIC,))
    histogram = Histogram("wait", "Wait.", buckets=(1, 2))
    gauge = Gauge("level", "Level.")
    column = np.array([0.5, 1.5, 2.5])

    def write(_: int) -> None:
        for step in range(500):
            counter.add(2, topic="abc"[step % 3])
            histogram.observe_many(column)
            gauge.add(1)

    with ThreadPoolExecutor(9) as pool:
        writing = [pool.submit(write, thread) for thread in range(8)]
        while not all(each.done() for each in writing):
            cumulated = [value for (name, _), value in told(histogram).items() if name.endswith("_bucket")]
            assert cumulated == sorted(cumulated)
        for each in writing:
            each.result()
    assert sum(told(counter).values()) == 8 * 500 * 2
    assert histogram.count() == 8 * 500 * 3
    assert gauge.value() == 8 * 500


@pytest.mark.parametrize(
    ("name", "unit", "help_text"), [("Bad", "", "x"), ("a-b", "", "x"), ("a", "s!", "x"), ("a", "", "")]
)
def test_a_metric_needs_a_proper_name_and_a_help_text(name: str, unit: str, help_text: str) -> None:
    """Names that Prometheus would mangle and metrics that explain nothing cannot be declared."""
    with pytest.raises(MetricError):
        Gauge(name, help_text, unit=unit)
