"""Compares the state of every key in its changelog with state recomputed from the source events.

The comparison uses the aggregates that two probe events would read: one at the key's newest time, and one a longest
window earlier, which reads the older half of a ring. The expected values are DuckDB's over all events that updated the
table, without rings, batches or transactions (``surgetank.offline``). The last scores are compared with the scores.

After an increase of the number of partitions, the events of a key may be in several partitions.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.clock import SystemClock
from surgetank.declaration import PREDICTIONS, Events, Pipeline
from surgetank.drills.wire import event_decoder, fact_decoder, score_decoder
from surgetank.errors import SurgetankError
from surgetank.features.aggregate_kinds import AggregateKind
from surgetank.features.tables import TableState
from surgetank.features.windows import advance
from surgetank.kafka import provisioning, topic_configs
from surgetank.kafka.topic_reader import TopicReader
from surgetank.lag.group_offsets import GroupOffsets
from surgetank.migration.partition_history import PartitionHistory, era_of, longest
from surgetank.offline.backfill import query_aggregates
from surgetank.processing.event_sequence import milliseconds
from surgetank.processing.key_comparison import without_mismatches
from surgetank.processing.key_limit import within_key_limit
from surgetank.processing.largest_key import largest_key
from surgetank.processing.stateful_features import HOUR_MS, LATE_MS, plausible_times, predictions_ms, row_serdes
from surgetank.records import DecodedBatch, RecordBatch, large_binary
from surgetank.settings import KafkaSettings, StateSettings
from surgetank.state.changelog import PARTITION_HISTORY, RESERVED_KEYS

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Key = tuple[int, bytes]  # partition and key

WAIT_SECONDS = 30.0
RELATIVE = 1e-9  # the tolerance of sums, which are added in another order
_EXAMPLES = 5
_CHECK_SECONDS = 0.2

NO_RECORDS = RecordBatch.of(())


@dataclass(frozen=True, slots=True)
class StateReport:
    """The result for one table, in numbers of keys.

    ``wrong``: the state differs from the expected values. ``missing``: there is no state, but there should be.
    ``unexpected``: no event of the key updated the state. ``forgotten``: expired and deleted.
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
        """Whether the state is the expected state."""
        return not (self.wrong or self.missing or self.unexpected)

    @property
    def line(self) -> str:
        """The report as text."""
        text = f"{summary(self.as_dict())}, forgotten {self.forgotten}"
        return "\n".join([text, *(f"  {example}" for example in self.examples)])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"ok": self.ok, **asdict(self)}


def summary(report: Mapping[str, Any]) -> str:
    """Return the plain values of a StateReport as text."""
    return (
        f"state of {report['table']}: {report['keys']:,} keys, wrong {report['wrong']}, "
        f"missing {report['missing']}, unexpected {report['unexpected']}"
    )


def compare_states(kafka: KafkaSettings, pipeline: Pipeline) -> list[StateReport]:
    """Compare every table of a pipeline, whose workers have default state settings, after all records are committed.

    Raises BrokerError or TopicsError if a topic cannot be read, SurgetankError if no offset is committed for
    ``WAIT_SECONDS`` although records are left.
    """
    _wait_until_committed(kafka, pipeline)
    settings = StateSettings()
    key_bytes_max = largest_key(pipeline, topic_configs.record_limits(kafka, pipeline))
    reports = [
        _compare_table(kafka, pipeline, table_state, settings, key_bytes_max) for table_state in pipeline.table_states
    ]
    return reports + ([_compare_predictions(kafka, pipeline, settings)] if pipeline.keeps_predictions else [])


def last_values(kafka: KafkaSettings, topic: str) -> tuple[dict[Key, bytes], PartitionHistory | None]:
    """Return the last value of each key of each changelog partition, without deleted keys, and the partition history.

    The history is None if the number of partitions never changed.
    """
    last: dict[Key, bytes | None] = {}
    with TopicReader(kafka, [topic]) as reader:
        for records in reader.catch_up():
            partitions = records.partitions.tolist()
            last.update(
                zip(zip(partitions, records.keys.to_pylist(), strict=True), records.values.to_pylist(), strict=True)
            )
    growth = longest(
        None if value is None else PartitionHistory.load(value)
        for (_, key), value in last.items()
        if key == PARTITION_HISTORY
    )
    rows = {key: value for key, value in last.items() if value is not None and key[1] not in RESERVED_KEYS}
    return rows, growth


