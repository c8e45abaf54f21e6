"""Splits polled messages by partition and separates records from errors and end-of-partition events; keeps order."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from confluent_kafka import KafkaError, Message

from surgetank.records import TopicPartition


def by_partition(messages: list[Message], *, one_topic: bool) -> Iterator[tuple[TopicPartition, list[Message]]]:
    """Yield consecutive messages of the same partition; ``one_topic``: all messages are of one topic.

    An error without a partition is yielded under partition -1.
    """
    if not messages:
        return
    # Mapping a method takes two thirds of the time of a comprehension that calls it.
    partitions = np.array(list(map(Message.partition, messages)))  # None: an error without a partition
    changes = partitions[1:] != partitions[:-1]
    if not one_topic:
        topics = np.array(list(map(Message.topic, messages)))
        changes |= topics[1:] != topics[:-1]
    for start, stop in pairwise([0, *(np.flatnonzero(changes) + 1).tolist(), len(messages)]):
        topic, partition = messages[start].topic(), messages[start].partition()
        yield TopicPartition(topic or "", -1 if partition is None else partition), messages[start:stop]


def split_poll_result(messages: list[Message]) -> tuple[list[Message], int | None, list[KafkaError]]:
    """Return the records, the end offset of the partition if it was reached, and the errors that are not retriable.

    The end offset is after trailing transaction markers, which are not returned as records.
    """
    if not any(map(Message.error, messages)):  # KafkaError is truthy; nearly all polls have none
        return messages, None, []
    records, end, troubles = [], None, []
    for message in messages:
        error = message.error()
        if error is None:
            records.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            end = message.offset()
        elif not error.retriable():
            troubles.append(error)
    return records, end, troubles
