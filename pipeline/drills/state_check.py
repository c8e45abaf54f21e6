"""Compares the state of every key, as its changelog has it, with one worked out anew from the recorded events.

What is compared is what the state says to two events that come next: one at the key's newest time, and one a longest
window earlier, which sees the older half of a ring. The other side is DuckDB's answer over all events that fed the
table, without rings, batches or transactions (``features/offline``). The last scores are compared with the scores.

Where a pipeline was given more partitions, a key is the same one in whichever of them its events lie.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.clock import Clock, SystemClock
from pipeline.declaration import PREDICTIONS, Events, Pipeline
from pipeline.drills.wire import SCORE, decoder
from pipeline.errors import StartupError, SurgetankError
from pipeline.features.row_layout import AggregateKind
from pipeline.features.tables import TableState
from pipeline.features.windows import advance
from pipeline.kafka import provisioning
from pipeline.kafka.topic_reader import TopicReader
from pipeline.lag.group_offsets import GroupOffsets
from pipeline.migration.partition_history import PartitionHistory, era_of, longest
from pipeline.offline import feature_sql
from pipeline.processing.stateful_features import LATE_MS, milliseconds, plausible_times, predictions_ms, row_serdes
from pipeline.records import DecodedBatch, RecordBatch
from pipeline.settings import KafkaSettings, StateSettings
from pipeline.state.changelog import PARTITION_HISTORY, RESERVED_KEYS

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Key = tuple[int, bytes]  # of one partition

RELATIVE = 1e-9  # how far sums may be off: they are added up in another order
_EXACT = {
    AggregateKind.COUNT,
    AggregateKind.MIN,
    AggregateKind.MAX,
    AggregateKind.LAST,
    AggregateKind.SECONDS_SINCE_LAST,
}
_EXAMPLES = 5
_LOOK_SECONDS = 0.2

NO_RECORDS = RecordBatch.of(())


@dataclass(frozen=True, slots=True)
class StateReport:
    """One table, in numbers of keys.

    ``wrong``: the state says something else than the events. ``missing``: it says nothing, and it should.
    ``unexpected``: no event of the key changed it. ``forgotten``: old enough to be forgotten, and so it was.
    """

    table: str
    keys: int
    wrong: int
    missing: int
    unexpected: int
    forgotten: int
    examples: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the state is what the events make it."""
        return not (self.wrong or self.missing or self.unexpected)

    @property
    def line(self) -> str:
        """The report in words."""
        text = f"{words(self.as_dict())}, forgotten {self.forgotten}"
        return "\n".join([text, *(f"  {example}" for example in self.examples)])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"ok": self.ok, **asdict(self)}


def words(report: Mapping[str, Any]) -> str:
    """Return in words what the plain values of a StateReport say of right and wrong."""
    return (
        f"state of {report['table']}: {report['keys']:,} keys, wrong {report['wrong']}, "
        f"missing {report['missing']}, unexpected {report['unexpected']}"
    )


def compare_states(
    kafka: KafkaSettings,
    pipeline: Pipeline,
    settings: StateSettings | None = None,
    *,
    wait: float = 30.0,
    clock: Clock | None = None,
) -> list[StateReport]:
    """Compare every table of a pipeline, once all events and facts are committed. ``settings`` are its workers'.

    Raises BrokerError or TopicsError if a topic cannot be read, SurgetankError if nothing is committed for ``wait``
    seconds and something still waits.
    """
    _wait_until_committed(kafka, pipeline, wait, clock or SystemClock())
    settings = settings or StateSettings()
    reports = [_compare_table(kafka, pipeline, memory, settings) for memory in pipeline.memories]
    return reports + ([_compare_predictions(kafka, pipeline, settings)] if pipeline.keeps_predictions else [])


