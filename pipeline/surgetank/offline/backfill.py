"""Computes the model's inputs for recorded events: training data equal to the inputs that a worker computes.

Stateless features use the code of the worker. Aggregates come from DuckDB, by the SQL of
``surgetank.offline.feature_sql``. Event times are not checked against arrival times, which a recording does not have.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surgetank.clock import SystemClock
from surgetank.declaration import Pipeline
from surgetank.errors import StartupError, TopologyError
from surgetank.features.number_columns import doubles_of, is_number, is_plain_number
from surgetank.features.spec import Float32s, Float64s
from surgetank.features.tables import TableState
from surgetank.offline import feature_sql
from surgetank.offline.history import History, OrderedEvents, milliseconds, rows_holding
from surgetank.text_columns import as_text

ID, TIME = "event_id", "event_time"
FINGERPRINT = b"surgetank.fingerprint"  # key of the file's metadata: the fingerprint of the features, as in a bundle
ROWS = 65_536

# Receives the current step, the rows done, and the rows in total.
ProgressCallback = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """The result. ``facts``: the events that updated tables, by topic; ``missing``: the missing values by feature."""

    pipeline: str
    fingerprint: str
    file: str
    bytes: int
    events: int
    facts: dict[str, int]
    missing: dict[str, int]
    seconds: float


def backfill(
    pipeline: Pipeline,
    history: History,
    out: Path,
    report_progress: ProgressCallback = lambda *_: None,
) -> BackfillReport:
    """Write a Parquet file with one row per event: id, time, and each feature in float32, null if missing.

    The file is written completely or not at all. Raises TopologyError if the events lack inputs of the features.
    """
    clock = SystemClock()
    started = clock.monotonic()
    events = history.topics[pipeline.events.topic]
    names = pipeline.spec.names
    if ordered := [name for name in names if name in {ID, TIME}]:
        raise TopologyError(f"a feature is named {ordered[0]!r}, a column of every backfill; rename its field")
    aggregates = compute_aggregates(pipeline, history, report_progress)
    events, aggregates = scored_events(pipeline, events, aggregates)
    schema = pa.schema(
        [(ID, pa.string()), (TIME, pa.timestamp("ms", tz="UTC")), *((name, pa.float32()) for name in names)],
        metadata={FINGERPRINT: pipeline.spec.fingerprint().encode()},
    )
    missing = np.zeros(len(names), dtype=np.int64)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.unfinished")
    try:
        with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
            done = 0
            for columns, matrix in matrices(pipeline, events, aggregates):
                writer.write_batch(pa.record_batch([*_identity(pipeline, columns), *_nullable(matrix)], schema=schema))
                missing += np.isnan(matrix).sum(axis=0)
                done += len(matrix)
                report_progress("writing", done, len(events))
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return BackfillReport(
        pipeline=pipeline.name,
        fingerprint=pipeline.spec.fingerprint(),
        file=str(out),
        bytes=out.stat().st_size,
        events=len(events),
        facts={topic: len(each) for topic, each in history.topics.items() if topic in pipeline.sources[1:]},
        missing=dict(zip(names, missing.tolist(), strict=True)),
        seconds=round(clock.monotonic() - started, 2),
    )


def compute_aggregates(
    pipeline: Pipeline, history: History, report_progress: ProgressCallback = lambda *_: None
) -> dict[str, Float64s]:
    """Return by aggregate its value for each event: float64 [n] in processing order, NaN for missing values.

    Raises TopologyError if the events cannot update the tables, StartupError if DuckDB is not installed.
    """
    own = history.topics[pipeline.events.topic]
    pipeline.check(own.table.schema, partial=True)
    found: dict[str, Float64s] = {}
    for table_state in pipeline.table_states:
        report_progress(f"table {table_state.table.name}", 0, len(own))
        found |= query_aggregates(table_state, processed_events(pipeline, table_state, history))
        report_progress(f"table {table_state.table.name}", len(own), len(own))
    return found


def scored_events(
    pipeline: Pipeline, events: OrderedEvents, aggregates: dict[str, Float64s]
) -> tuple[OrderedEvents, dict[str, Float64s]]:
    """Return the events that get a score, with their aggregates: those for which ``score_only`` holds, or all."""
    if pipeline.score_only is None:
        return events, aggregates
    rows = rows_holding(pipeline.score_only, events.table)
    return events.take(rows), {name: each[rows] for name, each in aggregates.items()}


def matrices(
    pipeline: Pipeline, events: OrderedEvents, aggregates: dict[str, Float64s], rows: int = ROWS
) -> Iterator[tuple[pa.RecordBatch, Float32s]]:
    """Yield the events in processing order, in chunks, with the model's input float32 [m, F] of each chunk."""
    spec = pipeline.spec
    for first in range(0, len(events), rows):
        (columns,) = events.table.slice(first, rows).combine_chunks().to_batches()
        yield columns, spec.matrix(columns, {name: each[first : first + rows] for name, each in aggregates.items()})


