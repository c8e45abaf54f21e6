"""Warms up brokers that have just started: a cold JVM answers many times more slowly for the first seconds of load.

Makes the same requests as replay, workers and readers: small batches of an idempotent producer, transactions with the
offsets of a group, and fetches of committed records. All requests use a separate topic, which is deleted at the end.
"""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import NewTopic

from surgetank.clock import SystemClock
from surgetank.errors import BrokerError
from surgetank.kafka import clients
from surgetank.settings import KafkaSettings

SECONDS = 5.0
PARTITIONS = 8
ROWS = 2 * PARTITIONS  # in a transaction, and in each produced batch
PAUSE_SECONDS = 0.002
VALUE = b"x" * 200
CALL_SECONDS = 10.0


def warm_up(kafka: KafkaSettings, *, seconds: float = SECONDS) -> int:
    """Run transactions for about ``seconds``; return their number. Raises BrokerError if the brokers reject one."""
    name = f"warm-up-{uuid.uuid4().hex[:8]}"
    try:
        return _warm_up(kafka, name, seconds)
    except KafkaException as error:
        raise BrokerError(f"the brokers could not be warmed up: {error.args[0].str()}") from None


def _warm_up(kafka: KafkaSettings, name: str, seconds: float) -> int:
    admin = clients.admin(kafka)
    admin.create_topics([NewTopic(name, PARTITIONS)], operation_timeout=CALL_SECONDS)[name].result()
    ending = threading.Event()
    try:
        with ThreadPoolExecutor(3) as pool:
            beside = [pool.submit(_produce, kafka, name, ending), pool.submit(_read, kafka, name, ending)]
            try:
                transactions = pool.submit(_commit, kafka, name, seconds).result()
            finally:
                ending.set()
        for each in beside:
            each.result()
        return transactions
    finally:
        admin.delete_topics([name], operation_timeout=CALL_SECONDS)[name].result()
        # Without a commit the group does not exist; that error is ignored.
        admin.delete_consumer_groups([name], request_timeout=CALL_SECONDS)[name].exception()


def _produce(kafka: KafkaSettings, topic: str, ending: threading.Event) -> None:
    """Produce a few records at a time, as replay does."""
    producer = clients.producer(kafka, linger_ms=1)
    while not ending.wait(PAUSE_SECONDS):
        for row in range(ROWS):
            producer.produce(topic, VALUE, b"%d" % row, row % PARTITIONS)
        producer.poll(0)
    producer.flush(CALL_SECONDS)


def _read(kafka: KafkaSettings, topic: str, ending: threading.Event) -> None:
    """Read committed records as they arrive, as workers and readers of scores do."""
    reader = clients.reader(kafka, auto_offset_reset="earliest")
    try:
        reader.assign([KafkaTopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        while not ending.is_set():
            reader.consume(1000, PAUSE_SECONDS)
    finally:
        reader.close()


def _commit(kafka: KafkaSettings, topic: str, seconds: float) -> int:
    """Run small transactions with offsets of a group without members; return their number."""
    producer = clients.transactional(kafka, transactional_id=topic)
    producer.init_transactions(CALL_SECONDS)
    group = clients.reader(kafka, group_id=topic)
    clock = SystemClock()
    transactions, until = 0, clock.monotonic() + seconds
    try:
        while clock.monotonic() < until:
            transactions += 1
            producer.begin_transaction()
            for row in range(ROWS):
                producer.produce(topic, VALUE, b"%d" % row, row % PARTITIONS)
            offsets = [KafkaTopicPartition(topic, number, transactions) for number in range(PARTITIONS)]
            producer.send_offsets_to_transaction(offsets, group.consumer_group_metadata(), CALL_SECONDS)
            producer.commit_transaction(CALL_SECONDS)
    finally:
        group.close()
    return transactions