def last_values(kafka: KafkaSettings, topic: str) -> tuple[dict[Key, bytes], PartitionHistory | None]:
    """Return the last record of each key of each partition of a changelog, without those that were forgotten.

    And what it says of how keys moved, None for nothing.
    """
    last: dict[Key, bytes | None] = {}
    with TopicReader(kafka, [topic]) as reader:
        for records in reader.catch_up():
            partitions = _partitions(records).tolist()
            last.update(zip(zip(partitions, records.keys, strict=True), records.values, strict=True))  # type: ignore[arg-type]
    growth = longest(
        None if value is None else PartitionHistory.load(value)
        for (_, key), value in last.items()
        if key == PARTITION_HISTORY
    )
    rows = {key: value for key, value in last.items() if value is not None and key[1] not in RESERVED_KEYS}
    return rows, growth


def _wait_until_committed(kafka: KafkaSettings, pipeline: Pipeline, wait: float, clock: Clock) -> None:
    offsets, pause = GroupOffsets(kafka, pipeline.group, pipeline.sources), threading.Event()
    since, before = clock.monotonic(), -1
    while lag := sum(each.lag for each in offsets.now()):
        if lag != before:
            since, before = clock.monotonic(), lag
        elif clock.monotonic() - since > wait:
            raise SurgetankError(f"{lag} records of {', '.join(pipeline.sources)} wait, and nothing is committed")
        pause.wait(_LOOK_SECONDS)


def _compare_table(
    kafka: KafkaSettings, pipeline: Pipeline, memory: TableState, settings: StateSettings
) -> StateReport:
    name = memory.table.name
    feed = pipeline.feed_of(memory)
    found, growth = last_values(kafka, pipeline.changelogs[name])
    fed = _Fed.read(kafka, feed, settings, _Homes(growth, feed.topic, provisioning.existing(kafka)[feed.topic]))
    expected = fed.keys
    rows = row_serdes(pipeline)[0][name].unpack([found[key] for key in expected if key in found])
    there = [place for place, key in enumerate(expected) if key in found]
    online = np.full((2 * len(expected), len(memory.statistics)), np.nan)
    probes = fed.probes(memory)
    if there:
        index = np.repeat(np.arange(len(there), dtype=np.int64), 2)
        times = probes[there].reshape(-1)
        n = len(index)
        values, all_, none = np.zeros((n, len(memory.layout.values))), np.ones(n, np.bool_), np.zeros(n, np.bool_)
        answers, _ = advance(memory.layout, rows, index, times, values, all_, none)
        online[np.repeat(np.array(there) * 2, 2) + np.tile([0, 1], len(there))] = answers
    truth = _recomputed(memory, fed, probes)
    same = np.stack(
        [_same(each.kind, online[:, at], truth[:, at]) for at, each in enumerate(memory.statistics)], axis=1
    )
    right = same.all(axis=1).reshape(-1, 2).all(axis=1)
    gone = np.ones(len(expected), dtype=np.bool_)
    gone[there] = False
    old = fed.old(memory, settings) & gone
    wrong, missing = np.flatnonzero(~right & ~gone), np.flatnonzero(gone & ~old)
    unexpected = [key for key in found if key not in fed.places]
    examples = [
        f"{expected[at]}: {each.name} is {online[2 * at + probe, s]!r}, should be {truth[2 * at + probe, s]!r}"
        for at in wrong[:_EXAMPLES].tolist()
        for probe in (0, 1)
        for s, each in enumerate(memory.statistics)
        if not same[2 * at + probe, s]
    ]
    examples += [f"{expected[at]} is missing" for at in missing[:_EXAMPLES].tolist()]
    examples += [f"{key} is unexpected" for key in unexpected[:_EXAMPLES]]
    return StateReport(name, len(expected), len(wrong), len(missing), len(unexpected), int(old.sum()), examples)


