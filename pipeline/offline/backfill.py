"""The model's inputs of recorded events, computed offline: what a model is trained on is what a worker will give it.

What an event holds itself goes through the same code that serves. What tables remember comes from DuckDB, by the SQL
that ``pipeline.offline.feature_sql`` writes. Event times are not compared with arrival times: a recording has none.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.clock import Clock, SystemClock
from pipeline.declaration import Pipeline
from pipeline.errors import StartupError, TopologyError
from pipeline.features.spec import Float32s, Float64s
from pipeline.features.tables import TableState, table_states
from pipeline.offline import feature_sql
from pipeline.offline.history import History, Taken, milliseconds

if TYPE_CHECKING:
    import duckdb

ID, TIME = "event_id", "event_time"
FINGERPRINT = b"surgetank.fingerprint"  # in the file's metadata: that of the features, as a model bundle names it
ROWS = 65_536

# Told what is being done, how many of how many rows of it are done.
Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What was written. ``facts``: the events that fed tables, by topic; ``missing``: the missing values by feature."""

    pipeline: str
    fingerprint: str
    file: str
    bytes: int
    events: int
    facts: dict[str, int]
    missing: dict[str, int]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def _silent(what: str, done: int, total: int) -> None:
    pass


def backfill(
    pipeline: Pipeline, history: History, out: Path, told: Told = _silent, clock: Clock | None = None
) -> Backfilled:
    """Write a Parquet file with a row per event: id, time, and each feature in float32, null where it is missing.

    The file appears whole or not at all. Raises TopologyError if the events do not have what the features read.
    """
    clock = clock or SystemClock()
    started = clock.monotonic()
    events = history.topics[pipeline.events.topic]
    names = pipeline.spec.names
    if taken := [name for name in names if name in {ID, TIME}]:
        raise TopologyError(f"a feature is named {taken[0]!r}, as a column of every backfill is; rename its field")
    statistics = remembered(pipeline, history, told)
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
            for columns, matrix in matrices(pipeline, events, statistics):
                writer.write_batch(pa.record_batch([*_identity(pipeline, columns), *_nullable(matrix)], schema=schema))
                missing += np.isnan(matrix).sum(axis=0)
                done += len(matrix)
                told("writing", done, len(events))
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return Backfilled(
        pipeline=pipeline.name,
        fingerprint=pipeline.spec.fingerprint(),
        file=str(out),
        bytes=out.stat().st_size,
        events=len(events),
        facts={topic: len(each) for topic, each in history.topics.items() if topic in _feeding(pipeline)},
        missing=dict(zip(names, missing.tolist(), strict=True)),
        seconds=round(clock.monotonic() - started, 2),
    )


def remembered(pipeline: Pipeline, history: History, told: Told = _silent) -> dict[str, Float64s]:
    """Return what the tables say to each event: by statistic float64 [n] in the order taken, NaN where it is missing.

    Raises TopologyError if the events cannot feed the tables, StartupError if DuckDB is not installed.
    """
    own = history.topics[pipeline.events.topic]
    pipeline.check(own.table.schema)
    found: dict[str, Float64s] = {}
    wanted = table_states(pipeline.features)
    if wanted:
        connection = _connected()
        try:
            for memory in wanted:
                told(f"table {memory.table.name}", 0, len(own))
                found |= _statistics(connection, memory, relation(pipeline, memory, history))
                told(f"table {memory.table.name}", len(own), len(own))
        finally:
            connection.close()
    return found


def matrices(
    pipeline: Pipeline, events: Taken, statistics: dict[str, Float64s], rows: int = ROWS
) -> Iterator[tuple[pa.RecordBatch, Float32s]]:
    """Yield the events in the order taken, some rows at a time, with the model's input float32 [m, F] of each."""
    spec = pipeline.spec
    for first in range(0, len(events), rows):
        (columns,) = events.table.slice(first, rows).combine_chunks().to_batches()
        yield columns, spec.matrix(columns, {name: each[first : first + rows] for name, each in statistics.items()})


def relation(pipeline: Pipeline, memory: TableState, history: History) -> pa.Table:
    """Return all that a table processed, as ``offline.sql`` wants it.

    The pipeline's own events read; they also write, unless facts feed the table.
    """
    own, facts = pipeline.events, memory.table.facts
    asking = history.topics[own.topic]
    if facts is None:
        memory.check(asking.table.schema)
        return _rows(asking, own.topic, own.key, own.time, memory, reads=True, writes=True)
    feeding = history.topics[facts.topic]
    memory.check(feeding.table.schema)
    return pa.concat_tables(
        [
            _rows(asking, own.topic, own.key, own.time, None, reads=True, writes=False),
            _rows(feeding, facts.topic, facts.key, facts.time, memory, reads=False, writes=True),
        ],
        promote_options="default",  # who does not write has no values
    )


def _rows(
    taken: Taken, topic: str, key: str | None, time: str, memory: TableState | None, *, reads: bool, writes: bool
) -> pa.Table:
    n, table = len(taken), taken.table
    believed = np.full(n, True) if taken.believed is None else taken.believed
    columns = {
        "ordinal": pa.array(taken.ordinal),
        "key": pa.nulls(n, pa.string()) if key is None else table[key].cast(pa.string()),
        "time_ms": pa.array(milliseconds(table[time], f"field {time!r} of the events of {topic!r}")),
        "reads": pa.array(np.full(n, reads)),
        "writes": pa.array(believed & writes),
    }
    values = dict.fromkeys(column for each in memory.statistics for column in each.fed_with) if memory else {}
    return pa.table(columns | {name: table[name] for name in values if name not in columns})


def _statistics(connection: "duckdb.DuckDBPyConnection", memory: TableState, events: pa.Table) -> dict[str, Float64s]:
    query = feature_sql.sql(memory, "recorded")
    connection.register("recorded", events)
    try:
        found = connection.sql(query).to_arrow_table()
    finally:
        connection.unregister("recorded")
    return {each.name: found[each.name].to_numpy() for each in memory.statistics}  # NaN for NULL


def _connected() -> "duckdb.DuckDBPyConnection":
    try:
        import duckdb
    except ModuleNotFoundError:
        raise StartupError(
            "features with memory are computed offline by DuckDB, which is not installed; "
            "run: pip install 'surgetank[offline]'"
        ) from None
    return duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})


def _identity(pipeline: Pipeline, columns: pa.RecordBatch) -> Iterator[pa.Array]:
    """Yield the ids and the times of the events."""
    events = pipeline.events
    yield columns[events.id].cast(pa.string())
    times = milliseconds(pa.chunked_array([columns[events.time]]), f"field {events.time!r}")
    yield pa.array(times).view(pa.timestamp("ms", tz="UTC"))


def _nullable(matrix: npt.NDArray[np.float32]) -> Iterator[pa.Array]:
    for column in matrix.T:
        yield pa.array(np.ascontiguousarray(column), mask=np.isnan(column))


def _feeding(pipeline: Pipeline) -> set[str]:
    return {memory.table.facts.topic for memory in table_states(pipeline.features) if memory.table.facts is not None}
