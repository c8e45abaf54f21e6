"""Tests that compare online and offline features value by value, also over a quarter of flights."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from surgetank.declaration import Pipeline
from surgetank.drills.recording import Recording
from surgetank.features.tables import Table, TableState, days, hours, table_states
from surgetank.features.windows import advance
from surgetank.offline.backfill import compute_aggregates, processed_events
from surgetank.offline.comparison import ComputedFeatures, compare
from surgetank.offline.history import History, OrderedEvents
from surgetank.records import large_binary
from surgetank.state.budget import Budget
from surgetank.state.sparse_serde import SparseSerde
from surgetank.state.store import Store
from surgetank.state.store import StoreMemory as Shared
from surgetank.state.store_identity import StoreIdentity, TableSignature
from surgetank.state.tables import TaskTables
from tests.support.flights_quarter import first_quarter
from topology.flights import flights
from topology.recordings.flights import departures_table, recording

MIB = 1 << 20
BUDGET = Budget(block_cache=8 * MIB, write_buffer=2 * MIB, rows=4 * MIB, open_files=32)

t = Table("t")
STATISTICS = (t.count(window=hours(1)), t.last("a"), t.sum("a", window=hours(1)), t.mean("a", window=hours(1)))
VALUES = np.array([[0.0, math.nan, 0.0, math.nan], [3.0, 0.1, 0.3, 0.1], [4.0, 7.0, 1e9, 2e8]])


def computed(values: npt.NDArray[np.float64] = VALUES, ids: str = "abc") -> ComputedFeatures:
    """Return events named by letters."""
    return ComputedFeatures(pa.array(list(ids), pa.string()), values)


def changed(row: int, column: int, value: float) -> ComputedFeatures:
    """Return the events with one value changed."""
    values = VALUES.copy()
    values[row, column] = value
    return computed(values)


def test_the_same_in_another_order_is_the_same() -> None:
    """Events are matched by name; missing values are equal to missing values."""
    report = compare(STATISTICS, computed(VALUES[[2, 0, 1]], "cab"), computed())
    assert report.ok
    assert (report.events, report.only_online, report.only_offline) == (3, 0, 0)
    assert [each.name for each in report.features] == [each.name for each in STATISTICS]


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (1, 0, 4.0),  # one event more
        (1, 1, float(np.nextafter(0.1, 1))),  # a last value, off by its last bit
        (1, 2, 0.3 * (1 + 2e-9)),
        (2, 3, 2e8 - 1),
        (0, 1, 0.0),  # there, where it must be missing
        (1, 3, math.nan),  # missing, where it must be there
    ],
)
def test_what_differs_is_found_and_named(row: int, column: int, value: float) -> None:
    """On either side; the report says which statistic, which event, and both values."""
    other = changed(row, column, value)
    for report in (compare(STATISTICS, other, computed()), compare(STATISTICS, computed(), other)):
        assert not report.ok
        assert [each.differing for each in report.features] == [int(at == column) for at in range(4)]
        (example,) = report.features[column].examples
        assert example.startswith(f"{'abc'[row]}: online ")
        assert repr(value) in example


def test_the_last_digits_of_a_sum_do_not_count() -> None:
    """The order of adding up is not the same on both sides; how far they were apart at worst is told."""
    report = compare(STATISTICS, changed(2, 2, 1e9 + 0.5), computed())
    assert report.ok
    assert report.features[2].worst == pytest.approx(5e-10)


def test_what_one_side_lacks_is_found() -> None:
    """An event without an equal is no agreement, and neither is nothing at all."""
    fewer = computed(VALUES[:2], "ab")
    assert compare(STATISTICS, computed(), fewer).only_online == 1
    assert compare(STATISTICS, fewer, computed()).only_offline == 1
    assert not compare(STATISTICS, fewer, computed()).ok
    assert not compare(STATISTICS, computed(VALUES[:0], ""), computed(VALUES[:0], "")).ok


def test_a_name_of_two_events_is_refused() -> None:
    """Nobody could say which is which."""
    with pytest.raises(ValueError, match="online: two events have the same id"):
        compare(STATISTICS, computed(ids="aab"), computed())


def online(pipeline: Pipeline, memory: TableState, history: History, folder: Path, seed: int) -> ComputedFeatures:
    """Compute what a table says as a worker does: batches of any size, rows read, advanced, written and committed.

    From time to time what is not committed is thrown away and done once more, and the store is closed and opened.
    """
    events = processed_events(pipeline, memory, history).sort_by("ordinal").combine_chunks()
    key = events["key"].combine_chunks().dictionary_encode()
    names = [text.encode() for text in key.dictionary.to_pylist()]
    index = key.indices.fill_null(-1).to_numpy().astype(np.int64)
    times, reads, writes = (events[name].to_numpy() for name in ("time_ms", "reads", "writes"))
    values = memory.numbers(events.to_batches()[0])
    random = np.random.default_rng(seed)
    results = np.full((len(events), len(memory.aggregates)), np.nan)
    name = memory.table.name
    format_ = SparseSerde(memory.layout.fresh)
    identity = StoreIdentity(pipeline.name, 0, 1, {name: TableSignature(format_.size, memory.layout.fingerprint())})
    shared = Shared(BUDGET)

    def opened() -> tuple[Store, TaskTables]:
        store = Store.open(folder, identity, shared)
        return store, TaskTables(store, {name: format_}, BUDGET, epoch=0)

    store, tables = opened()
    at = committed = 0
    while at < len(events):
        rows = int(random.integers(1, 1000)) if random.random() < 0.7 else int(random.integers(1, 20))
        batch = slice(at, min(at + rows, len(events)))
        known = index[batch] >= 0
        distinct, inverse = np.unique(index[batch][known], return_inverse=True)
        place = np.full(len(known), -1, dtype=np.int64)
        place[known] = inverse
        keys = large_binary([names[number] for number in distinct])
        state = tables[name].read(keys)
        results[batch], _ = advance(
            memory.layout, state, place, times[batch], values[batch], reads[batch], writes[batch]
        )
        written = tables[name].write(keys, state, batch.stop - 1, epoch=0)
        at = batch.stop
        chance = random.random()
        if chance < 0.1:
            store.close()  # what is not committed is lost with the process
            store, tables = opened()
            at = committed
        elif chance < 0.6 and written is not None:
            tables.commit(written.number, {"events": at})
            committed = at
    store.close()
    chosen = np.flatnonzero(reads)
    return ComputedFeatures(pa.array(chosen), results[chosen])


def assert_no_skew(pipeline: Pipeline, history: History, folder: Path) -> None:
    """Compute on both sides, and compare."""
    (memory,) = table_states(pipeline.features)
    found = compute_aggregates(pipeline, history)
    ordinals = history.topics[pipeline.events.topic].ordinal
    offline = ComputedFeatures(pa.array(ordinals), np.stack([found[each.name] for each in memory.aggregates], axis=1))
    report = compare(memory.aggregates, online(pipeline, memory, history, folder, seed=2013), offline)
    assert report.ok, report
    assert report.events == len(ordinals)
    for column, each in enumerate(memory.aggregates):
        assert np.nanmax(offline.values[:, column]) > 0, f"{each.name} says nothing"


def test_the_departures_of_a_quarter_as_events(tmp_path: Path) -> None:
    """By tail number, each seeing those before it: every kind of statistic, hours out of order."""
    left = flights.facts[0]
    aircraft = Table("aircraft", ttl=days(30))
    pipeline = replace(
        flights,
        events=left,
        facts=(),
        features=(
            aircraft.count(window=hours(24)),
            aircraft.sum("dep_delay_minutes", window=days(7), buckets=14),
            aircraft.mean("dep_delay_minutes", window=hours(6)),
            aircraft.min("dep_delay_minutes", window=hours(24)),
            aircraft.max("dep_delay_minutes", window=hours(24)),
            aircraft.std("dep_delay_minutes", window=hours(24)),
            aircraft.last("dep_delay_minutes"),
            aircraft.seconds_since_last(),
        ),
    )
    table = first_quarter(departures_table(), left.time)  # in the order of the schedule, not that of departure
    history = History({left.topic: OrderedEvents(table, np.arange(len(table), dtype=np.int64))})
    assert len(table) > 75_000
    assert_no_skew(pipeline, history, tmp_path / "store")


def test_a_record_without_a_key_in_features_compare() -> None:
    """The key of the record decides, as in a worker, not the field that usually holds it: none has no state."""
    aircraft = Table("left")
    left = replace(flights.facts[0], topic="left")
    pipeline = replace(flights, events=left, facts=(), features=(aircraft.count(window=hours(24 * 365)),))
    table = departures_table()
    one = table.filter(pc.equal(table["tailnum"], table["tailnum"][0])).slice(0, 5)
    keys = large_binary([b"A", None, b"A", b"B", b"A"])
    ordered = OrderedEvents(one, np.arange(5, dtype=np.int64), keys=keys)

    (found,) = compute_aggregates(pipeline, History({"left": ordered})).values()
    (by_field,) = compute_aggregates(pipeline, History({"left": replace(ordered, keys=None)})).values()

    np.testing.assert_array_equal(found, [0, np.nan, 1, 0, 2])
    np.testing.assert_array_equal(by_field, [0, 1, 2, 3, 4])


def test_the_boardings_of_a_quarter_that_ask_what_departures_told(tmp_path: Path) -> None:
    """Boardings with the memory that the second flights model has: facts write, events read."""
    whole = recording()
    parts = [
        (events, first_quarter(table, events.time)) for events, table in zip(whole.events, whole.tables, strict=True)
    ]
    history = History.of(Recording.merge(parts, lap=days(365)), flights)
    assert len(history.topics[flights.events.topic]) > 75_000
    assert_no_skew(flights, history, tmp_path / "store")
