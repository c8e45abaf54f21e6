"""Opens a consumer that reads a few committed records once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from confluent_kafka import Consumer, KafkaException

from surgetank.errors import BrokerError
from surgetank.kafka import clients
from surgetank.settings import KafkaSettings


@contextmanager
def few_records(kafka: KafkaSettings, what: str, *, reset: Literal["earliest", "latest"]) -> Iterator[Consumer]:
    """Yield a consumer that fetches without delay, in small parts, and reports the ends of partitions.

    ``reset`` is where it goes on if an offset is gone. Raises BrokerError for a KafkaException; ``what`` names the
    records in it.
    """
    try:
        consumer = clients.reader(
            kafka,
            enable_partition_eof=True,
            auto_offset_reset=reset,
            fetch_wait_max_ms=20,
            fetch_message_max_bytes=65_536,
            # Of each partition one large record at most: those of dead letters were small while they were compressed.
            queued_max_messages_kbytes=1_024,
            fetch_queue_backoff_ms=5,
        )
        try:
            yield consumer
        finally:
            clients.close_in_background(consumer)
    except KafkaException as error:
        raise BrokerError(f"{kafka.bootstrap} does not return {what}: {error.args[0].str()}") from None
