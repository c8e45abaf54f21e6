"""The aggregates of a table as one DuckDB query over recorded events, for training and to verify the online values.

The query does not simulate the rings; it implements their semantics. For each event and visible bucket, ASOF JOIN
finds the content of the bucket just before the event, which is a running aggregate over the bucket's events. Late
events need no special rule: their bucket has left the ring and is not read again. The cost grows with events x
buckets, regardless of the number of events per key.
"""

from collections.abc import Iterator

from surgetank.errors import TopologyError
from surgetank.features.aggregate_kinds import AggregateKind
from surgetank.features.derived import quoted, sql_of
from surgetank.features.row_layout import TIME_BOUND_MS, RingWindow
from surgetank.features.tables import Aggregate, TableState

_GIVEN = ("ordinal", "key", "time_ms", "reads", "writes")
DELETES = "event deletes"  # a column name that no Avro field can have
COLUMNS = (*_GIVEN, DELETES)  # of the events, beside those that the aggregates read
_DELETES, _DELETIONS = quoted(DELETES), quoted("deletions so far")

_KEYED = """keyed AS (
    SELECT ordinal, key, reads, writes, {columns}
    FROM {events} WHERE key IS NOT NULL
)"""

_WITH_DELETES = f"""counted AS (
    SELECT *, count(*) FILTER (WHERE {_DELETES}) OVER so_far AS {_DELETIONS}
    FROM {{events}} WHERE key IS NOT NULL
    WINDOW so_far AS (PARTITION BY key ORDER BY ordinal ROWS UNBOUNDED PRECEDING)
), undeleted AS (  -- a key before and after a deletion is two keys
    SELECT * REPLACE (dense_rank() OVER (ORDER BY key, {_DELETIONS}) AS key) FROM counted
), keyed AS (
    SELECT ordinal, key, reads, writes, {{columns}}
    FROM undeleted WHERE NOT {_DELETES}
)"""

_LATEST = """latest AS (  -- the state of the key before each event
    SELECT *, {columns}
    FROM keyed
    WINDOW earlier AS (PARTITION BY key ORDER BY ordinal ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)"""

_RING = """r{ring}_events AS (  -- the bucket of the event, and the newest bucket before it
    SELECT *, {bucket} AS bucket, {newest} AS newest FROM latest
), r{ring}_held AS (  -- the content of a bucket after each of its events
    SELECT key, bucket, ordinal, {running}
    FROM r{ring}_events WHERE writes
    WINDOW so_far AS (PARTITION BY key, bucket ORDER BY ordinal ROWS UNBOUNDED PRECEDING)
), r{ring}_seen AS (  -- the content of each bucket that an event reads
    SELECT seen.ordinal, held.* EXCLUDE (key, bucket, ordinal)
    FROM (
        SELECT ordinal, key, unnest(range(
            greatest(bucket - {buckets}, newest - {slots}) + 1, least(bucket, newest) + 1
        )) AS bucket
        FROM r{ring}_events WHERE reads AND newest IS NOT NULL
    ) AS seen
    ASOF JOIN r{ring}_held AS held
    ON seen.key = held.key AND seen.bucket = held.bucket AND seen.ordinal > held.ordinal
){means}, r{ring} AS (
    SELECT ordinal, {merged} FROM r{ring}_seen{with_means} GROUP BY ordinal
)"""

_MEANS = """, r{ring}_means AS (
    SELECT ordinal, {means} FROM r{ring}_seen GROUP BY ordinal
)"""


def sql(table_state: TableState, events: str = "events", *, deletes: bool = False) -> str:
    """Return a query that computes the aggregates of a table for each event that reads.

    ``events`` is a relation of all events that the table processed: ``ordinal`` BIGINT (unique, increasing in the order
    in which the events of a key were processed), ``key`` (NULL: none), ``time_ms`` BIGINT (event time), ``reads`` and
    ``writes`` BOOLEAN (only for plausible times), and the columns that the aggregates read, which may be NULL
    in events that do not write. With ``deletes`` there is a further column ``DELETES`` BOOLEAN: whether the event
    deletes the state of its key; such an event neither reads nor writes.

    The result has ``ordinal`` and a DOUBLE for each aggregate, by its name, NULL if missing, ordered by ``ordinal``:
    the values of ``windows.advance``, though sums may differ in the last digits. Raises TopologyError if an aggregate
    reads a column with the name of one of the first five.
    """
    if reserved := [
        column for each in table_state.aggregates for column in each.source_columns if column.lower() in _GIVEN
    ]:
        raise TopologyError(
            f"table {table_state.table.name!r} reads a column {reserved[0]!r}, a name reserved by the offline query; "
            "rename the column"
        )
    steps = [_keyed(table_state, events, _WITH_DELETES if deletes else _KEYED), _latest(table_state)]
    steps += [_ring(table_state, number, window) for number, window in enumerate(table_state.layout.windows)]
    chosen = ",\n    ".join(f"{_result(table_state, each)} AS {quoted(each.name)}" for each in table_state.aggregates)
    rings = "".join(f"\nLEFT JOIN r{number} USING (ordinal)" for number in range(len(table_state.layout.windows)))
    return (
        f"WITH {', '.join(steps)}\nSELECT ordinal,\n    {chosen}\n"
        f"FROM (SELECT ordinal FROM {events} WHERE reads) LEFT JOIN latest USING (ordinal){rings}\nORDER BY ordinal"
    )


