"""Reads single committed records: the last one of a partition, or the first from an offset. For rare questions."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.errors import TopicsError
from surgetank.kafka.few_records import few_records
from surgetank.kafka.message_headers import headers_of
from surgetank.records import Headers, TopicPartition
from surgetank.settings import KafkaSettings

_CALL_SECONDS = 5.0
_FIRST_OFFSETS = 16  # offsets before the end, which may be markers or aborted records; then 16 times as many
_ROWS = 1000


class SingleRecord(NamedTuple):
    """One record; ``at_ms`` is its timestamp in milliseconds since the epoch."""

    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class FoundRecord(NamedTuple):
    """A record of a partition whose first offset is ``low`` and whose next one is ``end``; None if there is none."""

    low: int
    end: int
    record: SingleRecord | None


@contextmanager
def single_records(kafka: KafkaSettings, on_progress: Callable[[], None]) -> "Iterator[SingleRecordReader]":
    """Yield a reader. ``on_progress`` is called whenever the brokers have returned something.

    Raises BrokerError if a partition cannot be read for now, and TopicsError if the right Read of a topic is missing.
    """
    with few_records(kafka, "single records", reset="earliest") as consumer:
        yield SingleRecordReader(consumer, on_progress)


class SingleRecordReader:
    """Reads all partitions of a question together, each up to the end that it had when the question was asked.

    Records that come later are not waited for. Both questions raise KafkaException, and TopicsError as above.
    """

    def __init__(self, consumer: Consumer, on_progress: Callable[[], None]) -> None:
        self._consumer = consumer
        self._on_progress = on_progress

    def last(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, FoundRecord]:
        """Return the last committed record of each partition."""
        bounds = {source: self._bounds(source) for source in sources}
        found: dict[TopicPartition, SingleRecord] = {}
        stops = {source: end for source, (low, end) in bounds.items() if low < end}
        back = _FIRST_OFFSETS
        while stops:
            starts = {source: max(bounds[source][0], bounds[source][1] - back) for source in stops}
            found |= self._read({source: range(starts[source], stop) for source, stop in stops.items()})
            stops = {s: start for s, start in starts.items() if s not in found and start > bounds[s][0]}
            back *= 16
        return {source: FoundRecord(*each, found.get(source)) for source, each in bounds.items()}

    def first(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, FoundRecord]:
        """Return the first committed record of each partition at or after an offset.

        ``low`` is not lower than it was when the record was read: retention may have deleted the one at the offset.
        """
        bounds = {source: self._bounds(source) for source in offsets}
        ranges = {source: range(max(low, offsets[source]), end) for source, (low, end) in bounds.items()}
        found = self._read({source: each for source, each in ranges.items() if each}, first=True)
        bounds |= {source: self._bounds(source) for source, each in found.items() if each.offset > offsets[source]}
        return {source: FoundRecord(*each, found.get(source)) for source, each in bounds.items()}

    def _bounds(self, source: TopicPartition) -> tuple[int, int]:
        low, end = self._consumer.get_watermark_offsets(KafkaTopicPartition(*source), _CALL_SECONDS, cached=False)
        self._on_progress()
        return low, end

    def _read(
        self, ranges: Mapping[TopicPartition, range], *, first: bool = False
    ) -> dict[TopicPartition, SingleRecord]:
        """Return the first or last committed record in a range of offsets, by partition."""
        stops = {source: each.stop for source, each in ranges.items()}  # of the partitions that are still read
        found: dict[TopicPartition, SingleRecord] = {}
        self._consumer.assign([KafkaTopicPartition(*source, each.start) for source, each in ranges.items()])
        heard_at = time.monotonic()
        while stops:
            for message in self._consumer.consume(_ROWS, 0.05):
                source = TopicPartition(message.topic() or "", message.partition() or 0)
                if source not in stops:
                    continue
                heard_at = time.monotonic()
                self._on_progress()
                if _ends(message):
                    del stops[source]
                    continue
                record = _record(message)
                if record.offset < stops[source]:
                    found[source] = record
                if first or record.offset >= stops[source] - 1:
                    del stops[source]
            if time.monotonic() - heard_at > _CALL_SECONDS:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return found


def _ends(message: Message) -> bool:
    """Return whether a message is the end of its partition. Raises KafkaException or TopicsError for other errors."""
    error = message.error()
    if error is None or error.code() == KafkaError._PARTITION_EOF:
        return error is not None
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        raise TopicsError(
            f"the right Read of topic {message.topic()} is missing: without it a worker cannot find how far the events "
            "were processed; grant it to the user of the workers"
        )
    raise KafkaException(error)


def _record(message: Message) -> SingleRecord:
    return SingleRecord(
        message.offset() or 0,
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers_of(message),
    )