def _wait_until_committed(kafka: KafkaSettings, pipeline: Pipeline) -> None:
    clock, offsets = SystemClock(), GroupOffsets(kafka, pipeline.group, pipeline.sources)
    since, before = clock.monotonic(), -1
    while lag := sum(each.lag for each in offsets.now()):
        if lag != before:
            since, before = clock.monotonic(), lag
        elif clock.monotonic() - since > WAIT_SECONDS:
            raise SurgetankError(f"{lag} records of {', '.join(pipeline.sources)} are left, and nothing is committed")
        time.sleep(_CHECK_SECONDS)


def _compare_table(
    kafka: KafkaSettings, pipeline: Pipeline, table_state: TableState, settings: StateSettings, key_bytes_max: int
) -> StateReport:
    name = table_state.table.name
    feed = pipeline.updating_events(table_state)
    found, growth = last_values(kafka, pipeline.changelogs[name])
    source_events = _SourceEvents.read(
        kafka,
        feed,
        settings,
        _RowPartitions(growth, feed.topic, provisioning.existing(kafka)[feed.topic]),
        facts=feed != pipeline.events,
        key_bytes_max=key_bytes_max,
    )
    expected = source_events.keys
    rows = row_serdes(pipeline)[0][name].unpack(large_binary([found[key] for key in expected if key in found]))
    there = [number for number, key in enumerate(expected) if key in found]
    online = np.full((2 * len(expected), len(table_state.aggregates)), np.nan)
    newest = source_events.newest
    probes = np.stack([newest, newest - table_state.layout.longest_window_ms], axis=1)  # int64 [k, 2], in ms
    if there:
        index = np.repeat(np.arange(len(there), dtype=np.int64), 2)
        times = probes[there].reshape(-1)
        n = len(index)
        values, all_, none = np.zeros((n, len(table_state.layout.values))), np.ones(n, np.bool_), np.zeros(n, np.bool_)
        answers, _ = advance(table_state.layout, rows, index, times, values, all_, none)
        online[np.repeat(np.array(there) * 2, 2) + np.tile([0, 1], len(there))] = answers
    truth = _recompute(table_state, source_events, probes)
    same = np.stack(
        [_equal(each.kind, online[:, at], truth[:, at]) for at, each in enumerate(table_state.aggregates)], axis=1
    )
    right = same.all(axis=1).reshape(-1, 2).all(axis=1)
    gone = np.ones(len(expected), dtype=np.bool_)
    gone[there] = False
    plausible = np.ones(len(expected), dtype=np.bool_)
    may_have_expired = _may_have_expired(expected, newest, plausible, table_state.layout.retention_ms, settings) & gone
    wrong, missing = np.flatnonzero(~right & ~gone), np.flatnonzero(gone & ~may_have_expired)
    unexpected = [key for key in found if key not in source_events.numbers]
    examples = [
        f"{expected[at]}: {each.name} is {online[2 * at + probe, s]!r}, should be {truth[2 * at + probe, s]!r}"
        for at in wrong[:_EXAMPLES].tolist()
        for probe in (0, 1)
        for s, each in enumerate(table_state.aggregates)
        if not same[2 * at + probe, s]
    ]
    examples += [f"{expected[at]} is missing" for at in missing[:_EXAMPLES].tolist()]
    examples += [f"{key} is unexpected" for key in unexpected[:_EXAMPLES]]
    return StateReport(
        name, len(expected), len(wrong), len(missing), len(unexpected), int(may_have_expired.sum()), examples
    )


class _SourceEvents:
    """The events that updated a table, in columns, with their distinct keys and the newest time of each key."""

    def __init__(self, events: pa.Table, keys: list[Key], newest: Int64s) -> None:
        self.events = events
        self.keys = keys
        self.numbers = {key: number for number, key in enumerate(keys)}
        self.newest = newest

    @classmethod
    def read(
        cls,
        kafka: KafkaSettings,
        feed: Events,
        settings: StateSettings,
        row_partitions: "_RowPartitions",
        *,
        facts: bool,
        key_bytes_max: int,
    ) -> "_SourceEvents":
        """Read all events of a topic that may update state and were not deleted; ``facts``: null values delete.

        Records with keys of more than ``key_bytes_max`` bytes became dead letters. Keys are numbered across all
        partitions.
        """
        decode = fact_decoder(feed) if facts else event_decoder(feed)
        parts: list[pa.Table] = []
        numbers: dict[Key, int] = {}
        deleted: dict[Key, int] = {}
        with TopicReader(kafka, [feed.topic]) as reader:
            for records in reader.catch_up():
                batch, _ = within_key_limit(without_mismatches(decode(records), feed), key_bytes_max)
                parts.append(_events(batch, feed, settings, numbers, row_partitions))
                _note_deletions(batch, row_partitions, deleted)
        events = (
            pa.concat_tables(parts) if parts else _events(decode(NO_RECORDS), feed, settings, numbers, row_partitions)
        )
        if deleted:
            events, numbers = _undeleted(events, numbers, deleted)
        newest = np.full(len(numbers), np.iinfo(np.int64).min)
        np.maximum.at(newest, events["key"].to_numpy(), events["time_ms"].to_numpy())
        return cls(events, list(numbers), newest)


