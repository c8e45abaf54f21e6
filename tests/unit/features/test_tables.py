"""surgetank.features.tables: what an author declares becomes columns, a fingerprint, and errors that name the place."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from surgetank import Events, Field
from surgetank.errors import TopologyError
from surgetank.features.arithmetic import Difference
from surgetank.features.derived import Log1p
from surgetank.features.row_layout import RingWindow
from surgetank.features.spec import FeatureSpec
from surgetank.features.tables import Aggregate, Table, TableState, days, hours, minutes, seconds, table_states

DEPARTURES = Events("departures", schema="departure", key="tailnum", time="departed_at")
AIRCRAFT = Table("aircraft", facts=DEPARTURES)
CARDS = Table("cards")


@pytest.mark.parametrize(
    ("statistic", "name"),
    [
        (AIRCRAFT.last("delay"), "aircraft_last_delay"),
        (AIRCRAFT.seconds_since_last(), "aircraft_seconds_since_last"),
        (AIRCRAFT.mean("delay", window=hours(6)), "aircraft_mean_delay_6h"),
        (AIRCRAFT.count(window=hours(24)), "aircraft_count_1d"),
        (CARDS.sum("amount", window=minutes(10), buckets=10), "cards_sum_amount_10m_in_10"),
        (CARDS.std(Log1p("amount"), window=seconds(90)), "cards_std_log1p_of_amount_90s"),
        (CARDS.min("amount", window=days(7)), "cards_min_amount_7d"),
        (CARDS.max("amount", window=seconds(0.012)), "cards_max_amount_12ms"),
    ],
)
def test_names_say_what_it_is(statistic: Aggregate, name: str) -> None:
    """The table, the statistic, what of, the window, and the buckets where they are not twelve."""
    assert statistic.name == name


def test_equal_declarations_are_equal() -> None:
    """Twenty-four hours are a day, and two tables of the same fields are one table."""
    assert CARDS.count(window=hours(24)) == Table("cards").count(window=days(1))
    assert CARDS.count(window=minutes(10)).window == RingWindow(600_000, 12)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (CARDS.count(window=hours(1)), CARDS.count(window=hours(2))),
        (CARDS.count(window=hours(1)), CARDS.count(window=hours(1), buckets=6)),
        (CARDS.min("a", window=hours(1)), CARDS.max("a", window=hours(1))),
        (CARDS.last("a"), CARDS.last("b")),
        (CARDS.last("a"), Table("card").last("a")),
        (CARDS.last("a"), Table("cards", ttl=days(1)).last("a")),
        (CARDS.last("a"), Table("cards", facts=DEPARTURES).last("a")),
        (AIRCRAFT.last("a"), Table("aircraft", Events("d", schema="departure", key="k", time="at")).last("a")),
        (CARDS.last(Log1p("a")), CARDS.last("log1p_of_a")),
    ],
    ids=["span", "buckets", "kind", "value", "table", "memory", "fed by", "other facts", "derived"],
)
def test_every_difference_changes_the_fingerprint(one: Aggregate, other: Aggregate) -> None:
    """A model trained on other numbers is never taken for one that fits."""
    assert FeatureSpec((one,)).fingerprint() != FeatureSpec((other,)).fingerprint()


def test_partitions_do_not_change_the_fingerprint() -> None:
    """The number of partitions changes no number, so a model fits topics of every size."""
    wider = Events("departures", schema="departure", key="tailnum", time="departed_at", partitions=64)
    one, other = (FeatureSpec((Table("aircraft", facts).last("a"),)) for facts in (DEPARTURES, wider))
    assert one.fingerprint() == other.fingerprint()


def test_a_model_s_input_mixes_features_and_statistics() -> None:
    """Columns keep the declared order: those of the event are computed, the others are given by name."""
    spec = FeatureSpec((CARDS.last("amount"), Field("amount"), CARDS.count(window=hours(1))))
    columns = pa.record_batch({"amount": [1.0, 2.0]})
    remembered = {"cards_last_amount": np.array([np.nan, 1e300]), "cards_count_1h": np.array([0.0, 1.0])}
    matrix = spec.matrix(columns, remembered)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, [[np.nan, 1, 0], [np.inf, 2, 1]])
    with pytest.raises(KeyError, match="cards_count_1h"):
        spec.matrix(columns, {"cards_last_amount": np.zeros(2)})


def test_own_events_need_what_feeds_their_table() -> None:
    """A table without facts reads the pipeline's own columns, one with facts does not."""
    spec = FeatureSpec((CARDS.sum(Difference("paid", "refunded"), window=hours(1)), AIRCRAFT.last("delay")))
    assert spec.inputs == ("paid", "refunded")
    with pytest.raises(TopologyError, match=r"'cards_sum_paid_minus_refunded_1h' reads column 'refunded'"):
        spec.check(pa.schema({"paid": pa.float64()}))


