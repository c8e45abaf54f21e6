"""surgetank.features.windows: the compiled update says what the definition says, whatever the events and batches."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.features.aggregate_kinds import RingRead
from surgetank.features.tables import Table, TableState, table_states
from surgetank.features.windows import advance, plausible
from tests.support.feature_histories import (
    Event,
    Online,
    assert_as_expected,
    by_definition,
    histories,
    tables,
    whole_or_null,
)

anytime = settings(deadline=None)  # tests share their machine
thoroughly = settings(deadline=None, max_examples=500)

MS = timedelta(milliseconds=1)
INT64 = np.iinfo(np.int64)
CARDS = Table("cards")
(SMALL,) = table_states(
    [
        CARDS.count(window=12 * MS),
        CARDS.sum("a", window=12 * MS),
        CARDS.mean("a", window=12 * MS),
        CARDS.min("a", window=12 * MS),
        CARDS.max("a", window=12 * MS),
        CARDS.std("a", window=12 * MS),
        CARDS.last("a"),
        CARDS.seconds_since_last(),
    ]
)
NAN = np.nan


@thoroughly
@given(tables(), histories())
def test_it_says_what_the_definition_says(memory: TableState, events: list[Event]) -> None:
    """Each event of one batch sees what a naive replay, one event at a time, says; the late ones are counted alike."""
    online = Online(memory)
    expected, late = by_definition(memory, events)
    assert_as_expected(online.take(events), expected)
    assert online.late == late


@anytime
@given(tables(values=["a", "b"]), histories(whole_or_null))
def test_sums_of_whole_numbers_are_exact(memory: TableState, events: list[Event]) -> None:
    """Where no addition rounds, sums are equal bit for bit."""
    expected, _ = by_definition(memory, events)
    sums = [column for column, each in enumerate(memory.aggregates) if each.kind.name == "SUM"]
    exact = [[row[column]._replace(tolerance=0.0) for column in sums] for row in expected]
    assert_as_expected(Online(memory).take(events)[:, sums], exact)


@anytime
@given(tables(), histories(), st.data())
def test_how_events_are_batched_changes_nothing(memory: TableState, events: list[Event], data: st.DataObject) -> None:
    """Any split into batches gives the same results, the same rows and the same count of late ones, bit for bit."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=5)))
    whole, split = Online(memory), Online(memory)
    pieces = [split.take(events[a:b]) for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole.take(events))
    assert whole.rows.keys() == split.rows.keys()
    for key, row in whole.rows.items():
        np.testing.assert_array_equal(split.rows[key], row)
    assert whole.late == split.late


@anytime
@given(tables(), histories(), histories())
def test_a_forgotten_row_is_not_missed(memory: TableState, events: list[Event], later: list[Event]) -> None:
    """An event from the expiry of a row on, and all after it, sees the same as if the row were fresh, bit for bit."""
    online = Online(memory)
    online.take([event._replace(key="k", time_ms=event.time_ms % 1000) for event in events])
    span = memory.layout.retention_ms
    if span is None or "k" not in online.rows:
        return
    row = online.rows["k"].reshape(1, -1)
    now = 0 if np.isnan(row[0, 0]) else int(row[0, 0]) + span + 1
    assert memory.layout.expired(row, now).all()
    late = online.late
    after = [event._replace(key="k", time_ms=now + event.time_ms % 1000) for event in later]
    fresh = Online(memory)
    np.testing.assert_array_equal(online.take(after), fresh.take(after))
    assert online.late - late == fresh.late


def test_a_short_history() -> None:
    """Of three events of one key in one batch, each sees those before it; a null counts, and is no value."""
    results = Online(SMALL).take([Event("k", 100, 4.0), Event("k", 101, None), Event("k", 105, 8.0), Event("k", 106)])
    np.testing.assert_array_equal(
        results,
        [
            [0, 0, NAN, NAN, NAN, NAN, NAN, NAN],
            [1, 4, 4, 4, 4, 0, 4, 0.001],
            [2, 4, 4, 4, 4, 0, 4, 0.004],
            [3, 12, 6, 4, 8, 2, 8, 0.001],
        ],
    )


def test_no_way_to_read_a_ring_is_left_out() -> None:
    """The compiled loop has a branch for each of them; a result without a branch would be missing."""
    assert {each.kind.ring.read for each in SMALL.aggregates if each.kind.ring} == set(RingRead)
    results = Online(SMALL).take([Event("k", 100, 4.0), Event("k", 101, 8.0)])
    assert np.isfinite(results[1]).all()


def test_a_late_event_reaches_its_bucket_while_the_ring_has_it() -> None:
    """Up to two windows behind the newest it is added and seen; later than that it changes nothing and is counted."""
    online = Online(SMALL)
    online.take([Event("k", 100, 1.0), Event("k", 100 - 23, 2.0)])
    assert online.late == 0
    assert online.take([Event("k", 77, writes=False)])[0, 1] == 2
    online.take([Event("k", 100 - 24, 4.0)])
    assert online.late == 1
    assert online.take([Event("k", 77, writes=False)])[0, 1] == 2
    assert online.take([Event("k", 100, writes=False)])[0, 1] == 1


