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
    producer: Producer, partitions: Iterable[OutputPartition], group: Any, seconds: float, *, output: str
) -> None:
    """Write an abort marker to every one of these partitions, and one after the group's offsets.

    ``group`` is the group metadata without a member; ``output`` is an output topic of the pipeline. Partitions without
    a hanging transaction keep their content.
    Raises KafkaException or BrokerError on failure or after ``seconds``; another producer can retry.
    """
    written = sorted(partitions)
    producer.begin_transaction()
    for topic, partition in written:
        producer.produce(topic, None, b"", partition)  # a compacted topic rejects records without a key
    if producer.flush(seconds):
        raise BrokerError(f"the brokers did not take a record for each of {written} within {seconds:g} s")
    try:
        # The transaction must contain an offset, whichever it is. It is never committed; if it were, it would be the
        # group's offset of an output topic, which the group does not read.
        producer.send_offsets_to_transaction([KafkaTopicPartition(output, 0, 0)], group, seconds)
    except KafkaException as error:
        if not error.args[0].txn_requires_abort():
            raise
    producer.abort_transaction(seconds)
