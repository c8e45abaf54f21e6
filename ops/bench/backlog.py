"""The events that all four score: real flights, encoded once, waiting on one topic."""

from typing import Any

from confluent_kafka.admin import NewTopic

from ops.bench.job import Avro
from pipeline.drills.recording import Recording
from pipeline.kafka import clients
from pipeline.settings import KafkaSettings

PARTITIONS = 8


def make_topics(kafka: KafkaSettings, names: list[str]) -> None:
    """Make topics of eight partitions, and see them made."""
    admin = clients.admin(kafka)
    for made in admin.create_topics([NewTopic(name, PARTITIONS) for name in names]).values():
        made.result()


def remove_topics(kafka: KafkaSettings, names: list[str]) -> None:
    """Remove topics."""
    for removed in clients.admin(kafka).delete_topics(names).values():
        removed.result()


def boarding() -> Recording:
    """Return the recorded flights at boarding, in the order of their time."""
    from topology.recordings.flights import recording  # noqa: PLC0415 - reads the data: seconds

    return recording().only("boarding")


def fill(kafka: KafkaSettings, topic: str, recording: Recording, count: int) -> None:
    """Produce ``count`` events. Uncompressed: aiokafka, below Faust, cannot read lz4 as it is installed."""
    avro = Avro("boarding")
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

    for chunk in recording.chunks(lambda _, batch: avro.encode(batch.columns), count=count):
        for key, value in zip(chunk.keys, chunk.values, strict=True):
            while True:
                try:
                    producer.produce(topic, value, key, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.05)
        producer.poll(0)
    producer.flush()
    if failed:
        raise RuntimeError(f"{len(failed)} events could not be produced to {topic}: {failed[0]}")