def test_what_is_longer_ago_than_forget_after_is_missing() -> None:
    """A last value or time is seen up to the bound, and not one millisecond beyond it."""
    table = Table("t", ttl=50 * MS)
    online = Online(table_states([table.last("a"), table.seconds_since_last()])[0])
    results = online.take([Event("k", 100, 4.0), *(Event("k", time, writes=False) for time in (150, 151))])
    np.testing.assert_array_equal(results[1:], [[4, 0.05], [NAN, NAN]])


def test_a_null_key_sees_and_changes_nothing() -> None:
    """Its results are missing, the count too, and no row is touched."""
    online = Online(SMALL)
    results = online.take([Event("k", 1, 1.0), Event(None, 2, 2.0), Event("k", 3, 3.0)])
    assert np.isnan(results[1]).all()
    assert results[2, 1] == 1


def test_readers_write_nothing_and_writers_read_nothing() -> None:
    """A request leaves the row as it is; a fact gets missing values only."""
    online = Online(SMALL)
    results = online.take([Event("k", 1, 1.0, reads=False), Event("k", 2, 9.0, writes=False), Event("k", 3)])
    assert np.isnan(results[0]).all()
    np.testing.assert_array_equal(results[1:, 1], [1, 1])


def test_a_time_in_2100_that_must_not_write_wipes_nothing() -> None:
    """With the mask of ``plausible`` an event far ahead sees an empty window, and the next one all that was there."""
    now = 1_700_000_000_000
    times = np.array([now, 4_102_444_800_000, 0, now + 1])
    writes = plausible(times, np.full(4, now), past_ms=3_600_000, future_ms=60_000)
    np.testing.assert_array_equal(writes, [True, False, False, True])
    events = [Event("k", int(time), 5.0, writes=bool(may)) for time, may in zip(times, writes, strict=True)]
    np.testing.assert_array_equal(Online(SMALL).take(events)[:, 1], [0, 0, 0, 5])


near = st.integers(-5, 5)
ends = st.sampled_from([0, INT64.min, INT64.max, 1_700_000_000_000])
anywhere = st.builds(lambda end, off: min(max(end + off, INT64.min), INT64.max), ends, near)


@anytime
@given(st.lists(st.tuples(anywhere, anywhere)), st.integers(0, 10), st.integers(0, 10))
def test_plausible_is_the_interval_around_arrival(pairs: list[tuple[int, int]], past: int, future: int) -> None:
    """Equal to the same comparison in unbounded integers, at the ends of int64 too."""
    times, arrived = (np.array([pair[at] for pair in pairs], np.int64) for at in (0, 1))
    expected = [arrival - past <= time <= arrival + future for time, arrival in pairs]
    np.testing.assert_array_equal(plausible(times, arrived, past, future), expected)


def test_no_events_give_no_results() -> None:
    """An empty batch is [0, F]."""
    assert Online(SMALL).take([]).shape == (0, 8)


@pytest.mark.parametrize(
    ("rows", "index", "values", "message"),
    [
        (np.zeros((1, 3)), [0], np.zeros((1, 1)), "rows must be a writable"),
        (SMALL.layout.rows(1).astype(np.float32), [0], np.zeros((1, 1)), "rows must be a writable"),
        (np.asfortranarray(SMALL.layout.rows(2)), [0], np.zeros((1, 1)), "rows must be a writable"),
        (SMALL.layout.rows(1), [1], np.zeros((1, 1)), "key_index must lie in -1 to 0"),
        (SMALL.layout.rows(1), [-2], np.zeros((1, 1)), "key_index must lie in -1 to 0"),
        (SMALL.layout.rows(1), [0], np.zeros((1, 2)), r"values \[1, 1\]"),
        (SMALL.layout.rows(1), [0, 0], np.zeros((2, 1)), "as many times"),
    ],
)
def test_what_does_not_fit_is_refused(rows: np.ndarray, index: list[int], values: np.ndarray, message: str) -> None:
    """Compiled code checks no bounds, so that shapes, types and indices are checked before it runs."""
    on = np.ones(1, np.bool_)
    with pytest.raises(ValueError, match=message):
        advance(SMALL.layout, rows, np.array(index), np.array([1]), values, on, on)


def test_columns_that_may_not_be_changed_are_read() -> None:
    """Arrays that come from Arrow are read-only; only the rows must be writable."""
    index, times, values, on = np.zeros(1, np.int64), np.ones(1, np.int64), np.ones((1, 1)), np.ones(1, np.bool_)
    for flags in (index.flags, times.flags, values.flags, on.flags):
        flags.writeable = False
    rows = SMALL.layout.rows(1)
    advance(SMALL.layout, rows, index, times, values, on, on)
    assert rows[0, 0] == 1
