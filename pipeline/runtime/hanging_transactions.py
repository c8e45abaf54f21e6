"""Ends, by an abort, what a broker was told to end and did not.

A coordinator that ends a transaction while some of its partitions have no leader leaves those without a marker for
good, and calls the transaction complete (KAFKA-20734; seen with Apache Kafka 4.3.1 whenever the only broker is stopped
in the middle of commits). What lies there stays open: scores that nobody can read past, offsets that stay pending.
Later it shares the fate of the next transaction of the same transactional id that touches the partition. So before a
worker trusts any committed offset, it lets one transaction touch all of them, and aborts it: scores and offsets vanish
together, and the events are scored anew (ops/decisions/0002).
"""

from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from pipeline.errors import BrokerError
from pipeline.records import OutputPartition


def end_hanging_transactions(
    producer: Producer, outputs: Iterable[OutputPartition], group: Any, seconds: float
) -> None:
    """Put a marker of an aborted transaction into every output partition, and one behind the group's offsets.

    ``group`` is the metadata of the group without a member. Where nothing was left open, nothing changes. Raises
    KafkaException or BrokerError if it could not be done in time; it can be done again, by another producer.
    """
    outputs = sorted(outputs)
    producer.begin_transaction()
    for topic, partition in outputs:
        producer.produce(topic, None, b"", partition)  # with a key: a compacted topic takes nothing else
    if producer.flush(seconds):
        raise BrokerError(f"the brokers did not take a record for each of {outputs} within {seconds:g} s")
    try:
        # That the transaction has offsets is what counts. They are never committed, and if ever they were, then as
        # the group's place in its own output, which nobody asks for.
        offsets = [KafkaTopicPartition(topic, partition, 0) for topic, partition in outputs]
        producer.send_offsets_to_transaction(offsets, group, seconds)
    except KafkaException as error:
        if not error.args[0].txn_requires_abort():
            raise
    producer.abort_transaction(seconds)
