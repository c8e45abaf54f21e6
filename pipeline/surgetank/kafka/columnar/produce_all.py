"""Appends whole batches to a producer's queue and waits for deliveries while it is full."""

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from surgetank.kafka.columnar.interface import BatchProducer
from surgetank.records import OutputRecords

FULL_SECONDS = 0.01  # wait for a delivery while the queue is full because the brokers are slower than the worker

Delivered = Callable[[KafkaError | None, Message], None]


def produce_all(
    producer: Producer, batches: BatchProducer, records: OutputRecords, delivered: Delivered | None = None
) -> None:
    """Append all rows in order. ``batches`` appends to the queue of ``producer``.

    ``delivered`` is called, while the producer is polled or flushed, with the delivery of the last row, which goes
    through the ordinary client. Raises KafkaException for the first row that is rejected, and for a fatal error.
    """
    n = len(records)
    head = records if delivered is None or n == 0 else records.slice(0, n - 1)
    row = 0
    while row < len(head):
        row, error = batches.append(head, row)
        if error is not None and error.code() != KafkaError._QUEUE_FULL:
            raise KafkaException(error)
        producer.poll(0 if error is None else FULL_SECONDS)
    while len(head) < n:
        key, value, partition = records.keys[-1].as_py(), records.values[-1].as_py(), int(records.partitions[-1])
        try:
            producer.produce(records.topic, value, key, partition, on_delivery=delivered)
        except BufferError:
            producer.poll(FULL_SECONDS)
        else:
            return
