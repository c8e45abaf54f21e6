"""Finds how far the events of a partition were processed, in the scores and dead letters, which name their events.

For offsets that no worker committed: Kafka keeps no former offset.
"""

from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from pipeline.codec.base import Deserializer
from pipeline.declaration import Pipeline
from pipeline.kafka.last_records import SingleRecord, last_records, next_record
from pipeline.kafka.provisioning import compacted
from pipeline.processing.dead_letter import OFFSET, TOPIC
from pipeline.records import RecordBatch, TopicPartition, large_binary
from pipeline.settings import KafkaSettings


class ProcessedEvents:
    """Returns the offset after the last processed event of partitions of the events. ``scores`` decodes scores."""

    def __init__(self, kafka: KafkaSettings, pipeline: Pipeline, scores: Deserializer) -> None:
        self._kafka = kafka
        self._events = pipeline.events.topic
        self._outputs = (pipeline.scores.topic, pipeline.dead_letters)
        self._scores = scores

    def __call__(self, sources: list[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the offset after the last event with a score or dead letter, by partition; omit what is not known.

        It is known only if the event is still in the topic, or was deleted by retention or compaction: after a topic
        was created again its scores are those of other events. Raises BrokerError if a partition cannot be read
        for now, and TopicsError if the right Read of a topic that has records is missing.
        """
        numbers = [source.partition for source in sources if source.topic == self._events]
        last = last_records(self._kafka, [TopicPartition(topic, n) for n in numbers for topic in self._outputs])
        found: dict[int, tuple[int, SingleRecord]] = {}
        for output, record in last.items():
            offset = self._event_offset(output, record)
            if offset is not None and offset >= found.get(output.partition, (0, record))[0]:
                found[output.partition] = offset, record
        return {
            TopicPartition(self._events, number): offset + 1
            for number, (offset, record) in found.items()
            if self._is_of_this_topic(TopicPartition(self._events, number), offset, record)
        }

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

    def _is_of_this_topic(self, source: TopicPartition, offset: int, output: SingleRecord) -> bool:
        """Return whether the topic still has the event of an output, or has deleted it by retention or compaction.

        A transaction's marker or aborted record at its offset is one of a topic that was created again.
        """
        low, event = next_record(self._kafka, source, offset)
        if event is None:
            return False
        if event.offset > offset:
            return low > offset or compacted(self._kafka, self._events)
        return event.key == output.key


def _one(source: TopicPartition, record: SingleRecord) -> RecordBatch:
    return RecordBatch(
        (source,),
        np.zeros(1, dtype=np.int32),
        np.array([record.offset], dtype=np.int64),
        np.array([record.at_ms], dtype=np.int64),
        large_binary([record.key]),
        large_binary([record.value]),
    )
