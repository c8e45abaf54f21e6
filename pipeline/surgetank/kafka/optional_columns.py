"""Sends columns of optional records without delaying the caller: what the brokers do not take in time is dropped.

For few records of other kinds there is ``best_effort_producer``; use transactions for records that must not be lost.
"""

import logging
import threading
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from surgetank.kafka import clients
from surgetank.kafka.columnar.interface import BatchProducer
from surgetank.kafka.columnar.select import batch_producer
from surgetank.records import OutputRecords
from surgetank.settings import KafkaSettings

log = logging.getLogger(__name__)

KEPT_SECONDS = 10  # how long a record waits for the brokers
PENDING_MAX = 65_536
PENDING_KILOBYTES_MAX = 32_768
FLUSH_SECONDS = 2.0


class OptionalColumns:
    """An idempotent producer whose client starts with the first records. For any thread.

    A record is written at most once. ``lost`` is called, while records are sent, with the number of records of a call
    whose last record was not delivered: only this one goes through the client that reports deliveries, so the number is
    an estimate.
    """

    def __init__(self, kafka: KafkaSettings, *, client_id: str, lost: Callable[[int], None]) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._lost = lost
        self._producer: Producer | None = None
        self._batches: BatchProducer | None = None
        self._complained = False
        self._lock = threading.RLock()  # a delivery is reported inside of a call

    def send(self, records: OutputRecords) -> int:
        """Queue records in order; return how many the queue took, all of them unless the brokers are too slow.

        Raises KafkaException if the settings are wrong.
        """
        with self._lock:
            return self._send(records)

    def _send(self, records: OutputRecords) -> int:
        producer, batches = self._clients()
        n, row = len(records), 0
        producer.poll(0)
        if n == 0:
            return 0
        head = records.slice(0, n - 1)
        while row < len(head):
            row, error = batches.append(head, row)
            if error is not None:
                self._complain(records.topic, error)
                return row
        key, value, partition = records.keys[-1].as_py(), records.values[-1].as_py(), int(records.partitions[-1])
        try:
            producer.produce(records.topic, value, key, partition, on_delivery=self._delivered(records.topic, n))
        except BufferError:
            return n - 1
        except KafkaException as error:
            self._complain(records.topic, error.args[0])
            return n - 1
        return n

    def close(self) -> None:
        """Wait a few seconds until the queued records are written; drop the rest."""
        with self._lock:
            if self._producer is not None:
                self._producer.flush(FLUSH_SECONDS)

    def _clients(self) -> tuple[Producer, BatchProducer]:
        if self._producer is None or self._batches is None:
            self._producer = clients.producer(
                self._kafka,
                client_id=self._client_id,
                message_timeout_ms=KEPT_SECONDS * 1000,
                queue_buffering_max_messages=PENDING_MAX,
                queue_buffering_max_kbytes=PENDING_KILOBYTES_MAX,
            )
            self._batches = batch_producer(self._producer, self._client_id)
        return self._producer, self._batches

    def _delivered(self, topic: str, rows: int) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self._complained = False
            else:
                self._complain(topic, error)
                self._lost(rows)

        return delivered

    def _complain(self, topic: str, error: KafkaError) -> None:
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        if error.code() == KafkaError._FATAL:  # the next call makes a new client
            self._producer = self._batches = None
        log.log(level, "records for topic %s are lost (nothing else is): %s", topic, error.str())