class _Fed:
    """The events that fed a table: ``events`` in columns, the distinct keys with their places, and the newest times."""

    def __init__(self, events: pa.Table, keys: list[Key], newest: Int64s) -> None:
        self.events = events
        self.keys = keys
        self.places = {key: place for place, key in enumerate(keys)}
        self.newest = newest

    @classmethod
    def read(cls, kafka: KafkaSettings, feed: Events, settings: StateSettings, homes: "_Homes") -> "_Fed":
        """Read all events of a topic. Their keys are numbered over all partitions; what may not write has no part."""
        decode = decoder(feed.schema)
        parts: list[pa.Table] = []
        places: dict[Key, int] = {}
        with TopicReader(kafka, [feed.topic]) as reader:
            parts += [_events(decode(records), feed, settings, places, homes) for records in reader.catch_up()]
        events = pa.concat_tables(parts) if parts else _events(decode(NO_RECORDS), feed, settings, places, homes)
        newest = np.full(len(places), np.iinfo(np.int64).min)
        np.maximum.at(newest, events["key"].to_numpy(), events["time_ms"].to_numpy())
        return cls(events, list(places), newest)

    def probes(self, memory: TableState) -> Int64s:
        """Return int64 [k, 2]: the times at which each key is asked."""
        return np.stack([self.newest, self.newest - memory.layout.longest_ms], axis=1)

    def old(self, memory: TableState, settings: StateSettings) -> npt.NDArray[np.bool_]:
        """Return bool [k]: which keys may have been forgotten."""
        return _old(self.keys, self.newest, memory.layout.memory_ms, settings)


def _old(keys: Sequence[Key], newest: Int64s, memory_ms: int | None, settings: StateSettings) -> npt.NDArray[np.bool_]:
    """Return bool [k]: which keys may have been forgotten, by their newest times and the newest of their partition."""
    if memory_ms is None or not keys:
        return np.zeros(len(keys), dtype=np.bool_)
    partitions = np.array([partition for partition, _ in keys], dtype=np.int64)
    newest_of = np.full(int(partitions.max()) + 1, np.iinfo(np.int64).min)
    np.maximum.at(newest_of, partitions, newest)
    slack_ms = LATE_MS + round(settings.future_hours_max * 3_600_000)
    old: npt.NDArray[np.bool_] = newest < newest_of[partitions] - slack_ms - memory_ms
    return old


@dataclass(frozen=True, slots=True)
class _Homes:
    """Where the row of a key is, of which an event lies in some partition of a topic with so many of them by now."""

    growth: PartitionHistory | None
    topic: str
    partitions: int

    def of(self, key: bytes, partition: int, offset: int) -> Key:
        """Return the key where its row is."""
        if self.growth is None or self.stage(partition, offset) == len(self.growth.stages):
            return partition, key
        return self.growth.home(key, self.partitions), key

    def stage(self, partition: int, offset: int) -> int:
        """Return the number of the stage in which a record was processed."""
        return era_of(self.growth, self.topic, partition, offset)


def _events(
    batch: DecodedBatch, feed: Events, settings: StateSettings, places: dict[Key, int], homes: _Homes
) -> pa.Table:
    records = batch.records
    partitions = _partitions(records)[batch.rows]
    times, known = milliseconds(batch.columns.column(feed.time))
    writes = known & plausible_times(settings)(times, records.arrived_ms[batch.rows])
    keys = [records.keys[row] for row in batch.rows.tolist()]
    kept = np.flatnonzero(writes & np.array([key not in RESERVED_KEYS for key in keys], dtype=np.bool_))
    offsets = records.offsets[batch.rows]
    lying = list(zip(kept.tolist(), partitions[kept].tolist(), offsets[kept].tolist(), strict=True))
    homed = [homes.of(keys[at] or b"", partition, offset) for at, partition, offset in lying]
    numbered = [places.setdefault(key, len(places)) for key in homed]
    stages = np.array([homes.stage(partition, offset) for _, partition, offset in lying], dtype=np.int64)
    table = pa.Table.from_batches([batch.columns.take(pa.array(kept))])
    given = {
        "ordinal": (stages << 56) + (partitions[kept] << 40) + offsets[kept],
        "key": np.array(numbered, dtype=np.int64),
        "time_ms": times[kept],
        "reads": np.zeros(len(kept), dtype=np.bool_),
        "writes": np.ones(len(kept), dtype=np.bool_),
    }
    table = table.drop_columns([name for name in given if name in table.column_names])
    for name, column in given.items():
        table = table.append_column(name, pa.array(column))
    return table


