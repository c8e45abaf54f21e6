"""Reads the dead letters of a topic that a selection means."""

from collections.abc import Iterator

import pyarrow as pa

from surgetank.dead_letters.letters import letter_columns
from surgetank.dead_letters.selection import Selection
from surgetank.kafka.whole_topic import read_topic
from surgetank.settings import KafkaSettings


def read_letters(kafka: KafkaSettings, topic: str, selection: Selection) -> Iterator[pa.RecordBatch]:
    """Yield the selected dead letters, ``letters.SCHEMA``, in batches of one partition each.

    Raises TopicsError and BrokerError, as ``read_topic``.
    """
    for records in read_topic(kafka, topic):
        letters = letter_columns(records)
        yield letters.filter(selection.mask(letters))
