"""Aborts hanging transactions: those that a coordinator completed without a marker in every partition.

A coordinator that ends a transaction while some of its partitions have no leader never writes markers to these, and
marks the transaction complete (KAFKA-20734; seen with Apache Kafka 4.3.1 whenever the only broker is stopped in the
middle of commits). The records there stay open: readers cannot advance past the scores, and the offsets stay pending.
They are committed or aborted with the next transaction of the same transactional id that writes to the partition. So
before a worker trusts any committed offset, it aborts one transaction that writes to all these partitions: scores and
offsets are discarded together, and the events are scored again (ops/decisions/0002).
"""

from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.errors import BrokerError
from surgetank.records import OutputPartition


def end_hanging_transactions(
    producer: Producer, outputs: Iterable[OutputPartition], group: Any, seconds: float
) -> None:
    """Write an abort marker to every output partition, and one after the group's offsets.

    ``group`` is the group metadata without a member. Partitions without a hanging transaction keep their content.
    Raises KafkaException or BrokerError on failure or after ``seconds``; another producer can retry.
    """
    outputs = sorted(outputs)
    producer.begin_transaction()
    for topic, partition in outputs:
        producer.produce(topic, None, b"", partition)  # a compacted topic rejects records without a key
    if producer.flush(seconds):
        raise BrokerError(f"the brokers did not take a record for each of {outputs} within {seconds:g} s")
    try:
        # The transaction must contain offsets, whichever they are. They are never committed; if they were, they would
        # be the group's offsets of its own output topics, which nobody reads.
        offsets = [KafkaTopicPartition(topic, partition, 0) for topic, partition in outputs]
        producer.send_offsets_to_transaction(offsets, group, seconds)
    except KafkaException as error:
        if not error.args[0].txn_requires_abort():
            raise
    producer.abort_transaction(seconds)
