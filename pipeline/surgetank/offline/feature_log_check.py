"""Compares the features that workers logged with those computed offline from the same topics.

The events of a partition were processed in the order of their offsets, and each logged record says which facts were
processed before its event. So the processing order across topics can be reconstructed. The offline side is the data
that a model would be trained on: keys are those of the records, aggregates come from DuckDB.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.declaration import Pipeline
from surgetank.drills.wire import decoder
from surgetank.errors import TopicsError
from surgetank.features.spec import Float64s
from surgetank.features.tables import Aggregate
from surgetank.kafka import clients, provisioning
from surgetank.kafka.topic_reader import offsets, partitions
from surgetank.offline.backfill import compute_aggregates, matrices
from surgetank.offline.comparison import ComputedFeatures, SkewReport, compare
from surgetank.offline.history import History, OrderedEvents, milliseconds
from surgetank.offline.topic_records import OFFSET_BITS, TopicRecords, read_topics
from surgetank.processing.stateful_features import plausible_times
from surgetank.settings import KafkaSettings, StateSettings

FEATURES = "features"

Int64s = npt.NDArray[np.int64]
StatusCallback = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FeatureLogReport:
    """The comparison of the logged features of a pipeline with offline features.

    ``unrecorded`` events have no logged record: they were not scored, or logging was off. ``doubled`` events have more
    than one. ``others`` are records of another declaration or topic, which are ignored. ``lacking`` has the first
    offset of each partition whose first records are deleted: their facts are unknown offline. ``gone`` logged records
    are of deleted events.
    """

    pipeline: str
    fingerprint: str
    skew: SkewReport
    unrecorded: int
    doubled: int
    others: int
    gone: int
    lacking: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether features were logged, for no event twice, and no value differs."""
        return self.skew.ok and not self.doubled

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"ok": self.ok, **asdict(self)}


def check_feature_log(
    kafka: KafkaSettings,
    pipeline: Pipeline,
    settings: StateSettings | None = None,
    report_status: StatusCallback = lambda _: None,
) -> FeatureLogReport:
    """Compare the logged features of a pipeline; ``settings`` are those of its workers. Holds all events in memory.

    Workers may run meanwhile. Raises BrokerError or TopicsError if a topic cannot be read, StartupError without DuckDB,
    TopologyError if the events lack inputs of the features.
    """
    if pipeline.recorded not in provisioning.existing(kafka):
        raise TopicsError(
            f"no features of {pipeline.name!r} are recorded: topic {pipeline.recorded!r} does not exist; create it "
            f"with `surgetank topics apply {pipeline.name} --features`, and start workers with "
            "--set features.record=true"
        )
    report_status(f"reading {pipeline.recorded}")
    records = _LoggedFeatures.of(
        pipeline, TopicRecords.read(kafka, pipeline.recorded, decoder(FEATURES), _LoggedFeatures.columns)
    )
    # Read after the log, so that all events that the log refers to are read.
    logs = read_topics(kafka, pipeline, report_status)
    admin = clients.admin(kafka)
    firsts = offsets(admin, partitions(admin, pipeline.sources, kafka.bootstrap), "earliest")
    remaining = records.since(
        {source.partition: at for source, at in firsts.items() if source.topic == pipeline.events.topic}
    )
    history, rows = _history(pipeline, logs, remaining, settings or StateSettings())
    report_status("computing offline")
    known = np.flatnonzero(rows >= 0)
    skew = compare(
        pipeline.spec.logged,
        ComputedFeatures(_event_ids(remaining.positions), remaining.values),
        ComputedFeatures(
            _event_ids(remaining.positions[known]),
            offline_values(pipeline, history, rows[known], remaining.values[known]),
        ),
    )
    return FeatureLogReport(
        pipeline=pipeline.name,
        fingerprint=pipeline.spec.fingerprint(),
        skew=skew,
        unrecorded=len(logs[pipeline.events.topic]) - len(known),
        doubled=records.doubled,
        others=records.others,
        gone=len(records.positions) - len(remaining.positions),
        lacking={str(source): first for source, first in firsts.items() if first > 0},
    )


def processing_order(events: Int64s, rows: Int64s, facts_read: Int64s, facts: Sequence[Int64s]) -> list[Int64s]:
    """Return the ordinals of events, int64 [n], and of the facts of each topic, in processing order.

    ``events`` and ``facts`` are sorted positions. ``rows`` int64 [k], sorted, are the events with a logged record:
    ``facts_read`` int64 [k, T] has the offset after the last fact processed before, by topic, in the event's partition.
    """
    following = np.append(rows, len(events))
    slots = [2 * np.arange(len(events)) + 1]
    for topic, positions in enumerate(facts):
        reached = (events[rows] >> OFFSET_BITS << OFFSET_BITS) + facts_read[:, topic]
        slots.append(2 * following[np.searchsorted(reached, positions, side="right")])
    lengths = [len(each) for each in slots]
    topics = np.repeat(np.arange(len(slots)), lengths)
    ordinals = np.empty(sum(lengths), dtype=np.int64)
    ordinals[np.lexsort((np.concatenate([events, *facts]), topics, np.concatenate(slots)))] = np.arange(sum(lengths))
    return np.split(ordinals, np.cumsum(lengths)[:-1])


