"""surgetank.offline.feature_sql: DuckDB computes from recorded events what the tables said while they ran."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.errors import TopologyError
from surgetank.features.aggregate_kinds import AggregateKind
from surgetank.features.tables import Table, TableState, days, hours, table_states
from surgetank.features.windows import advance
from surgetank.features.windows import plausible as plausible_online
from surgetank.offline.backfill import query_aggregates
from surgetank.offline.feature_sql import DELETES, sql
from tests.support.duckdb_connection import duckdb_connection
from tests.support.feature_histories import (
    Event,
    Online,
    assert_as_expected,
    by_definition,
    histories,
    tables,
    whole_or_null,
)
from tests.support.flights_quarter import first_quarter
from topology.recordings.flights import departures_table

anytime = settings(deadline=None)  # tests share their machine

Float64s = npt.NDArray[np.float64]


def relation(events: Sequence[Event]) -> pa.Table:
    """Return events as the query wants them, in no order, with columns that have the query's own names."""
    rows = len(events)
    found = pa.table(
        {
            "ordinal": pa.array(range(100, 100 + rows), pa.int64()),
            "key": pa.array([event.key for event in events], pa.string()),
            "time_ms": pa.array([event.time_ms for event in events], pa.int64()),
            "reads": pa.array([event.reads for event in events], pa.bool_()),
            "writes": pa.array([event.writes for event in events], pa.bool_()),
            DELETES: pa.array([event.deletes for event in events], pa.bool_()),
            "a": pa.array([event.a for event in events], pa.float64()),
            "b": pa.array([event.b for event in events], pa.float64()),
            **{name: pa.nulls(rows, pa.string()) for name in ("at_ms", "v0", "bucket", "seen_ms", "n")},
        }
    )
    return found.take(np.random.default_rng(rows).permutation(rows))


def offline(memory: TableState, events: pa.Table) -> tuple[list[int], Float64s]:
    """Return the ordinals and, [n, F], NaN for NULL, the results of the query."""
    connection = duckdb_connection()
    connection.register("recorded", events)
    found = connection.sql(sql(memory, "recorded", deletes=DELETES in events.column_names)).to_arrow_table()
    assert found.column_names == ["ordinal", *(each.name for each in memory.aggregates)]
    results = np.empty((found.num_rows, len(memory.aggregates)))
    for column, each in enumerate(memory.aggregates):
        assert found.schema.field(each.name).type == pa.float64()
        results[:, column] = found[each.name].to_numpy()
    return found["ordinal"].to_pylist(), results


def several(of: st.SearchStrategy[list[Event]]) -> st.SearchStrategy[list[Event]]:
    """Return some histories as one, each of keys of its own: to plan a query takes longer than to run it."""

    def joined(parts: list[list[Event]]) -> list[Event]:
        return [
            event._replace(key=None if event.key is None else f"{event.key}{number}")
            for number, part in enumerate(parts)
            for event in part
        ]

    return st.lists(of, min_size=1, max_size=5).map(joined)


@settings(deadline=None, max_examples=70)
@given(tables(values=["a", "b"]), several(histories()))
def test_it_says_what_the_definition_and_the_tables_say(memory: TableState, events: list[Event]) -> None:
    """For whoever reads: counts, last values, least and greatest bit for bit, sums, means and deviations to 1e-9."""
    ordinals, results = offline(memory, relation(events))
    readers = [at for at, event in enumerate(events) if event.reads]
    assert ordinals == [100 + at for at in readers]
    expected, _ = by_definition(memory, events)
    assert_as_expected(results, [expected[at] for at in readers])
    online = Online(memory).take(events)[readers]
    for column, each in enumerate(memory.aggregates):
        if each.kind not in {AggregateKind.SUM, AggregateKind.MEAN, AggregateKind.STD}:
            np.testing.assert_array_equal(results[:, column], online[:, column])


@settings(deadline=None, max_examples=35)
@given(tables(), several(histories(whole_or_null)))
def test_it_takes_statistics_of_derived_columns(memory: TableState, events: list[Event]) -> None:
    """What is taken of a derived column agrees with the tables to 1e-9."""
    _, results = offline(memory, relation(events))
    online = Online(memory).take(events)[[event.reads for event in events]]
    np.testing.assert_allclose(results, online, rtol=1e-9, atol=1e-9)