def _recomputed(memory: TableState, fed: _Fed, probes: Int64s) -> Float64s:
    """Return float64 [2k, F]: what DuckDB says to the probes of each key."""
    try:
        import duckdb
    except ImportError:
        raise StartupError("to work state out anew needs DuckDB: pip install 'surgetank[offline]'") from None

    k = len(fed.keys)
    asked = pa.table(
        {
            "ordinal": pa.array((1 << 60) + np.arange(2 * k, dtype=np.int64)),
            "key": pa.array(np.repeat(np.arange(k, dtype=np.int64), 2)),
            "time_ms": pa.array(probes.reshape(-1)),
            "reads": pa.array(np.ones(2 * k, dtype=np.bool_)),
            "writes": pa.array(np.zeros(2 * k, dtype=np.bool_)),
        }
    )
    events = pa.concat_tables([fed.events, asked], promote_options="default")
    with duckdb.connect() as db:
        db.register("events", events)
        found = db.sql(feature_sql.sql(memory)).to_arrow_table()
    columns = [found[each.name].cast(pa.float64()).fill_null(np.nan).to_numpy() for each in memory.statistics]
    return np.stack(columns, axis=1)


def _same(kind: AggregateKind, one: Float64s, other: Float64s) -> npt.NDArray[np.bool_]:
    if kind in _EXACT:
        same: npt.NDArray[np.bool_] = (one == other) | (np.isnan(one) & np.isnan(other))
        return same
    return np.isclose(one, other, rtol=RELATIVE, atol=RELATIVE, equal_nan=True)


def _compare_predictions(kafka: KafkaSettings, pipeline: Pipeline, settings: StateSettings) -> StateReport:
    format_ = row_serdes(pipeline)[0][PREDICTIONS]
    found, growth = last_values(kafka, pipeline.changelogs[PREDICTIONS])
    homes = _Homes(growth, pipeline.events.topic, provisioning.existing(kafka)[pipeline.events.topic])
    rows = dict(zip(found, format_.unpack(list(found.values())).tolist(), strict=True))
    expected: dict[Key, tuple[float, int, int, bytes]] = {}
    stages: dict[Key, int] = {}
    decode = decoder(SCORE)
    with TopicReader(kafka, [pipeline.scores.topic]) as reader:
        for records in reader.catch_up():
            batch = decode(records)
            columns = [batch.columns.column(name) for name in ("score", "event_time", "scored_at", "model_version")]
            values = zip(
                columns[0].to_pylist(),
                milliseconds(columns[1])[0].tolist(),
                milliseconds(columns[2])[0].tolist(),
                [version.encode() for version in columns[3].to_pylist()],
                strict=True,
            )
            partitions = _partitions(records)[batch.rows].tolist()
            keys = [records.keys[row] for row in batch.rows.tolist()]
            offsets = batch.columns.column("source_offset").to_pylist()
            for partition, key, value, offset in zip(partitions, keys, values, offsets, strict=True):
                if key is None or key in RESERVED_KEYS:
                    continue
                place, stage = homes.of(key, partition, offset), homes.stage(partition, offset)
                if stage >= stages.get(place, 0):  # partitions are read side by side
                    expected[place], stages[place] = value, stage
    wrong = [key for key, value in expected.items() if key in rows and rows[key] != value]
    gone = [key for key in expected if key not in rows]
    times = np.array([event_ms for _, event_ms, _, _ in expected.values()], dtype=np.int64)
    old_ = dict(zip(expected, _old(list(expected), times, predictions_ms(pipeline), settings).tolist(), strict=True))
    missing = [key for key in gone if not old_[key]]
    unexpected = [key for key in rows if key not in expected]
    examples = [f"{key}: {rows[key]} should be {expected[key]}" for key in wrong[:_EXAMPLES]]
    examples += [f"{key} is missing" for key in missing[:_EXAMPLES]]
    return StateReport(
        PREDICTIONS, len(expected), len(wrong), len(missing), len(unexpected), len(gone) - len(missing), examples
    )


def _partitions(records: RecordBatch) -> Int64s:
    numbers = np.array([source.partition for source in records.sources], dtype=np.int64)
    return numbers[records.source]
