"""The features that workers recorded, beside those that the same topics give offline.

The events of a partition were taken in the order of their offsets, and each record says which facts were taken before
its event. So everything can be put in the order in which it was taken, also what came from several topics. What is
offline is what a model would be trained on: keys are the fields that record keys repeat, statistics are DuckDB's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.declaration import Pipeline
from pipeline.drills.wire import decoder
from pipeline.errors import TopicsError
from pipeline.features.spec import Float64s
from pipeline.kafka import clients, provisioning
from pipeline.kafka.topic_reader import TopicReader, offsets, partitions
from pipeline.offline.backfill import matrices, remembered
from pipeline.offline.comparison import Computed, SkewReport, compare
from pipeline.offline.history import History, Taken, milliseconds, needed
from pipeline.processing.stateful_features import plausible_times
from pipeline.records import DecodedBatch, RecordBatch
from pipeline.settings import KafkaSettings, StateSettings

FEATURES = "features"

Int64s = npt.NDArray[np.int64]
Told = Callable[[str], None]

NONE = np.zeros(0, dtype=np.int64)
_BITS = 44  # of a place those that are the offset; the others are the partition


@dataclass(frozen=True, slots=True)
class RecordedReport:
    """What was recorded of a pipeline, compared with what is computed offline.

    ``unrecorded`` events have no record: they were not scored, or not while features were recorded. ``doubled`` events
    have more than one. ``others`` are records of another declaration or topic, which were left alone. ``lacking`` says
    of each partition that no longer begins with its first record where it begins: what was told before is unknown
    offline; ``gone`` records are of such events.
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
        """Whether something was recorded, no event twice, and nothing differs."""
        return self.skew.ok and not self.doubled

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"ok": self.ok, **asdict(self)}


def compare_recorded(
    kafka: KafkaSettings,
    pipeline: Pipeline,
    settings: StateSettings | None = None,
    told: Told = lambda _: None,
) -> RecordedReport:
    """Compare the recorded features of a pipeline; ``settings`` are its workers'. Holds all of its events in memory.

    Workers may run meanwhile. Raises BrokerError or TopicsError if a topic cannot be read, StartupError without DuckDB,
    TopologyError if the events do not have what the features read.
    """
    if pipeline.recorded not in provisioning.existing(kafka):
        raise TopicsError(
            f"nothing is recorded of {pipeline.name!r}: there is no topic {pipeline.recorded!r}; make it with "
            f"`surgetank topics apply {pipeline.name} --features`, and start workers with --set features.record=true"
        )
    told(f"reading {pipeline.recorded}")
    records = _Records.of(pipeline, _Log.read(kafka, pipeline.recorded, FEATURES, _Records.columns))
    # Read after them, so that all that they tell of is there.
    schemas = {each.topic: each.schema for each in (pipeline.events, *pipeline.feeds)}
    logs: dict[str, _Log] = {}
    for topic, columns in needed(pipeline).items():
        told(f"reading {topic}")
        logs[topic] = _Log.read(kafka, topic, schemas[topic], columns)
    admin = clients.admin(kafka)
    firsts = offsets(admin, partitions(admin, pipeline.sources, kafka.bootstrap), "earliest")
    left = records.since(
        {source.partition: at for source, at in firsts.items() if source.topic == pipeline.events.topic}
    )
    history, rows = _history(pipeline, logs, left, settings or StateSettings())
    told("computing offline")
    there = np.flatnonzero(rows >= 0)
    skew = compare(
        pipeline.features,
        Computed(_names(left.places), left.values),
        Computed(_names(left.places[there]), _offline(pipeline, history)[rows[there]]),
    )
    return RecordedReport(
        pipeline=pipeline.name,
        fingerprint=pipeline.spec.fingerprint(),
        skew=skew,
        unrecorded=len(logs[pipeline.events.topic]) - len(there),
        doubled=records.doubled,
        others=records.others,
        gone=len(records.places) - len(left.places),
        lacking={str(source): first for source, first in firsts.items() if first > 0},
    )


def in_order(events: Int64s, rows: Int64s, taken: Int64s, facts: Sequence[Int64s]) -> list[Int64s]:
    """Return the ordinals of events, int64 [n], and of the facts of each topic, in the order in which they were taken.

    ``events`` and ``facts`` are places, rising. ``rows`` int64 [k], rising, are the events that tell which facts they
    follow: ``taken`` int64 [k, T] has the offset behind the last one of each topic, in the partition of the event.
    """
    following = np.append(rows, len(events))
    slots = [2 * np.arange(len(events)) + 1]
    for topic, places in enumerate(facts):
        reached = (events[rows] >> _BITS << _BITS) + taken[:, topic]
        slots.append(2 * following[np.searchsorted(reached, places, side="right")])
    lengths = [len(each) for each in slots]
    topics = np.repeat(np.arange(len(slots)), lengths)
    ordinals = np.empty(sum(lengths), dtype=np.int64)
    ordinals[np.lexsort((np.concatenate([events, *facts]), topics, np.concatenate(slots)))] = np.arange(sum(lengths))
    return np.split(ordinals, np.cumsum(lengths)[:-1])