def _note_deletions(batch: DecodedBatch, row_partitions: "_RowPartitions", deleted: dict[Key, int]) -> None:
    """Note the ordinal of the last deletion of each key."""
    records = batch.records
    keys = records.keys.take(pa.array(batch.deletes)).to_pylist()
    positions = zip(records.partitions[batch.deletes].tolist(), records.offsets[batch.deletes].tolist(), strict=True)
    for key, (partition, offset) in zip(keys, positions, strict=True):
        row_key = row_partitions.of(key, partition, offset)
        ordinal = (row_partitions.stage(partition, offset) << 56) + (partition << 40) + offset
        deleted[row_key] = max(ordinal, deleted.get(row_key, ordinal))


def _undeleted(events: pa.Table, numbers: dict[Key, int], deleted: dict[Key, int]) -> tuple[pa.Table, dict[Key, int]]:
    """Return the events behind the last deletion of their keys, and the keys that have such events, numbered anew."""
    last = np.array([deleted.get(key, -1) for key in numbers], dtype=np.int64)
    of = events["key"].to_numpy()
    kept = events["ordinal"].to_numpy() > last[of]
    found, again = np.unique(of[kept], return_inverse=True)
    keys = list(numbers)
    at = events.column_names.index("key")
    return (
        events.filter(pa.array(kept)).set_column(at, "key", pa.array(again.astype(np.int64))),
        {keys[number]: place for place, number in enumerate(found.tolist())},
    )


def _may_have_expired(
    keys: Sequence[Key],
    newest: Int64s,
    plausible: npt.NDArray[np.bool_],
    retention_ms: int | None,
    settings: StateSettings,
) -> npt.NDArray[np.bool_]:
    """Return bool [k]: which keys may have been forgotten, by their newest times and the newest of their partition.

    Only ``plausible`` times, bool [k], let others expire.
    """
    if retention_ms is None or not keys:
        return np.zeros(len(keys), dtype=np.bool_)
    partitions = np.array([partition for partition, _ in keys], dtype=np.int64)
    newest_of = np.full(int(partitions.max()) + 1, -(1 << 62))  # the differences below do not overflow
    np.maximum.at(newest_of, partitions[plausible], newest[plausible])
    slack_ms = LATE_MS + round(settings.future_hours_max * HOUR_MS)
    may_have_expired: npt.NDArray[np.bool_] = newest < newest_of[partitions] - slack_ms - retention_ms
    return may_have_expired


@dataclass(frozen=True, slots=True)
class _RowPartitions:
    """The current partition of the row of a key, given the position of one of its events."""

    growth: PartitionHistory | None
    topic: str
    partitions: int

    def of(self, key: bytes, partition: int, offset: int) -> Key:
        """Return the key with the partition of its row."""
        if self.growth is None or self.stage(partition, offset) == len(self.growth.stages):
            return partition, key
        return self.growth.home(key, self.partitions), key

    def stage(self, partition: int, offset: int) -> int:
        """Return the number of the partition era in which a record was processed."""
        return era_of(self.growth, self.topic, partition, offset)