def offline_values(pipeline: Pipeline, history: History, rows: Int64s, online: Float64s) -> Float64s:
    """Return float64 [k, L]: the logged inputs of ``rows`` int64 [k] of the pipeline's own events, computed offline.

    Features computed from aggregates are computed from the logged aggregates in ``online`` float64 [k, L]: a sum that
    differs in its last digits is compared once, with its tolerance, and all that follows from it bit by bit.
    """
    spec, own = pipeline.spec, history.topics[pipeline.events.topic]
    aggregates = [(at, each.name) for at, each in enumerate(spec.logged) if isinstance(each, Aggregate)]
    events = OrderedEvents(own.table.take(pa.array(rows)), own.ordinal[rows])
    found = np.empty((len(rows), len(spec.logged)))
    first = 0
    for _, matrix in matrices(pipeline, events, {name: online[:, at] for at, name in aggregates}):
        found[first : first + len(matrix), : len(spec.names)] = matrix
        first += len(matrix)
    computed = compute_aggregates(pipeline, history)
    for at, name in aggregates:
        found[:, at] = computed[name][rows]
    return found


@dataclass(frozen=True, slots=True)
class _LoggedFeatures:
    """The k events with logged features, sorted by ``positions`` int64 [k].

    ``values`` is float64 [k, L], NaN for missing values: the inputs of ``FeatureSpec.logged``. ``facts_read`` is
    int64 [k, T] as in ``processing_order``.
    """

    positions: Int64s
    values: Float64s
    facts_read: Int64s
    doubled: int
    others: int

    columns = ("source_partition", "source_offset", "values", "facts", "fingerprint", "source_topic")

    @classmethod
    def of(cls, pipeline: Pipeline, log: TopicRecords) -> "_LoggedFeatures":
        """Select the records of the pipeline's current declaration and topic, one per event."""
        fits = pc.equal(log.table["fingerprint"], pipeline.spec.fingerprint())
        ours = log.table.filter(pc.and_(fits, pc.equal(log.table["source_topic"], pipeline.events.topic)))
        partition, offset = (ours[name].to_numpy().astype(np.int64) for name in cls.columns[:2])
        positions, first, times = np.unique((partition << OFFSET_BITS) + offset, return_index=True, return_counts=True)
        values, facts_read = (pc.list_flatten(ours[name]) for name in cls.columns[2:4])
        return cls(
            positions,
            values.cast(pa.float64()).fill_null(np.nan).to_numpy().reshape(len(ours), len(pipeline.spec.logged))[first],
            facts_read.to_numpy().reshape(len(ours), len(pipeline.table_facts))[first],
            doubled=int((times > 1).sum()),
            others=len(log) - len(ours),
        )

    def since(self, firsts: Mapping[int, int]) -> "_LoggedFeatures":
        """Return the records of events that are not deleted, given the first offset of each partition."""
        first_offsets = np.zeros(1 + max(firsts, default=0), dtype=np.int64)
        first_offsets[list(firsts)] = list(firsts.values())
        kept = self.positions & ((1 << OFFSET_BITS) - 1) >= first_offsets[self.positions >> OFFSET_BITS]
        return replace(self, positions=self.positions[kept], values=self.values[kept], facts_read=self.facts_read[kept])


def _history(
    pipeline: Pipeline, logs: dict[str, TopicRecords], records: _LoggedFeatures, settings: StateSettings
) -> tuple[History, Int64s]:
    """Return all events in processing order, and int64 [k]: the row of the event of each record, -1 if unknown."""
    own = logs[pipeline.events.topic].positions
    rows = np.searchsorted(own, records.positions)
    rows[~np.isin(records.positions, own)] = -1
    known = rows >= 0
    ordinals = processing_order(
        own, rows[known], records.facts_read[known], [logs[feed.topic].positions for feed in pipeline.table_facts]
    )
    may_update, topics = plausible_times(settings), {}
    for events, ordinal in zip((pipeline.events, *pipeline.table_facts), ordinals, strict=True):
        log = logs[events.topic]
        times = milliseconds(log.table[events.time], f"field {events.time!r} of the events of {events.topic!r}")
        may = may_update(times, log.arrived_ms)
        topics[events.topic] = OrderedEvents(log.table, ordinal, may, log.keys, log.deletes)
    return History(topics), rows


def _event_ids(positions: Int64s) -> pa.Array:
    """Return readable ids of events: partition 3 and offset 141 are "3:141"."""
    partition, offset = pa.array(positions >> OFFSET_BITS), pa.array(positions & ((1 << OFFSET_BITS) - 1))
    return pc.binary_join_element_wise(partition.cast(pa.string()), offset.cast(pa.string()), ":")