def processed_events(pipeline: Pipeline, table_state: TableState, history: History) -> pa.Table:
    """Return all events that a table processed, with the columns that ``feature_sql.sql`` requires.

    The pipeline's own events read; they also update, unless facts update the table.
    """
    own, facts = pipeline.events, table_state.table.facts
    own_events = history.topics[own.topic]
    if facts is None:
        table_state.check(own_events.table.schema)
        return _rows(own_events, own.topic, own.key, own.time, table_state, reads=True, writes=True)
    fact_events = history.topics[facts.topic]
    table_state.check(fact_events.table.schema)
    return pa.concat_tables(
        [
            _rows(own_events, own.topic, own.key, own.time, None, reads=True, writes=False),
            _rows(fact_events, facts.topic, facts.key, facts.time, table_state, reads=False, writes=True),
        ],
        promote_options="default",  # events that do not update have no values
    )


def _rows(
    ordered: OrderedEvents,
    topic: str,
    key: str | None,
    time: str,
    table_state: TableState | None,
    *,
    reads: bool,
    writes: bool,
) -> pa.Table:
    n, table = len(ordered), ordered.table
    deletes = np.zeros(n, dtype=np.bool_) if ordered.deletes is None else ordered.deletes
    may_update = ~deletes if ordered.may_update is None else ordered.may_update & ~deletes
    columns = {
        "ordinal": pa.array(ordered.ordinal),
        "key": _keys(ordered, key),
        "time_ms": pa.array(milliseconds(table[time], f"field {time!r} of the events of {topic!r}")),
        "reads": pa.array(np.full(n, reads)),
        "writes": pa.array(may_update & writes),
        feature_sql.DELETES: pa.array(deletes),
    }
    values = (
        dict.fromkeys(column for each in table_state.aggregates for column in each.source_columns)
        if table_state
        else {}
    )
    return pa.table(columns | {name: table[name] for name in values if name not in columns})


def _keys(ordered: OrderedEvents, field: str | None) -> pa.Array | pa.ChunkedArray:
    if ordered.keys is not None:
        return ordered.keys
    if field is None:
        return pa.nulls(len(ordered), pa.string())
    return as_text(ordered.table[field].combine_chunks())


def query_aggregates(table_state: TableState, events: pa.Table) -> dict[str, Float64s]:
    """Return by aggregate its value for each event that reads: float64 [n], NaN for missing values.

    ``events`` are the columns that ``feature_sql.sql`` requires, ``DELETES`` only if any event deletes. Raises
    StartupError if DuckDB is not installed.
    """
    try:
        import duckdb
    except ModuleNotFoundError:
        raise StartupError(
            "aggregates are computed offline by DuckDB, which is not installed; run: pip install 'surgetank[offline]'"
        ) from None
    with duckdb.connect(
        config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    ) as connection:
        connection.register("recorded", _numbers(table_state, events))
        deletes = feature_sql.DELETES in events.column_names and pc.any(events[feature_sql.DELETES]).as_py()
        found = connection.sql(feature_sql.sql(table_state, "recorded", deletes=bool(deletes))).to_arrow_table()
    return {each.name: found[each.name].to_numpy() for each in table_state.aggregates}  # NaN for NULL


def _numbers(table_state: TableState, events: pa.Table) -> pa.Table:
    """Return the columns for the query, with decimals, dates and times of day as the doubles that a worker computes."""
    read = dict.fromkeys(column for each in table_state.aggregates for column in each.source_columns)
    kept = [name for name in events.column_names if name in read or name in feature_sql.COLUMNS]
    columns = {name: events[name] for name in kept}
    for name in read:
        dtype = columns[name].type
        if is_number(dtype) and not is_plain_number(dtype):
            doubles = doubles_of(columns[name].combine_chunks())
            columns[name] = pa.array(doubles, mask=np.isnan(doubles))
    return pa.table(columns)


def _identity(pipeline: Pipeline, columns: pa.RecordBatch) -> Iterator[pa.Array]:
    """Yield the ids and the times of the events."""
    events = pipeline.events
    yield as_text(columns[events.id])
    times = milliseconds(pa.chunked_array([columns[events.time]]), f"field {events.time!r}")
    yield pa.array(times).view(pa.timestamp("ms", tz="UTC"))


def _nullable(matrix: npt.NDArray[np.float32]) -> Iterator[pa.Array]:
    for column in matrix.T:
        yield pa.array(np.ascontiguousarray(column), mask=np.isnan(column))