@dataclass(frozen=True, slots=True)
class _Log:
    """The n records of a topic that decode, by rising ``places`` int64 [n]. ``arrived_ms`` is int64 [n]."""

    table: pa.Table
    places: Int64s
    arrived_ms: Int64s

    @classmethod
    def read(cls, kafka: KafkaSettings, topic: str, schema: str, columns: Sequence[str]) -> "_Log":
        """Read some columns of a whole topic."""
        decode = decoder(schema)
        tables, places, arrived = [_columns(decode(RecordBatch.of(())), columns)], [NONE], [NONE]
        with TopicReader(kafka, [topic]) as reader:
            numbers = np.array([source.partition for source in reader.sources], dtype=np.int64)
            for records in reader.catch_up():
                batch = decode(records)
                tables.append(_columns(batch, columns))
                places.append((numbers[records.source] << _BITS)[batch.rows] + records.offsets[batch.rows])
                arrived.append(records.arrived_ms[batch.rows])
        joined = np.concatenate(places)
        order = np.argsort(joined)
        return cls(pa.concat_tables(tables).take(order), joined[order], np.concatenate(arrived)[order])

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True, slots=True)
class _Records:
    """The k events of which features were recorded, by rising ``places`` int64 [k].

    ``values`` is float64 [k, F], NaN where one is missing; ``taken`` int64 [k, T] as ``in_order`` wants it.
    """

    places: Int64s
    values: Float64s
    taken: Int64s
    doubled: int
    others: int

    columns = ("source_partition", "source_offset", "values", "facts", "fingerprint", "source_topic")

    @classmethod
    def of(cls, pipeline: Pipeline, log: _Log) -> "_Records":
        """Take the records of the pipeline's declaration and events; of an event that has several, one."""
        fits = pc.equal(log.table["fingerprint"], pipeline.spec.fingerprint())
        ours = log.table.filter(pc.and_(fits, pc.equal(log.table["source_topic"], pipeline.events.topic)))
        partition, offset = (ours[name].to_numpy().astype(np.int64) for name in cls.columns[:2])
        places, first, times = np.unique((partition << _BITS) + offset, return_index=True, return_counts=True)
        values, taken = (pc.list_flatten(ours[name]) for name in cls.columns[2:4])
        return cls(
            places,
            values.cast(pa.float64()).fill_null(np.nan).to_numpy().reshape(len(ours), len(pipeline.features))[first],
            taken.to_numpy().reshape(len(ours), len(pipeline.feeds))[first],
            doubled=int((times > 1).sum()),
            others=len(log) - len(ours),
        )

    def since(self, firsts: Mapping[int, int]) -> "_Records":
        """Return those of events that their partition still has: from its first offset on."""
        begins = np.zeros(1 + max(firsts, default=0), dtype=np.int64)
        begins[list(firsts)] = list(firsts.values())
        kept = self.places & ((1 << _BITS) - 1) >= begins[self.places >> _BITS]
        return replace(self, places=self.places[kept], values=self.values[kept], taken=self.taken[kept])


def _history(
    pipeline: Pipeline, logs: dict[str, _Log], records: _Records, settings: StateSettings
) -> tuple[History, Int64s]:
    """Return all events in the order taken, and int64 [k]: which of the pipeline's own has each record, -1: none."""
    own = logs[pipeline.events.topic].places
    rows = np.searchsorted(own, records.places)
    rows[~np.isin(records.places, own)] = -1
    there = rows >= 0
    ordinals = in_order(own, rows[there], records.taken[there], [logs[feed.topic].places for feed in pipeline.feeds])
    believes, taken = plausible_times(settings), {}
    for events, ordinal in zip((pipeline.events, *pipeline.feeds), ordinals, strict=True):
        log = logs[events.topic]
        times = milliseconds(log.table[events.time], f"field {events.time!r} of the events of {events.topic!r}")
        taken[events.topic] = Taken(log.table, ordinal, believes(times, log.arrived_ms))
    return History(taken), rows


def _offline(pipeline: Pipeline, history: History) -> Float64s:
    """Return float64 [n, F]: the features of the pipeline's own events, statistics in double precision."""
    statistics = remembered(pipeline, history)
    events, names = history.topics[pipeline.events.topic], pipeline.spec.names
    parts = [matrix.astype(np.float64) for _, matrix in matrices(pipeline, events, statistics)]
    found = np.concatenate([np.zeros((0, len(names))), *parts])
    for name, column in statistics.items():
        found[:, names.index(name)] = column
    return found


def _columns(batch: DecodedBatch, names: Sequence[str]) -> pa.Table:
    return pa.Table.from_batches([batch.columns.select(names)])


def _names(places: Int64s) -> pa.Array:
    """Name events for people: partition 3 and offset 141 are "3:141"."""
    partition, offset = pa.array(places >> _BITS), pa.array(places & ((1 << _BITS) - 1))
    return pc.binary_join_element_wise(partition.cast(pa.string()), offset.cast(pa.string()), ":")
