"""The events that all contenders score: encoded once, stored on one topic."""

import time
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from ops.bench.jobs import Workload
from surgetank.kafka import clients
from surgetank.settings import KafkaSettings

PARTITIONS = 8
_CONFIG = {
    ".dead-letters": {"max.message.bytes": "16777216"},
    ".changelog": {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.2", "segment.bytes": "67108864"},
}
_PASSING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._TIMED_OUT,
    KafkaError._NOENT,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
}


def make_topics(kafka: KafkaSettings, names: list[str], partitions: int = PARTITIONS) -> None:
    """Create topics, and wait until their end offsets can be read.

    Dead letter topics get the larger record limit that a worker requires, changelogs are compacted; the others have the
    broker's defaults.
    """
    admin = clients.admin(kafka)
    config = {name: next((each for ending, each in _CONFIG.items() if name.endswith(ending)), {}) for name in names}
    for made in admin.create_topics([NewTopic(name, partitions, config=config[name]) for name in names]).values():
        made.result()
    for name in names:
        while ends(admin, name, partitions) is None:
            time.sleep(0.02)


def remove_topics(kafka: KafkaSettings, names: list[str]) -> None:
    """Delete topics."""
    admin = clients.admin(kafka)
    for removed in admin.delete_topics(names).values():
        removed.result()


def remove_topics_of(kafka: KafkaSettings, run: str) -> None:
    """Delete every topic whose name contains that of a run, because some contenders create topics."""
    there = clients.admin(kafka).list_topics(timeout=10).topics
    if names := [topic for topic in there if run in topic]:
        remove_topics(kafka, names)


def ends(admin: AdminClient, topic: str, partitions: int = PARTITIONS) -> int | None:
    """Return the sum of a topic's end offsets for readers of committed records; None if no broker answers."""
    asked = {KafkaTopicPartition(topic, number): OffsetSpec.latest() for number in range(partitions)}
    answers = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=5)
    try:
        return sum(int(answer.result().offset) for answer in answers.values())
    except KafkaException as error:
        if error.args[0].code() in _PASSING:
            return None
        raise


def fill(kafka: KafkaSettings, topic: str, work: Workload, count: int) -> None:
    """Produce ``count`` events. Uncompressed: aiokafka, below Faust, cannot read lz4 as it is installed."""
    producer = clients.producer(
        kafka,
        partitioner="murmur2_random",
        linger_ms=50,
        compression_type="none",
        queue_buffering_max_messages=500_000,
        queue_buffering_max_kbytes=262_144,
    )
    failed: list[Any] = []

    def delivered(error: Any, _: Any) -> None:
        if error is not None:
            failed.append(error)

    for stretch in work.stretches(count):
        times = stretch.times_ms or [0] * len(stretch.keys)
        for key, value, at in zip(stretch.keys, stretch.values, times, strict=True):
            while True:
                try:
                    producer.produce(topic, value, key, on_delivery=delivered, timestamp=at)
                    break
                except BufferError:
                    producer.poll(0.05)
        producer.poll(0)
    producer.flush()
    if failed:
        raise RuntimeError(f"{len(failed)} events could not be produced to {topic}: {failed[0]}")
