"""Reads all events, scores and dead letters of a pipeline, and compares them."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.clock import Clock, SystemClock
from surgetank.declaration import Pipeline
from surgetank.drills.audit_comparison import (
    AuditReport,
    EventBounds,
    SeenDeadLetters,
    SeenScores,
    SentEvents,
    compare,
)
from surgetank.drills.wire import event_decoder, score_decoder
from surgetank.kafka.topic_reader import CommittedOffsets, TopicReader
from surgetank.processing import dead_letter
from surgetank.processing.event_filter import filter_events
from surgetank.processing.key_comparison import without_mismatches
from surgetank.processing.rekeying import rekeyed_from
from surgetank.records import DecodedBatch, Headers, RecordBatch
from surgetank.settings import KafkaSettings
from surgetank.text_columns import as_text

Int64s = npt.NDArray[np.int64]
Columns = dict[str, Any]

_POLL_SECONDS = 0.5


def audit(kafka: KafkaSettings, pipeline: Pipeline, *, wait: float = 0.0, clock: Clock | None = None) -> AuditReport:
    """Compare all committed events with all committed scores and dead letters.

    While an event has no outcome, wait for more; stop when no outcome has arrived for ``wait`` seconds. An event
    without outcome is lost if the group's committed offset is behind it, else it waits.
    Raises BrokerError if no broker answers, TopicsError if a topic is missing.
    """
    clock = clock or SystemClock()
    with AuditedTopics(kafka, pipeline) as topics:
        committed = newer = topics.committed()
        topics.catch_up()
        quiet_since, before, settled = clock.monotonic(), topics.outcomes, False
        while True:
            waited = clock.monotonic() - quiet_since >= wait
            if waited or topics.outcomes >= topics.events:
                report = topics.compare(committed)
                if not (report.lost or report.waiting) or (waited and (settled or not report.lost)):
                    return report
            # The offsets of a transaction can be visible some milliseconds before its scores.
            committed, newer, settled = newer, topics.committed(), True
            topics.catch_up(patience=_POLL_SECONDS)
            if topics.outcomes > before:
                quiet_since, before = clock.monotonic(), topics.outcomes


class AuditedTopics:
    """The events, scores and dead letters of a pipeline read so far.

    Use it as a context manager, or close it. Memory: 100 bytes per event and score, for ids, keys and positions.
    """

    def __init__(self, kafka: KafkaSettings, pipeline: Pipeline) -> None:
        self._event_topic = pipeline.events.topic
        self._fact_topics = {fact.topic for fact in pipeline.table_facts}
        self._id = pipeline.events.id
        self._decode_event = event_decoder(pipeline.events)
        self._events = pipeline.events
        self._rekeyed_by = pipeline.name if pipeline.events.differing_keys == "rekey" else None
        self._score_only = pipeline.score_only
        self._decode_score = score_decoder(pipeline)
        self._sent: list[Columns] = []
        self._scores: list[Columns] = []
        self._dead: list[Columns] = []
        self._readers: list[TopicReader] = []
        try:
            for topic in (pipeline.scores.topic, pipeline.dead_letters, pipeline.events.topic):
                self._readers.append(TopicReader(kafka, [topic]))
            self._group = CommittedOffsets(kafka, pipeline.group, pipeline.events.topic)
        except BaseException:
            self.close()
            raise

    def committed(self) -> dict[int, int]:
        """Return the group's committed offset of each partition of the events that has one. Raises BrokerError."""
        return {source.partition: offset for source, offset in self._group.required().items()}

    def catch_up(self, patience: float = 0.0) -> None:
        """Read all records committed by now; first wait up to ``patience`` seconds for another score.

        Outcomes are read before events, so that the event of every outcome is read.
        """
        scores, dead, events = self._readers
        if patience:
            self._scores.append(self._score_columns(scores.read(timeout=patience)))
        for reader, collected, columns in (
            (scores, self._scores, self._score_columns),
            (dead, self._dead, self._dead_columns),
            (events, self._sent, self._event_columns),
        ):
            collected.extend(map(columns, reader.catch_up()))

    @property
    def events(self) -> int:
        """The number of events read."""
        return sum(len(part["offset"]) for part in self._sent)

    @property
    def outcomes(self) -> int:
        """The number of scores, dead letters and re-keyed copies read, and of events that have none: the filtered."""
        outcomes = sum(len(part["source_offset"]) for part in (*self._scores, *self._dead))
        copies = sum(int(np.count_nonzero(part["original_offset"] >= 0)) for part in self._sent)
        return outcomes + copies + sum(int(part["filtered"].sum()) for part in self._sent)

    def compare(self, committed: Mapping[int, int]) -> AuditReport:
        """Compare the records read so far. ``committed``: the result of ``committed`` before they were read."""
        *_, events = self._readers
        first = {source.partition: offset for source, offset in events.starts.items()}
        return compare(
            SentEvents(**_concatenate(self._sent, _EVENT)),
            SeenScores(**_concatenate(self._scores, _SCORE)),
            SeenDeadLetters(**_concatenate(self._dead, _POSITION)),
            EventBounds(first, committed),
            held_back=sum(reader.held_back() for reader in self._readers),
        )

    def close(self) -> None:
        """Close the readers."""
        for reader in self._readers:
            reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _event_columns(self, records: RecordBatch) -> Columns:
        batch = self._decode_event(records)
        ids = as_text(_align_to_records(batch, self._id))
        if self._score_only is not None:
            batch, _ = filter_events(without_mismatches(batch, self._events), self._score_only)
        filtered = np.zeros(len(records), dtype=np.bool_)
        filtered[batch.filtered] = True
        return {
            "partition": records.partitions,
            "offset": records.offsets,
            "ids": ids,
            "keys": records.keys.cast(pa.binary()),
            **self._originals(records),
            "filtered": filtered,
        }

    def _originals(self, records: RecordBatch) -> dict[str, Int64s]:
        """Return the positions of the events that this pipeline re-keyed, by copy; -1 for other records."""
        found = np.full((2, len(records)), -1, dtype=np.int64)
        if self._rekeyed_by is not None:
            for row in range(len(records)):
                original = rekeyed_from(records.headers_of(row))
                if original is not None and original.pipeline == self._rekeyed_by:
                    found[:, row] = original.partition, original.offset
        return {"original_partition": found[0], "original_offset": found[1]}

    def _score_columns(self, records: RecordBatch) -> Columns:
        batch = self._decode_score(records)
        ours = _align_to_records(batch, "source_topic").to_numpy(zero_copy_only=False) == self._event_topic
        positions = {
            name: np.where(ours, _align_to_records(batch, name).fill_null(-1).to_numpy().astype(np.int64), -1)
            for name in ("source_partition", "source_offset")
        }
        return {
            "partition": records.partitions,
            "offset": records.offsets,
            "ids": _align_to_records(batch, "event_id"),
            "keys": records.keys.cast(pa.binary()),
            **positions,
        }

    def _dead_columns(self, records: RecordBatch) -> Columns:
        positions = (self._source_position(records.headers_of(row)) for row in range(len(records)))
        columns = np.array([each for each in positions if each is not None], dtype=np.int64).reshape(-1, 2)
        return {"source_partition": columns[:, 0], "source_offset": columns[:, 1]}

    def _source_position(self, headers: Headers) -> tuple[int, int] | None:
        """Return the source position of a dead letter, None for a fact, -1 for another topic or unreadable headers."""
        try:
            cause = dead_letter.parse_dead_letter(headers)
        except ValueError:
            return -1, -1
        if cause.source.topic in self._fact_topics:
            return None
        ours = cause.source.topic == self._event_topic
        return (cause.source.partition, cause.offset) if ours else (-1, -1)


_POSITION = {"source_partition": np.int64, "source_offset": np.int64}
_RECORD = {"partition": np.int64, "offset": np.int64, "ids": pa.string(), "keys": pa.binary()}
_EVENT = {**_RECORD, "filtered": np.bool_, "original_partition": np.int64, "original_offset": np.int64}
_SCORE = {**_RECORD, **_POSITION}


def _align_to_records(batch: DecodedBatch, name: str) -> pa.Array:
    """Return a column with one row per record, null for records that did not decode."""
    row = np.full(len(batch.records), -1, dtype=np.int64)
    row[batch.rows] = np.arange(len(batch))
    return batch.columns[name].take(pa.array(row, mask=row < 0))


def _concatenate(parts: Sequence[Columns], types: dict[str, Any]) -> Columns:
    return {
        name: (
            pa.chunked_array([part[name] for part in parts], kind).combine_chunks()
            if isinstance(kind, pa.DataType)
            else np.concatenate([np.zeros(0, dtype=kind), *(part[name] for part in parts)])
        )
        for name, kind in types.items()
    }
