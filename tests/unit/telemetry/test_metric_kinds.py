"""Counter, gauge, histogram: values, bounded labels, removal, thread safety."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.telemetry.kinds import Counter, Gauge, Histogram, Label, Metric, MetricError

COLOUR = Label("colour", values=frozenset({"red", "green"}))
TOPIC = Label("topic", shape=r"[a-z.]+", bound=3)
PARTITION = Label("partition", shape=r"[0-9]+", bound=1000)

seconds = st.floats(min_value=-1, max_value=1e6, allow_nan=False)
bounds = st.lists(st.floats(min_value=1e-6, max_value=1e5), min_size=1, max_size=12, unique=True).map(sorted)


def samples_of(metric: Metric[float] | Histogram) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the samples of a scrape, by name and label values."""
    return {(s.name, tuple(s.labels.values())): s.value for s in metric.family().samples}


def test_a_counter_adds_up_per_label_set() -> None:
    """Amounts of one label set add up; the exposed name ends in _total."""
    counter = Counter("things", "Things.", (TOPIC,))
    counter.add(3, topic="a")
    counter.add(4, topic="a")
    counter.add(topic="b")
    assert samples_of(counter) == {
        ("surgetank_things_total", ("a",)): 7,
        ("surgetank_things_total", ("b",)): 1,
    }


@pytest.mark.parametrize("amount", [-1, -0.1, math.nan])
def test_a_counter_never_decreases(amount: float) -> None:
    """A negative or undefined amount is refused and changes nothing."""
    counter = Counter("things", "Things.")
    counter.add(2)
    with pytest.raises(MetricError, match="a counter cannot decrease"):
        counter.add(amount)
    assert counter.value() == 2


def test_known_label_sets_start_at_zero() -> None:
    """If every label lists its values, all label sets are exposed from the start with 0."""
    counter = Counter("things", "Things.", (COLOUR, Label("size", values=frozenset({"s", "l"}))))
    assert set(samples_of(counter).values()) == {0}
    assert {labels for _, labels in samples_of(counter)} == {
        ("green", "l"),
        ("green", "s"),
        ("red", "l"),
        ("red", "s"),
    }


def test_a_gauge_increases_and_decreases() -> None:
    """By set and add, also below zero."""
    gauge = Gauge("level", "Level.")
    gauge.set(5)
    gauge.add(-7)
    assert gauge.value() == -2


def test_a_removed_label_set_is_not_exposed() -> None:
    """A second remove does nothing."""
    gauge = Gauge("lag", "Lag.", (TOPIC, PARTITION))
    gauge.set(10, topic="a", partition=0)
    gauge.set(20, topic="a", partition=1)
    gauge.remove(topic="a", partition=0)
    gauge.remove(topic="a", partition=0)
    assert samples_of(gauge) == {("surgetank_lag", ("a", "1")): 20}
    assert gauge.value(topic="a", partition=0) is None


def test_replace_sets_all_label_sets_at_once() -> None:
    """Label sets that are not named are removed."""
    gauge = Gauge("lag", "Lag.", (TOPIC, PARTITION))
    gauge.replace({("a", 0): 1, ("a", 1): 2})
    gauge.replace({("b", 1): 3, ("a", 1): 4})
    assert samples_of(gauge) == {("surgetank_lag", ("b", "1")): 3, ("surgetank_lag", ("a", "1")): 4}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({("a", 0): 1.0, ("a",): 2.0}, "value for each label"),
        ({("a", 0): 1.0, ("KEY", 1): 2.0}, "topic='KEY' is not allowed"),
        ({(name, 0): 1.0 for name in ("a", "b", "c", "d")}, "4 values of label topic; its bound is 3"),
    ],
)
def test_a_refused_replace_changes_nothing(values: dict[tuple[str, int], float], message: str) -> None:
    """An invalid replace is refused as a whole."""
    gauge = Gauge("lag", "Lag.", (TOPIC, PARTITION))
    gauge.replace({("z", 9): 1})
    with pytest.raises(MetricError, match=message):
        gauge.replace(values)
    assert samples_of(gauge) == {("surgetank_lag", ("z", "9")): 1}


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
    """Missing, additional and misspelt labels are refused; the error lists the declared labels."""
    with pytest.raises(MetricError, match=r"surgetank_things: labels given: .*; declared: topic, colour"):
        write(Counter("things", "Things.", (TOPIC, COLOUR)))


def test_an_unlisted_label_value_is_refused() -> None:
    """The error lists the allowed values."""
    with pytest.raises(MetricError, match="colour='blue' is not allowed: it must be one of green, red"):
        Counter("things", "Things.", (COLOUR,)).add(colour="blue")