def _keyed(table_state: TableState, events: str, form: str) -> str:
    time = f"least(greatest(CAST(time_ms AS BIGINT), -{TIME_BOUND_MS}), {TIME_BOUND_MS}) AS at_ms"
    values = [f"{sql_of(value)} AS v{number}" for number, value in enumerate(table_state.values)]
    return form.format(columns=", ".join([time, *values]), events=events)


def _latest(table_state: TableState) -> str:
    """Return the step that adds last values and times before each event."""
    columns = ["max(at_ms) FILTER (WHERE writes) OVER earlier AS seen_ms"]
    for number in sorted(
        {_number(table_state, each) for each in table_state.aggregates if each.kind is AggregateKind.LAST}
    ):
        known = f"FILTER (WHERE writes AND v{number} IS NOT NULL) OVER earlier"
        columns.append(f"max(at_ms) {known} AS last{number}_ms")
        columns.append(f"arg_max(v{number}, (at_ms, ordinal)) {known} AS last{number}")
    return _LATEST.format(columns=", ".join(columns))


def _ring(table_state: TableState, number: int, window: RingWindow) -> str:
    """Return the steps that compute the aggregates of one window."""
    own = [each for each in table_state.aggregates if each.window == window and each.value is not None]
    numbers = sorted({_number(table_state, each) for each in own})
    spread = sorted({_number(table_state, each) for each in own if each.kind is AggregateKind.STD})
    means = ", ".join(f"sum(total{v}) / sum(n{v}) AS middle{v}" for v in spread)
    return _RING.format(
        ring=number,
        slots=window.slots,
        buckets=window.buckets,
        bucket=_floor("at_ms", window.bucket_ms),
        newest=_floor("seen_ms", window.bucket_ms),
        running=", ".join(["count(*) OVER so_far AS n", *(part for v in numbers for part in _running(v, v in spread))]),
        means=_MEANS.format(ring=number, means=means) if spread else "",
        with_means=f" JOIN r{number}_means USING (ordinal)" if spread else "",
        merged=", ".join(["sum(n) AS n", *(part for v in numbers for part in _merged(v, v in spread))]),
    )


def _running(v: int, spread: bool) -> Iterator[str]:
    """Yield the accumulators of a bucket for value ``v``."""
    yield f"count(v{v}) OVER so_far AS n{v}"
    yield f"coalesce(sum(v{v}) OVER so_far, 0) AS total{v}"
    yield f"min(v{v}) OVER so_far AS least{v}"
    yield f"max(v{v}) OVER so_far AS greatest{v}"
    if spread:
        yield f"avg(v{v}) OVER so_far AS mean{v}, var_pop(v{v}) OVER so_far AS spread{v}"


def _merged(v: int, spread: bool) -> Iterator[str]:
    """Yield the merged accumulators of buckets; the variance is that within buckets plus that between their means."""
    yield f"sum(n{v}) AS n{v}, sum(total{v}) AS total{v}, min(least{v}) AS least{v}, max(greatest{v}) AS greatest{v}"
    if spread:
        between = f"(mean{v} - middle{v}) * (mean{v} - middle{v})"
        yield f"sqrt(sum(n{v} * (spread{v} + {between})) / nullif(sum(n{v}), 0)) AS deviation{v}"


def _result(table_state: TableState, each: Aggregate) -> str:
    """Return the expression of one aggregate."""
    if each.window is None:
        last = each.kind is AggregateKind.LAST
        time = f"last{_number(table_state, each)}_ms" if last else "seen_ms"
        found = f"last{_number(table_state, each)}" if last else "CAST(at_ms - seen_ms AS DOUBLE) / 1000e0"
        ttl = table_state.layout.ttl_ms
        return found if ttl is None else f"CASE WHEN at_ms - {time} <= {ttl} THEN {found} END"
    ring = f"r{table_state.layout.windows.index(each.window)}"
    if each.kind is AggregateKind.COUNT:
        return f"CASE WHEN latest.ordinal IS NOT NULL THEN CAST(coalesce({ring}.n, 0) AS DOUBLE) END"
    v = _number(table_state, each)
    return {
        AggregateKind.SUM: f"CASE WHEN latest.ordinal IS NOT NULL THEN coalesce({ring}.total{v}, 0) END",
        AggregateKind.MEAN: f"{ring}.total{v} / nullif({ring}.n{v}, 0)",
        AggregateKind.MIN: f"{ring}.least{v}",
        AggregateKind.MAX: f"{ring}.greatest{v}",
        AggregateKind.STD: f"{ring}.deviation{v}",
    }[each.kind]


def _number(table_state: TableState, each: Aggregate) -> int:
    """Return the number of the aggregated value."""
    return table_state.layout.values.index(each.measure.value or "")


def _floor(time: str, width: int) -> str:
    """Return the bucket of a time. DuckDB's // rounds towards zero, so the remainder is subtracted first."""
    return f"({time} - ({time} % {width} + {width}) % {width}) // {width}"