def test_statistics_are_gathered_by_table() -> None:
    """Each table once, in the order of first use, its statistics in their order, each value once."""
    first, second, third = CARDS.last("b"), AIRCRAFT.last("a"), CARDS.sum(Log1p("a"), window=hours(1))
    cards, aircraft = table_states([Field("x"), first, second, third])
    assert cards == TableState(CARDS, (first, third))
    assert aircraft == TableState(AIRCRAFT, (second,))
    assert sorted(map(repr, cards.values)) == sorted(map(repr, ("b", Log1p("a"))))
    assert table_states([Field("x")]) == ()


def test_the_numbers_of_a_batch() -> None:
    """float64 [n, V], C-contiguous, in the order of the layout, NaN for null; a table of counts needs none."""
    (memory,) = table_states([CARDS.last("b"), CARDS.last("a"), CARDS.sum("b", window=hours(1))])
    columns = pa.record_batch({"a": [1, 2], "b": [None, 0.1]})
    found = memory.numbers(columns)
    assert memory.layout.values == ("a", "b")
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, [[1, np.nan], [2, 0.1]])
    (counting,) = table_states([CARDS.count(window=hours(1))])
    assert counting.numbers(columns).shape == (2, 0)


FACTS = pa.schema({"tailnum": pa.string(), "departed_at": pa.timestamp("ms", "UTC"), "delay": pa.int32()})


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (FACTS.remove(2), r"'aircraft_last_delay' reads column 'delay'.*'aircraft' do not have.*tailnum, departed_at"),
        (FACTS.set(2, pa.field("delay", pa.string())), r"reads column 'delay', which is string.*must be a number"),
        (FACTS.remove(1), r"facts.time names field 'departed_at'.*'departure' does not have"),
        (FACTS.remove(0), r"facts.key names field 'tailnum'"),
        (FACTS.set(1, pa.field("departed_at", pa.int64())), r"'departed_at', which is not a timestamp"),
    ],
)
def test_facts_that_cannot_feed_the_table_are_named(schema: pa.Schema, message: str) -> None:
    """The error names table, statistic and column; events that fit pass."""
    (memory,) = table_states([AIRCRAFT.last("delay")])
    memory.check(FACTS)
    with pytest.raises(TopologyError, match=message):
        memory.check(schema)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: Table("Cards"), "table name 'Cards'"),
        (lambda: Table("t", Events("topic", schema="s", time="at")), "'topic', have no key"),
        (lambda: Table("t", ttl=timedelta(0)), "ttl is 0:00:00"),
        (lambda: CARDS.count(window=timedelta(microseconds=1500)), "whole number of milliseconds"),
        (lambda: CARDS.count(window=-hours(1)), "'cards': window"),
        (lambda: CARDS.count(window=hours(1), buckets=7), r"table 'cards'.*choose buckets="),
        (lambda: table_states([CARDS.last("a"), Table("cards", ttl=days(1)).last("b")]), "two different tables"),
        (lambda: table_states([Table("t", ttl=days(1)).count(window=days(1))]), "table 't': ttl is 1d"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(declare: Callable[[], object], message: str) -> None:
    """At import, with the table's name and what to do."""
    with pytest.raises(TopologyError, match=message):
        declare()
