"""(a) A hand-written loop, optimised for speed: confluent-kafka, pyruhvro, onnxruntime. At least once.

One thread: a second one for producing costs more in switches of the interpreter lock than it saves.
"""

import gc
import signal
import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from ops.bench import cpu_parts
from ops.bench.contender_args import ContenderArgs, contender_args
from ops.bench.cpu_parts import CpuParts
from ops.bench.job import BenchJob
from ops.bench.tuning import BATCH_ROWS_MAX, HAND_COMMIT_SECONDS, HAND_CONSUMER, HAND_PRODUCER


def _committed(consumer: Consumer, partitions: list[KafkaTopicPartition]) -> list[KafkaTopicPartition]:
    """Read committed offsets; a broker that has just created its offsets topic rejects the request for a moment."""
    for _ in range(20):
        try:
            return list(consumer.committed(partitions, timeout=10))
        except KafkaException as error:
            if error.args[0].code() not in {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS}:
                raise
            consumer.poll(0.5)
    raise SystemExit("the brokers do not tell what is committed")


def assigned(consumer: Consumer, job: ContenderArgs) -> list[int]:
    """Assign all partitions of the events, from their committed offsets; return their numbers."""
    partitions = list(consumer.list_topics(job.events, timeout=10).topics[job.events].partitions)
    committed = _committed(consumer, [KafkaTopicPartition(job.events, number) for number in partitions])
    consumer.assign([KafkaTopicPartition(job.events, at.partition, max(at.offset, 0)) for at in committed])
    return partitions


def main(job: ContenderArgs, scoring: type[BenchJob] = BenchJob) -> None:
    """Run until SIGTERM; ``scoring`` does the work of a batch."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    failed: list[Any] = []
    consumer = Consumer({"bootstrap.servers": job.bootstrap, "group.id": job.name, **HAND_CONSUMER})
    producer = Producer(
        {"bootstrap.servers": job.bootstrap, "on_delivery": lambda error, _: failed.append(error), **HAND_PRODUCER}
    )
    scorer = scoring(job.name, job.events)
    assigned(consumer, job)
    parts = cpu_parts.from_environment()
    gc.disable()  # nothing here makes cycles, and each message of a batch would count towards a collection

    done: dict[int, int] = {}
    commit_at = time.monotonic() + HAND_COMMIT_SECONDS

    def commit(*, wait: bool) -> None:
        producer.flush()
        if failed:
            raise KafkaException(failed[0])
        if done:
            places = [KafkaTopicPartition(job.events, number, offset) for number, offset in done.items()]
            consumer.commit(offsets=places, asynchronous=not wait)

    while not stopping:
        parts.start()
        messages = [first] if (first := consumer.poll(0.1)) is not None else []
        if messages:
            messages += consumer.consume(BATCH_ROWS_MAX - 1, 0)
            parts.end("pull")
            work(messages, scorer, producer, job.scores, done, parts)
        producer.poll(0)
        parts.end("produce")
        if time.monotonic() >= commit_at:
            commit(wait=False)
            commit_at = time.monotonic() + HAND_COMMIT_SECONDS
            parts.end("commit")
    commit(wait=True)
    consumer.close()


def work(
    messages: list[Any], scorer: BenchJob, producer: Producer, topic: str, done: dict[int, int], parts: CpuParts
) -> None:
    """Score a batch and produce the scores; then set in ``done`` the offset to commit of each of its partitions."""
    produce_scores(messages, score(messages, scorer, done, parts), producer, topic)
    parts.count(len(messages))


def score(messages: list[Any], scorer: BenchJob, done: dict[int, int], parts: CpuParts) -> list[bytes]:
    """Return the encoded scores; set in ``done`` the offset to commit of each partition."""
    for message in messages:
        if message.error() is not None:
            raise KafkaException(message.error())
    partitions = [message.partition() for message in messages]
    offsets = [message.offset() for message in messages]
    values = [message.value() for message in messages]
    parts.end("pull")
    scores = scorer.score(values, partitions, offsets, parts.end)
    done.update(zip(partitions, [offset + 1 for offset in offsets], strict=True))
    return scores


def produce_scores(messages: list[Any], scores: list[bytes], producer: Producer, topic: str) -> None:
    """Produce each score with the key and to the partition number of its event."""
    produce = producer.produce
    for message, value in zip(messages, scores, strict=True):
        while True:
            try:
                produce(topic, value, message.key(), message.partition())
                break
            except BufferError:
                producer.poll(0.01)


if __name__ == "__main__":
    main(contender_args())
