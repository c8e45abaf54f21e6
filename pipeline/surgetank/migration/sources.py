"""Reads the source records of a task's rows again: events or facts of a table, or scores."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.codec.formats import project_deserializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.codec.score_schema import project_score_deserializer
from surgetank.declaration import Events, Pipeline
from surgetank.kafka.topic_reader import TopicReader
from surgetank.migration.partition_history import OffsetRange, PartitionHistory, offset_ranges
from surgetank.processing.event_filter import filtering
from surgetank.processing.facts import decode_facts
from surgetank.processing.key_comparison import without_mismatches
from surgetank.processing.key_limit import within_key_limit
from surgetank.records import DecodedBatch, RecordBatch, TopicPartition
from surgetank.settings import KafkaSettings

_VALUE_BYTES_MAX = 2**30  # for scores, which this pipeline wrote itself

KeyFilter = Callable[[bytes], bool]
RecordsReadCallback = Callable[[int], None]


class EventSources:
    """Reads committed records. ``bounds`` cover all partitions that are read, ``committed`` the source partitions.

    ``value_bytes_max`` and ``key_bytes_max`` are the limits of the workers: records with longer values or keys became
    dead letters and updated nothing.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        pipeline: Pipeline,
        *,
        committed: dict[TopicPartition, int],
        bounds: dict[TopicPartition, tuple[int, int]],
        partitions: int,
        growth: PartitionHistory | None,
        value_bytes_max: int,
        key_bytes_max: int,
    ) -> None:
        self._kafka = kafka
        self._pipeline = pipeline
        self._committed = committed
        self._bounds = bounds
        self._partitions = partitions
        self._growth = growth
        self._value_bytes_max = value_bytes_max
        self._key_bytes_max = key_bytes_max
        self._contracts = project_schemas()

    def source_ranges(self, topic: str, task: int) -> list[OffsetRange]:
        """Return the offset ranges of the source records of a task, including records deleted meanwhile."""
        source = TopicPartition(topic, task)
        end = self._committed[source]
        return offset_ranges(self._growth, topic, task, self._bounds[source][0] if end < 0 else end)

    def records(self, topic: str, task: int) -> tuple[int, int]:
        """Return the number of source offsets of a task's rows that still exist, and the number of deleted ones."""
        ranges = self.source_ranges(topic, task)
        gone = sum(max(0, min(each.end, self._first_offset(topic, each)) - each.start) for each in ranges)
        return sum(each.end - each.start for each in ranges) - gone, gone

    def scores(self, task: int) -> tuple[int, int]:
        """Return the number of offsets of a task's scores that still exist, and the number of deleted ones."""
        topic = self._pipeline.scores.topic
        score_partitions = {
            TopicPartition(topic, each.partition) for each in self.source_ranges(self._pipeline.events.topic, task)
        }
        bounds = [self._bounds[partition_of_scores] for partition_of_scores in score_partitions]
        return sum(high - low for low, high in bounds), sum(low for low, _ in bounds)

    def events(
        self, feed: Events, task: int, report_read: RecordsReadCallback
    ) -> Iterator[tuple[DecodedBatch, KeyFilter | None]]:
        """Yield the decoded events that update a table, each batch with a filter of the task's keys (None: all)."""
        own = feed == self._pipeline.events
        decoder = filtering(
            project_deserializer(feed, self._contracts, value_bytes_max=self._value_bytes_max), feed.only
        )
        for each in self.source_ranges(feed.topic, task):
            start = max(each.start, self._first_offset(feed.topic, each))
            for records in self._read(TopicPartition(feed.topic, each.partition), start, each.end, report_read):
                batch, _ = decoder.deserialize(records) if own else decode_facts(decoder, records)
                batch, _ = within_key_limit(without_mismatches(batch, feed), self._key_bytes_max)
                batch = replace(batch, deletes=batch.deletes[records.offsets[batch.deletes] < each.end])
                yield _filter_rows(batch, records.offsets[batch.rows] < each.end), self._key_filter(each, task)

    def score_batches(
        self, task: int, report_read: RecordsReadCallback
    ) -> Iterator[tuple[DecodedBatch, KeyFilter | None]]:
        """Yield the decoded scores of a task, each batch with a filter of the task's keys (None: all)."""
        decoder = project_score_deserializer(self._contracts, self._pipeline, value_bytes_max=_VALUE_BYTES_MAX)
        for each in self.source_ranges(self._pipeline.events.topic, task):
            partition_of_scores = TopicPartition(self._pipeline.scores.topic, each.partition)
            for records in self._read(partition_of_scores, *self._bounds[partition_of_scores], report_read):
                batch, _ = decoder.deserialize(records)
                of = batch.columns["source_offset"].to_numpy()
                yield _filter_rows(batch, (of >= each.start) & (of < each.end)), self._key_filter(each, task)

    def _first_offset(self, topic: str, offset_range: OffsetRange) -> int:
        return self._bounds[TopicPartition(topic, offset_range.partition)][0]

    def _key_filter(self, offset_range: OffsetRange, task: int) -> KeyFilter | None:
        growth, partitions = self._growth, self._partitions
        if growth is None or not offset_range.shared:
            return None
        return lambda key: growth.home(key, partitions) == task

    def _read(
        self, source: TopicPartition, start: int, end: int, report_read: RecordsReadCallback
    ) -> Iterator[RecordBatch]:
        if start >= end:
            return
        with TopicReader(self._kafka, [source.topic], start={source: start}) as reader:
            for records in reader.catch_up({source: end}):
                report_read(len(records))
                yield records


def _filter_rows(batch: DecodedBatch, mask: npt.NDArray[np.bool_]) -> DecodedBatch:
    if mask.all():
        return batch
    return DecodedBatch(batch.records, batch.rows[mask], batch.columns.filter(pa.array(mask)), batch.deletes)
