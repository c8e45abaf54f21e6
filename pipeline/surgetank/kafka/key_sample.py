"""Reads the keys of the newest records of some partitions."""

import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.kafka.few_records import few_records
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings

_CALL_SECONDS = 5.0
_READ_SECONDS = 5.0


def newest_keys(kafka: KafkaSettings, sources: Sequence[TopicPartition], rows: int) -> list[tuple[bytes, int]]:
    """Return key and partition of the committed records among the last ``rows`` offsets of each partition.

    Records without a key are omitted; so are those that are not read within some seconds. At most ``rows`` keys of each
    partition are returned, also while a producer writes. Raises BrokerError.
    """
    with few_records(kafka, "the newest keys", reset="latest") as consumer:
        return _newest_keys(consumer, sources, rows)


def _newest_keys(consumer: Consumer, sources: Sequence[TopicPartition], rows: int) -> list[tuple[bytes, int]]:
    starts: list[KafkaTopicPartition] = []
    ends: dict[TopicPartition, int] = {}  # of the partitions that are not read yet
    for source in sources:
        low, end = consumer.get_watermark_offsets(KafkaTopicPartition(*source), _CALL_SECONDS, cached=False)
        if end > low:
            starts.append(KafkaTopicPartition(*source, max(low, end - rows)))
            ends[source] = end
    consumer.assign(starts)
    found: list[tuple[bytes, int]] = []
    until = time.monotonic() + _READ_SECONDS
    while ends and time.monotonic() < until:
        for message in consumer.consume(rows, 0.05):
            source = TopicPartition(message.topic() or "", message.partition() or 0)
            error, offset, key = message.error(), message.offset() or 0, message.key()
            if source not in ends:
                continue
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    del ends[source]
                continue
            if key is not None and offset < ends[source]:
                found.append((key, source.partition))
            if offset >= ends[source] - 1:
                del ends[source]
    return found
