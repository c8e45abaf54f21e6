"""A consumer group outside of any pipeline, with offsets that a test commits; and records with timestamps."""

import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.clock import SystemClock
from surgetank.kafka import clients
from surgetank.kafka.topic_reader import TopicReader
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings


class Group:
    """Commits offsets as any application does, without reading."""

    def __init__(self, kafka: KafkaSettings, name: str) -> None:
        self.name = name
        self._consumer = clients.reader(kafka, group_id=name)

    def commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Commit these offsets and wait until Kafka has them. A new cluster has no coordinator at first."""
        wanted = [KafkaTopicPartition(*source, offset) for source, offset in offsets.items()]

        def done() -> bool:
            try:
                return all(each.error is None for each in self._consumer.commit(offsets=wanted, asynchronous=False))
            except KafkaException as error:
                if error.args[0].code() == KafkaError.NOT_COORDINATOR:
                    return False
                raise

        until(done, 30, f"group {self.name} has committed")

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()


class Sender:
    """Sends small records to one partition, with the current time or another one."""

    def __init__(self, kafka: KafkaSettings, source: TopicPartition, **options: Any) -> None:
        self._producer = clients.producer(kafka, linger_ms=0, **options)
        self._source = source
        self._clock = SystemClock()

    def send(self, count: int, skew_seconds: float = 0.0) -> None:
        """Send ``count`` records and wait until Kafka has them; their timestamps are off by ``skew_seconds``."""
        failed: list[object] = []
        for _ in range(count):
            self._producer.produce(
                self._source.topic,
                b"record",
                partition=self._source.partition,
                timestamp=round((self._clock.now() + skew_seconds) * 1000),
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        assert self._producer.flush(30) == 0
        assert not failed


def times(kafka: KafkaSettings, topic: str) -> dict[tuple[TopicPartition, int], float]:
    """Return the timestamp of each record of a topic, seconds since the epoch, by partition and offset."""
    found = {}
    with TopicReader(kafka, [topic]) as reader:
        for records in reader.catch_up():
            for which, offset, at in zip(
                records.source.tolist(), records.offsets.tolist(), records.arrived_ms.tolist(), strict=True
            ):
                found[records.sources[which], offset] = at / 1000
    return found


def until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Wait for a condition; at the timeout fail the test with ``what`` in the message."""
    clock, never = SystemClock(), threading.Event()
    started = clock.monotonic()
    while not condition():
        assert clock.monotonic() - started < timeout, f"{what}: not within {timeout:.0f} s"
        never.wait(0.05)
