"""Reads single committed records: the last one of a partition, or the first from an offset. For rare questions."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from pipeline.errors import BrokerError, TopicsError
from pipeline.kafka import clients
from pipeline.records import Headers, TopicPartition
from pipeline.settings import KafkaSettings

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


def last_records(kafka: KafkaSettings, sources: Iterable[TopicPartition]) -> dict[TopicPartition, SingleRecord]:
    """Return the last committed record of each partition; omit partitions without one.

    Raises BrokerError, and TopicsError if the right Read of a topic that has records is missing.
    """
    with _reader(kafka) as consumer:
        return {source: found for source in sources if (found := _last(consumer, source)) is not None}


def next_record(kafka: KafkaSettings, source: TopicPartition, offset: int) -> tuple[int, SingleRecord | None]:
    """Return the first offset that the partition has, and the first committed record at or after ``offset``, if any.

    Raises BrokerError, and TopicsError if the right Read of the topic is missing.
    """
    with _reader(kafka) as consumer:
        low, end = consumer.get_watermark_offsets(KafkaTopicPartition(*source), _CALL_SECONDS, cached=False)
        if offset >= end:
            return low, None
        return low, next(_read(consumer, source, max(low, offset), one=True), None)


@contextmanager
def _reader(kafka: KafkaSettings) -> Iterator[Consumer]:
    """Yield a consumer. Raises BrokerError for its KafkaExceptions."""
    consumer = clients.reader(kafka, enable_partition_eof=True, auto_offset_reset="earliest", fetch_wait_max_ms=20)
    try:
        yield consumer
    except KafkaException as error:
        raise BrokerError(f"{kafka.bootstrap} does not return single records: {error.args[0].str()}") from None
    finally:
        clients.close_in_background(consumer)


def _last(consumer: Consumer, source: TopicPartition) -> SingleRecord | None:
    low, end = consumer.get_watermark_offsets(KafkaTopicPartition(*source), _CALL_SECONDS, cached=False)
    back, start = _FIRST_OFFSETS, end
    while start > low:
        start = max(low, end - back)
        last = None
        for record in _read(consumer, source, start):
            last = record
        if last is not None:
            return last
        back *= 16
    return None


def _read(consumer: Consumer, source: TopicPartition, start: int, *, one: bool = False) -> Iterator[SingleRecord]:
    """Yield the committed records from an offset to the end of the partition. Raises KafkaException, TopicsError."""
    consumer.assign([KafkaTopicPartition(*source, start)])
    heard_at = time.monotonic()
    while True:
        messages = consumer.consume(1 if one else _ROWS, 0.05)
        for message in messages:
            heard_at = time.monotonic()
            error = message.error()
            if error is None:
                yield SingleRecord(
                    message.offset() or 0,
                    message.timestamp()[1],
                    message.key(),
                    message.value(),
                    message.headers() or (),
                )
            elif error.code() == KafkaError._PARTITION_EOF:
                return
            elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise TopicsError(
                    f"the right Read of topic {source.topic} is missing: without it a worker cannot tell how far the "
                    "events were processed; grant it to the user of the workers"
                )
            else:
                raise KafkaException(error)
        if time.monotonic() - heard_at > _CALL_SECONDS:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
