"""Reads a whole topic in columns, from its first record to the end that it has now."""

from collections.abc import Iterator

from surgetank.errors import BrokerError
from surgetank.kafka import clients
from surgetank.kafka.columnar.select import batch_consumer
from surgetank.kafka.topic_reader import BYTES_MAX, offsets, partitions, raise_if_unreadable
from surgetank.records import PartitionRecords
from surgetank.settings import KafkaSettings

_ROWS_MAX = 16_384
_STEP_SECONDS = 0.5
_SILENCE_SECONDS = 60.0


def read_topic(kafka: KafkaSettings, topic: str) -> Iterator[PartitionRecords]:
    """Yield the committed records of a topic in batches of one partition each, in the order of each partition.

    Records that are committed after the start are left out. Raises TopicsError if the topic is missing or deleted,
    BrokerError if Kafka does not answer.
    """
    admin = clients.admin(kafka)
    sources = partitions(admin, [topic], kafka.bootstrap)
    starts, ends = offsets(admin, sources, "earliest"), offsets(admin, sources, "latest")
    left = {source: end for source, end in ends.items() if end > starts[source]}
    options = clients.reader_options(
        kafka,
        enable_partition_eof=True,
        auto_offset_reset="error",
        fetch_wait_max_ms=50,
        # A fetch is decompressed at once: of what compresses to a hundredth, a default one has a hundred megabytes of
        # each partition.
        fetch_message_max_bytes=65_536,
        queued_max_messages_kbytes=16_384,
        fetch_queue_backoff_ms=5,
    )
    consumer = batch_consumer(options)
    try:
        if left:
            consumer.assign({source: starts[source] for source in left})
        silent = 0.0
        while left:
            polled = consumer.poll(_STEP_SECONDS, rows_max=_ROWS_MAX, bytes_max=BYTES_MAX)
            heard = False
            for error in polled.errors:
                raise_if_unreadable(kafka.bootstrap, error)
            for records in polled.records:
                end = left.get(records.source)
                if end is None:
                    continue
                inside = int((records.offsets < end).sum())
                if inside:
                    yield records if inside == len(records) else records.split(inside)[0]
                heard = True
                if records.next_offset >= end:
                    del left[records.source]
                    consumer.unassign([records.source])
            silent = 0.0 if heard else silent + _STEP_SECONDS
            if silent > _SILENCE_SECONDS:
                raise BrokerError(f"{kafka.bootstrap} gives no more records of {topic!r}, and the end is not reached")
    finally:
        clients.close_in_background(consumer)
