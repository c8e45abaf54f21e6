"""What made the rows of a task, read again as it was processed: events or facts of a table, or scores."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.codec.avro import Decoder
from pipeline.codec.schema_repository import SchemaRepository
from pipeline.declaration import Events, Pipeline
from pipeline.kafka.topic_reader import TopicReader
from pipeline.migration.partition_history import OffsetRange, PartitionHistory, offset_ranges
from pipeline.records import DecodedBatch, RecordBatch, TopicPartition
from pipeline.settings import KafkaSettings

_VALUE_BYTES_MAX = 2**30  # of our own scores

Ours = Callable[[bytes], bool]
Told = Callable[[int], None]


class EventSources:
    """Reads what is committed. ``bounds`` are of all partitions concerned, ``committed`` those of the sources.

    ``value_bytes_max`` is that of the workers: what is longer was a dead letter and fed nothing.
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
    ) -> None:
        self._kafka = kafka
        self._pipeline = pipeline
        self._committed = committed
        self._bounds = bounds
        self._partitions = partitions
        self._growth = growth
        self._value_bytes_max = value_bytes_max
        self._contracts = SchemaRepository.load()

    def stretches(self, topic: str, task: int) -> list[OffsetRange]:
        """Return where the records lie that a task's rows come from, also where they are gone by now."""
        source = TopicPartition(topic, task)
        end = self._committed[source]
        return offset_ranges(self._growth, topic, task, self._bounds[source][0] if end < 0 else end)

    def records(self, topic: str, task: int) -> tuple[int, int]:
        """Return how many offsets the records of a task's rows have, and how many of them are gone by now."""
        lying = self.stretches(topic, task)
        gone = sum(max(0, min(each.end, self._low(topic, each)) - each.start) for each in lying)
        return sum(each.end - each.start for each in lying) - gone, gone

    def scores(self, task: int) -> tuple[int, int]:
        """Return how many offsets the scores of a task's keys have, and how many of them are gone by now."""
        topic = self._pipeline.scores.topic
        places = {TopicPartition(topic, each.partition) for each in self.stretches(self._pipeline.events.topic, task)}
        bounds = [self._bounds[place] for place in places]
        return sum(high - low for low, high in bounds), sum(low for low, _ in bounds)

    def events(self, feed: Events, task: int, told: Told) -> Iterator[tuple[DecodedBatch, Ours | None]]:
        """Yield the decoded events that feed a table, and which keys of each batch are meant."""
        decoder = Decoder(self._contracts, feed.schema, value_bytes_max=self._value_bytes_max)
        for each in self.stretches(feed.topic, task):
            start = max(each.start, self._low(feed.topic, each))
            for records in self._read(TopicPartition(feed.topic, each.partition), start, each.end, told):
                batch, _ = decoder.decode(records)
                yield _only(batch, records.offsets[batch.rows] < each.end), self._ours(each, task)

    def scored(self, task: int, told: Told) -> Iterator[tuple[DecodedBatch, Ours | None]]:
        """Yield the decoded scores of a task's keys, and which keys of each batch are meant."""
        decoder = Decoder(self._contracts, "score", value_bytes_max=_VALUE_BYTES_MAX)
        for each in self.stretches(self._pipeline.events.topic, task):
            place = TopicPartition(self._pipeline.scores.topic, each.partition)
            for records in self._read(place, *self._bounds[place], told):
                batch, _ = decoder.decode(records)
                of = batch.columns["source_offset"].to_numpy()
                yield _only(batch, (of >= each.start) & (of < each.end)), self._ours(each, task)

    def _low(self, topic: str, stretch: OffsetRange) -> int:
        return self._bounds[TopicPartition(topic, stretch.partition)][0]

    def _ours(self, stretch: OffsetRange, task: int) -> Ours | None:
        growth, partitions = self._growth, self._partitions
        if growth is None or not stretch.shared:
            return None
        return lambda key: growth.home(key, partitions) == task

    def _read(self, source: TopicPartition, start: int, end: int, told: Told) -> Iterator[RecordBatch]:
        if start >= end:
            return
        with TopicReader(self._kafka, [source.topic], start={source: start}) as reader:
            for records in reader.catch_up({source: end}):
                told(len(records))
                yield records


def _only(batch: DecodedBatch, these: npt.NDArray[np.bool_]) -> DecodedBatch:
    if these.all():
        return batch
    return DecodedBatch(batch.records, batch.rows[these], batch.columns.filter(pa.array(these)))
