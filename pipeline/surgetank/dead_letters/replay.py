"""Sends the events of dead letters to their source topics again, each at most once."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa

from surgetank.dead_letters.letters import letter_columns
from surgetank.dead_letters.replay_marks import ReplayedLetters, mark
from surgetank.dead_letters.replay_plan import DECISIONS, Decision, ReplayPlan
from surgetank.declaration import Pipeline
from surgetank.errors import BrokerError
from surgetank.kafka import clients, provisioning
from surgetank.kafka.topic_reader import TopicReader
from surgetank.kafka.topic_rewriter import TopicRewriter
from surgetank.kafka.whole_topic import read_topic
from surgetank.record_compression import compressed_bytes
from surgetank.records import Int64s, PartitionRecords
from surgetank.settings import KafkaSettings

_WHAT = "a replay of dead letters"
_PLACE = ("source_topic", "source_partition")
_ROWS_MAX = 2_000  # of a transaction, and no more than a second of the rate
_BYTES_MAX = 8 * 1024 * 1024  # of a transaction, unless one event alone has more


@dataclass(slots=True)
class Replayed:
    """The number of selected letters by what is done with them, and of those to send by source topic."""

    decisions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DECISIONS, 0))
    by_topic: dict[str, int] = field(default_factory=dict)

    def add(self, letters: pa.RecordBatch, decisions: "np.ndarray[tuple[int], np.dtype[np.int8]]") -> None:
        """Count n letters with their decisions, int8 [n]."""
        for decision, number in zip(
            DECISIONS, np.bincount(decisions[decisions >= 0], minlength=len(DECISIONS)).tolist(), strict=True
        ):
            self.decisions[decision] += number
        topics = letters["source_topic"].filter(pa.array(decisions == DECISIONS.index(Decision.SEND)))
        for each in topics.value_counts().to_pylist():
            self.by_topic[each["values"]] = self.by_topic.get(each["values"], 0) + each["counts"]


def plan_replay(kafka: KafkaSettings, pipeline: Pipeline, plan: ReplayPlan) -> Replayed:
    """Return what a replay would do now. Changes nothing."""
    found = Replayed()
    sent = _sent(kafka, pipeline, _topic_id(kafka, pipeline))
    for records in read_topic(kafka, pipeline.dead_letters):
        letters = letter_columns(records)
        found.add(letters, plan.decide(letters, sent, partial(_compressed, records)))
    return found


def replay(
    kafka: KafkaSettings,
    pipeline: Pipeline,
    plan: ReplayPlan,
    rate: float,
    progress: Callable[[Replayed], None] = lambda _: None,
) -> Replayed:
    """Send the events of the letters that the plan selects, ``rate`` per second at most; return what was done.

    An event has the key, value and headers of its letter, which say why it failed before, and goes to the partition
    that it was read from. The events and a mark of their letters are in one transaction, and the transactional id is
    that of the pipeline's replay: each letter is sent at most once, also if a replay is killed, or if two are started.
    Letters that fail again are new letters; those later than the start are left to the next replay.

    Raises BrokerError if the brokers reject a request, TopicsError if a topic is missing.
    """
    provisioning.make(kafka, pipeline.replayed_letters, {"retention.ms": "-1"})
    # Ends the open transaction of a replay that was killed; the marks are read afterwards.
    rewriter = TopicRewriter(
        kafka,
        f"{pipeline.name}.dead-letters",
        _WHAT,
        seconds=kafka.transaction_timeout_seconds,
        batch_bytes=min((clients.BATCH_BYTES, *(each.stored for each in plan.bytes_max.values()))),
        compressing=True,
    )
    topic_id = _topic_id(kafka, pipeline)
    sent = _sent(kafka, pipeline, topic_id)
    done, pace = Replayed(), _Pace(rate)
    for records in read_topic(kafka, pipeline.dead_letters):
        letters = letter_columns(records)
        decisions = plan.decide(letters, sent, partial(_compressed, records))
        chosen = decisions == DECISIONS.index(Decision.SEND)
        for rows in _portions(letters, np.flatnonzero(chosen), pace.rows_max):
            pace.wait(len(rows))
            topics, partitions = (letters[name].take(pa.array(rows)).to_pylist() for name in _PLACE)
            with rewriter.transaction():
                for row, topic, partition in zip(rows.tolist(), topics, partitions, strict=True):
                    key, value = records.keys[row].as_py(), records.values[row].as_py()
                    rewriter.put(topic, partition, key, value, records.headers_of(row))
                written = mark(topic_id, records.source.partition, records.offsets[rows])
                rewriter.put(pipeline.replayed_letters, 0, None, written)
            done.add(letters.take(pa.array(rows)), decisions[rows])
            progress(done)
        others = np.flatnonzero(~chosen)
        done.add(letters.take(pa.array(others)), decisions[others])
    return done


def _compressed(records: PartitionRecords, row: int) -> int:
    return compressed_bytes(records.keys[row].as_py(), records.values[row].as_py(), records.headers_of(row))


class _Pace:
    """Spreads events evenly. The events of one transaction are sent together: at most those of a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = time.monotonic()
        self.rows_max = int(min(max(rate, 1), _ROWS_MAX))

    def wait(self, events: int) -> None:
        """Wait until the events may be sent."""
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = max(self._next, time.monotonic()) + events / self._rate


def _portions(letters: pa.RecordBatch, rows: Int64s, rows_max: int) -> Iterator[Int64s]:
    """Yield the rows in portions for one transaction each."""
    lengths = letters["bytes"].to_numpy()
    while len(rows):
        fitting = int(np.searchsorted(np.cumsum(lengths[rows]), _BYTES_MAX, side="right"))
        n = max(1, min(fitting, rows_max))
        yield rows[:n]
        rows = rows[n:]


def _sent(kafka: KafkaSettings, pipeline: Pipeline, topic_id: str) -> ReplayedLetters:
    """Return which letters were sent before. Raises BrokerError for a record that is no mark."""
    topic = pipeline.replayed_letters
    marks: list[bytes | None] = []
    if topic in provisioning.existing(kafka):
        with TopicReader(kafka, [topic]) as reader:
            for records in reader.catch_up():
                marks += records.values.to_pylist()
    try:
        return ReplayedLetters(topic_id, marks)
    except ValueError as error:
        raise BrokerError(f"topic {topic!r} has a record of another program: {error}") from None


def _topic_id(kafka: KafkaSettings, pipeline: Pipeline) -> str:
    return provisioning.ids(kafka, [pipeline.dead_letters])[pipeline.dead_letters]