def test_the_departures_of_a_quarter() -> None:
    """Departures by tail number, up to an hour out of order: equal to the tables, value by value."""
    aircraft = Table("aircraft", ttl=days(30))
    delay = "dep_delay_minutes"
    (memory,) = table_states(
        [
            aircraft.last(delay),
            aircraft.seconds_since_last(),
            aircraft.count(window=hours(24)),
            aircraft.mean(delay, window=hours(6)),
            aircraft.max(delay, window=hours(24)),
            aircraft.std(delay, window=hours(24)),
            aircraft.sum(delay, window=days(7), buckets=14),
        ]
    )
    recorded = first_quarter(departures_table(), "departed_at")
    rows = len(recorded)
    left = recorded["departed_at"].cast(pa.int64()).to_numpy()
    order = np.argsort(left + np.random.default_rng(2013).integers(0, 3_600_000, rows), kind="stable")
    arrived = recorded.take(order).select(["tailnum", "departed_at", delay]).combine_chunks()
    times, always = left[order], np.ones(rows, np.bool_)
    assert (np.diff(times) < 0).any()
    events = pa.table(
        {"ordinal": np.arange(rows), "key": arrived["tailnum"], "time_ms": times, "reads": always, "writes": always}
    ).append_column(delay, arrived[delay])
    _, results = offline(memory, events)
    keys = arrived["tailnum"].combine_chunks().dictionary_encode()
    index = keys.indices.fill_null(-1).to_numpy().astype(np.int64)
    state = memory.layout.rows(len(keys.dictionary))
    numbers = memory.numbers(arrived.to_batches()[0])
    online, _ = advance(memory.layout, state, index, times, numbers, always, always)
    np.testing.assert_array_equal(np.isnan(results), np.isnan(online))
    np.testing.assert_array_equal(results[:, :3], online[:, :3])
    np.testing.assert_allclose(results, online, rtol=1e-9, atol=1e-9)


def plausible(past_ms: int, future_ms: int) -> str:
    """Return the condition of ``windows.plausible`` on the columns ``time_ms`` and ``arrived_ms``."""
    time, arrived = "CAST(time_ms AS HUGEINT)", "CAST(arrived_ms AS HUGEINT)"
    return f"({time} BETWEEN {arrived} - {past_ms} AND {arrived} + {future_ms})"


moments = st.sampled_from([0, 1_700_000_000_000, -(2**63), 2**63 - 1]) | st.integers(-20, 20)


@anytime
@given(st.lists(st.tuples(moments, moments)), st.integers(0, 10), st.integers(0, 10))
def test_the_same_times_are_plausible(pairs: list[tuple[int, int]], past: int, future: int) -> None:
    """The condition in SQL and the mask online agree, at the ends of int64 too."""
    times, arrived = (np.array([pair[at] for pair in pairs], np.int64) for at in (0, 1))
    connection = duckdb_connection()
    connection.register("recorded", pa.table({"time_ms": times, "arrived_ms": arrived}))
    found = connection.execute(f"SELECT {plausible(past, future)} FROM recorded").fetchall()
    np.testing.assert_array_equal([each for (each,) in found], plausible_online(times, arrived, past, future))


@pytest.mark.parametrize("column", ["ordinal", "key", "time_ms", "reads", "Writes"])
def test_a_column_with_a_name_of_the_query_is_refused(column: str) -> None:
    """Rather than taken for the query's own; DuckDB does not tell upper from lower case."""
    (memory,) = table_states([Table("t").last(column)])
    with pytest.raises(TopologyError, match=f"'t' reads a column '{column}'"):
        sql(memory)


@pytest.mark.parametrize("deleting", [False, True])
@pytest.mark.parametrize("column", ["deletes", "Deletes", "deletions"])
def test_a_field_may_be_named_as_deletions_are(column: str, deleting: bool) -> None:
    """The column of deletions has a name that no Avro field can have, so a field is not taken for it."""
    (memory,) = table_states([Table("t").last(column)])
    lives = [True, not deleting, True]
    events = pa.table(
        {"ordinal": [0, 1, 2], "key": ["a"] * 3, "time_ms": [0, 1, 2], "reads": lives, "writes": lives}
        | {column: [5, 6, 7]}
        | ({DELETES: [False, True, False]} if deleting else {})
    )
    (found,) = query_aggregates(memory, events).values()
    np.testing.assert_array_equal(found, [np.nan, np.nan] if deleting else [np.nan, 5.0, 6.0])
