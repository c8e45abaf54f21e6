"""What a consumer gave, told apart: by partition, and records from what is none. In the order in which it lies."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from confluent_kafka import KafkaError, Message

from pipeline.records import TopicPartition


def by_partition(messages: list[Message], *, one_topic: bool) -> Iterator[tuple[TopicPartition, list[Message]]]:
    """Yield the messages of one partition after the other; ``one_topic``: all are of the same one.

    An error that is of no partition comes under a source that there is not.
    """
    if not messages:
        return
    # A map of a method costs two thirds of a comprehension that calls it.
    partitions = np.array(list(map(Message.partition, messages)))  # None: an error that is of none
    changes = partitions[1:] != partitions[:-1]
    if not one_topic:
        topics = np.array(list(map(Message.topic, messages)))
        changes |= topics[1:] != topics[:-1]
    for start, stop in pairwise([0, *(np.flatnonzero(changes) + 1).tolist(), len(messages)]):
        topic, partition = messages[start].topic(), messages[start].partition()
        yield TopicPartition(topic or "", -1 if partition is None else partition), messages[start:stop]


def split_poll_result(messages: list[Message]) -> tuple[list[Message], int | None, list[KafkaError]]:
    """Return the records, the offset of the end of the partition if that was met, and errors that will not pass.

    The end lies behind trailing markers, which no record tells of.
    """
    if not any(map(Message.error, messages)):  # an error is true; nearly always there is none
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