@given(keys=st.lists(st.text(alphabet="abcdefgh.", min_size=1, max_size=8), min_size=1, max_size=50))
def test_label_sets_never_exceed_the_bound(keys: list[str]) -> None:
    """Whatever number of values is written."""
    counter = Counter("things", "Things.", (TOPIC,))
    counted = 0
    for key in keys:
        with suppress(MetricError):
            counter.add(topic=key)
            counted += 1
    first_three = list(dict.fromkeys(keys))[:3]
    assert {labels for _, labels in samples_of(counter)} == {(key,) for key in first_three}
    assert sum(samples_of(counter).values()) == counted == sum(key in first_three for key in keys)


def test_a_removed_value_makes_room_within_the_bound() -> None:
    """The bound counts existing values, so revoked partitions do not exhaust it."""
    gauge = Gauge("lag", "Lag.", (TOPIC,))
    for name in ("a", "b", "c"):
        gauge.set(1, topic=name)
    gauge.remove(topic="b")
    gauge.set(1, topic="d")
    assert {labels for _, labels in samples_of(gauge)} == {("a",), ("c",), ("d",)}


@pytest.mark.parametrize(
    ("values", "shape", "bound"), [(frozenset(), "", 0), (frozenset(), "x+", 0), (frozenset({"a"}), "x+", 3)]
)
def test_a_label_without_a_bound_cannot_be_declared(values: frozenset[str], shape: str, bound: int) -> None:
    """A label either lists its values or has a shape and a bound."""
    with pytest.raises(MetricError, match="declare either its values, or its shape and its bound"):
        Label("key", values=values, shape=shape, bound=bound)


@given(values=st.lists(seconds, max_size=200), buckets=bounds, cut=st.integers(0, 200))
def test_a_histogram_equals_a_naive_implementation(values: list[float], buckets: list[float], cut: int) -> None:
    """Buckets are cumulative and inclusive, negative values are 0; the number of calls does not matter."""
    histogram = Histogram("wait", "Wait.", buckets=buckets, unit="seconds")
    histogram.observe_many(np.array(values[:cut], dtype=np.float64))
    for value in values[cut:]:
        histogram.observe(value)
    samples = samples_of(histogram)
    clipped = [max(value, 0.0) for value in values]
    for bound in buckets:
        expected = sum(value <= bound for value in clipped)
        assert samples["surgetank_wait_seconds_bucket", (str(bound),)] == expected
    assert samples["surgetank_wait_seconds_bucket", ("+Inf",)] == len(values)
    assert samples["surgetank_wait_seconds_count", ()] == histogram.count() == len(values)
    assert samples["surgetank_wait_seconds_sum", ()] == pytest.approx(math.fsum(clipped))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_histogram_refuses_values_that_are_not_finite(value: float) -> None:
    """The column is refused as a whole."""
    histogram = Histogram("wait", "Wait.", buckets=(1, 2))
    with pytest.raises(MetricError, match="must be finite"):
        histogram.observe_many(np.array([1.0, value]))
    assert histogram.count() == 0


@pytest.mark.parametrize("buckets", [(), (2, 1), (1, 1), (1, math.inf)])
def test_buckets_must_ascend(buckets: tuple[float, ...]) -> None:
    """Empty, descending, repeated and infinite bounds are refused."""
    with pytest.raises(MetricError, match="buckets must be finite and ascend"):
        Histogram("wait", "Wait.", buckets=buckets)


def test_values_are_counted_per_label_set() -> None:
    """A value of one label set is not counted in another one."""
    histogram = Histogram("wait", "Wait.", (COLOUR,), buckets=(1, 2))
    for _ in range(2):
        histogram.observe(0.5, colour="red")
    assert histogram.count(colour="red") == 2
    assert histogram.count(colour="green") == 0


def test_no_write_of_several_threads_is_lost() -> None:
    """Eight threads write to the same label sets while a ninth scrapes."""
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
            cumulated = [value for (name, _), value in samples_of(histogram).items() if name.endswith("_bucket")]
            assert cumulated == sorted(cumulated)
        for each in writing:
            each.result()
    assert sum(samples_of(counter).values()) == 8 * 500 * 2
    assert histogram.count() == 8 * 500 * 3
    assert gauge.value() == 8 * 500


@pytest.mark.parametrize(
    ("name", "unit", "help_text"), [("Bad", "", "x"), ("a-b", "", "x"), ("a", "s!", "x"), ("a", "", "")]
)
def test_a_metric_needs_a_valid_name_and_a_help_text(name: str, unit: str, help_text: str) -> None:
    """Names that Prometheus would change and empty help texts are refused."""
    with pytest.raises(MetricError):
        Gauge(name, help_text, unit=unit)
