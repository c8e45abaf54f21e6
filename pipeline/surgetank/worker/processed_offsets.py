"""Finds how far the events of a partition were processed, in the scores and dead letters, which name their events.

For offsets that no worker committed: Kafka keeps no former offset.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np

from surgetank.codec.base import Deserializer
from surgetank.declaration import Pipeline
from surgetank.kafka.last_records import FoundRecord, SingleRecord, single_records
from surgetank.kafka.topic_configs import compacted
from surgetank.processing.dead_letter import OFFSET, TOPIC
from surgetank.records import RecordBatch, TopicPartition, large_binary
from surgetank.runtime.start_offsets import Processed
from surgetank.settings import KafkaSettings


class ProcessedEvents:
    """Returns the offset after the last processed event of partitions of the events. ``scores`` decodes scores."""

    def __init__(self, kafka: KafkaSettings, pipeline: Pipeline, scores: Deserializer) -> None:
        self._kafka = kafka
        self._events = pipeline.events.topic
        self._outputs = (pipeline.scores.topic, pipeline.dead_letters)
        # Events may have been processed that no output names.
        filtering = pipeline.events.only is not None or pipeline.score_only is not None
        self._without_outputs = filtering or pipeline.events.differing_keys == "rekey"
        self._scores = scores

    def __call__(
        self, sources: list[TopicPartition], on_progress: Callable[[], None]
    ) -> Mapping[TopicPartition, Processed]:
        """Return the offset after the last event with a score or dead letter, by partition; omit what is not known.

        It is known only if the event is still in the topic, or was deleted by retention or compaction: after a topic
        was created again its scores are those of other events. It is not exact if events are filtered or re-keyed: no
        output names them; or if retention has deleted all records of an output, which may have named later events.
        Raises BrokerError if a partition cannot be read for now, and TopicsError if the right Read of a topic that has
        records is missing. ``on_progress`` is called whenever the brokers have returned something.
        """
        numbers = [source.partition for source in sources if source.topic == self._events]
        with single_records(self._kafka, on_progress) as reader:
            last = reader.last(TopicPartition(topic, number) for number in numbers for topic in self._outputs)
            named = self._named(last)
            events = reader.first({source: offset for source, (offset, _) in named.items()})
        gaps = [source for source, (offset, _) in named.items() if _is_gap(events[source], offset)]
        compacts = bool(gaps) and compacted(self._kafka, self._events)

        def exact(source: TopicPartition) -> bool:
            return not (self._without_outputs or any(map(_emptied, self._of(source, last))))

        return {
            source: Processed(offset + 1, exact=exact(source))
            for source, (offset, output) in named.items()
            if _is_of_this_topic(events[source], offset, output, compacts=compacts)
        }

    def _named(self, last: Mapping[TopicPartition, FoundRecord]) -> dict[TopicPartition, tuple[int, SingleRecord]]:
        """Return the last event that an output names, and that output, by partition of the events."""
        named: dict[TopicPartition, tuple[int, SingleRecord]] = {}
        for output, (_, _, record) in last.items():
            offset = None if record is None else self._event_offset(output, record)
            source = TopicPartition(self._events, output.partition)
            if record is not None and offset is not None and offset >= named.get(source, (0, record))[0]:
                named[source] = offset, record
        return named

    def _of(self, source: TopicPartition, last: Mapping[TopicPartition, FoundRecord]) -> list[FoundRecord]:
        return [last[TopicPartition(topic, source.partition)] for topic in self._outputs]

    def _event_offset(self, output: TopicPartition, record: SingleRecord) -> int | None:
        """Return the offset of the event that an output names; None if it names none of this topic."""
        if output.topic == self._outputs[0]:
            return self._scored_offset(output, record)
        headers = dict(record.headers)  # the last header of a name counts
        with suppress(TypeError, ValueError):
            if (headers.get(TOPIC) or b"").decode() == self._events:
                return int(headers.get(OFFSET) or b"")
        return None

    def _scored_offset(self, output: TopicPartition, record: SingleRecord) -> int | None:
        batch, _ = self._scores.deserialize(_one(output, record))
        if not len(batch) or batch.columns["source_topic"][0].as_py() != self._events:
            return None
        return int(batch.columns["source_offset"][0].as_py())


def _emptied(output: FoundRecord) -> bool:
    """Return whether a partition had records and has none any more."""
    return output.record is None and output.low > 0


def _is_gap(event: FoundRecord, offset: int) -> bool:
    """Return whether the partition has records before and after an offset, but none at it."""
    return event.record is not None and event.low <= offset < event.record.offset


def _is_of_this_topic(event: FoundRecord, offset: int, output: SingleRecord, *, compacts: bool) -> bool:
    """Return whether the topic still has the event of an output, or has deleted it by retention or compaction.

    Otherwise a gap, as a transaction's marker or aborted record leaves it, is one of a topic that was created again.
    """
    if event.record is None or _is_gap(event, offset):
        return event.record is not None and compacts
    return event.low > offset or event.record.key == output.key


def _one(source: TopicPartition, record: SingleRecord) -> RecordBatch:
    return RecordBatch(
        (source,),
        np.zeros(1, dtype=np.int32),
        np.array([record.offset], dtype=np.int64),
        np.array([record.at_ms], dtype=np.int64),
        large_binary([record.key]),
        large_binary([record.value]),
    )