def _events(
    batch: DecodedBatch, feed: Events, settings: StateSettings, numbers: dict[Key, int], row_partitions: _RowPartitions
) -> pa.Table:
    records = batch.records
    partitions = records.partitions[batch.rows]
    times, known = milliseconds(batch.columns.column(feed.time))
    writes = known & plausible_times(settings)(times, records.arrived_ms[batch.rows])
    keys = records.keys.take(pa.array(batch.rows)).to_pylist()
    kept = np.flatnonzero(writes & np.array([key not in RESERVED_KEYS for key in keys], dtype=np.bool_))
    offsets = records.offsets[batch.rows]
    positions = list(zip(kept.tolist(), partitions[kept].tolist(), offsets[kept].tolist(), strict=True))
    row_keys = [row_partitions.of(keys[at] or b"", partition, offset) for at, partition, offset in positions]
    numbered = [numbers.setdefault(key, len(numbers)) for key in row_keys]
    stages = np.array([row_partitions.stage(partition, offset) for _, partition, offset in positions], dtype=np.int64)
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


def _recompute(table_state: TableState, source_events: _SourceEvents, probes: Int64s) -> Float64s:
    """Return float64 [2k, F]: the aggregates that the probes of each key read, computed by DuckDB."""
    k = len(source_events.keys)
    probe_events = pa.table(
        {
            "ordinal": pa.array((1 << 60) + np.arange(2 * k, dtype=np.int64)),
            "key": pa.array(np.repeat(np.arange(k, dtype=np.int64), 2)),
            "time_ms": pa.array(probes.reshape(-1)),
            "reads": pa.array(np.ones(2 * k, dtype=np.bool_)),
            "writes": pa.array(np.zeros(2 * k, dtype=np.bool_)),
        }
    )
    events = pa.concat_tables([source_events.events, probe_events], promote_options="default")
    return np.stack(list(query_aggregates(table_state, events).values()), axis=1)


def _equal(kind: AggregateKind, one: Float64s, other: Float64s) -> npt.NDArray[np.bool_]:
    if kind.exact:
        same: npt.NDArray[np.bool_] = (one == other) | (np.isnan(one) & np.isnan(other))
        return same
    return np.isclose(one, other, rtol=RELATIVE, atol=RELATIVE, equal_nan=True)


def _compare_predictions(kafka: KafkaSettings, pipeline: Pipeline, settings: StateSettings) -> StateReport:
    serde = row_serdes(pipeline)[0][PREDICTIONS]
    found, growth = last_values(kafka, pipeline.changelogs[PREDICTIONS])
    row_partitions = _RowPartitions(growth, pipeline.events.topic, provisioning.existing(kafka)[pipeline.events.topic])
    rows = dict(zip(found, serde.unpack(large_binary(list(found.values()))).tolist(), strict=True))
    expected: dict[Key, tuple[float, int, int, bytes]] = {}
    stages: dict[Key, int] = {}
    decode = score_decoder(pipeline)
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
            partitions = records.partitions[batch.rows].tolist()
            keys = records.keys.take(pa.array(batch.rows)).to_pylist()
            offsets = batch.columns.column("source_offset").to_pylist()
            for partition, key, value, offset in zip(partitions, keys, values, offsets, strict=True):
                if key is None or key in RESERVED_KEYS:
                    continue
                number, stage = row_partitions.of(key, partition, offset), row_partitions.stage(partition, offset)
                if stage >= stages.get(number, 0):  # partitions are read in parallel
                    expected[number], stages[number] = value, stage
    wrong = [key for key, value in expected.items() if key in rows and rows[key] != value]
    gone = [key for key in expected if key not in rows]
    old_ = dict(zip(expected, _scores_may_have_expired(expected, pipeline, settings).tolist(), strict=True))
    missing = [key for key in gone if not old_[key]]
    unexpected = [key for key in rows if key not in expected]
    examples = [f"{key}: {rows[key]} should be {expected[key]}" for key in wrong[:_EXAMPLES]]
    examples += [f"{key} is missing" for key in missing[:_EXAMPLES]]
    return StateReport(
        PREDICTIONS, len(expected), len(wrong), len(missing), len(unexpected), len(gone) - len(missing), examples
    )


def _scores_may_have_expired(
    expected: Mapping[Key, tuple[float, int, int, bytes]], pipeline: Pipeline, settings: StateSettings
) -> npt.NDArray[np.bool_]:
    """Return bool [k]: which last scores (score, event time in ms, time of scoring in ms, model) may be forgotten."""
    times = np.array([event_ms for _, event_ms, _, _ in expected.values()], dtype=np.int64)
    scored = np.array([scored_ms for _, _, scored_ms, _ in expected.values()], dtype=np.int64)
    plausible = times <= scored + round(settings.future_hours_max * HOUR_MS)
    return _may_have_expired(list(expected), times, plausible, predictions_ms(pipeline), settings)
