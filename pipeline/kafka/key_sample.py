"""Reads the keys of the newest records of some partitions."""

import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from pipeline.errors import BrokerError
from pipeline.kafka import clients
from pipeline.records import TopicPartition
from pipeline.settings import KafkaSettings

_CALL_SECONDS = 5.0
_READ_SECONDS = 5.0


def newest_keys(kafka: KafkaSettings, sources: Sequence[TopicPartition], rows: int) -> list[tuple[bytes, int]]:
    """Return key and partition of the committed records among the last ``rows`` offsets of each partition.

    Records without a key are omitted; so are those that are not read within some seconds. Raises BrokerError.
    """
    consumer = clients.reader(
        kafka,
        enable_partition_eof=True,
        auto_offset_reset="latest",
        fetch_wait_max_ms=20,
        fetch_message_max_bytes=65_536,
        queued_max_messages_kbytes=16_384,
    )
    found: list[tuple[bytes, int]] = []
    try:
        starts = []
        for source in sources:
            low, end = consumer.get_watermark_offsets(KafkaTopicPartition(*source), _CALL_SECONDS, cached=False)
            starts += [KafkaTopicPartition(*source, max(low, end - rows))] if end > low else []
        consumer.assign(starts)
        left, until = len(starts), time.monotonic() + _READ_SECONDS
        while left and time.monotonic() < until:
            for message in consumer.consume(rows, 0.05):
                error, key = message.error(), message.key()
                if error is not None:
                    left -= error.code() == KafkaError._PARTITION_EOF
                elif key is not None:
                    found.append((key, message.partition() or 0))
    except KafkaException as error:
        raise BrokerError(f"{kafka.bootstrap} does not return the newest keys: {error.args[0].str()}") from None
    finally:
        clients.close_in_background(consumer)
    return found
