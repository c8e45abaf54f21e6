"""Sends odd records to Kafka with every compression, and counts those that the brokers reject."""

import threading
from collections.abc import Iterable
from typing import Any

from surgetank.clock import Clock, SystemClock
from surgetank.drills.odd.deliveries import Deliveries
from surgetank.drills.odd.records import COMPRESSIONS, OddRecord
from surgetank.drills.odd.stopping import raise_if_stopped
from surgetank.errors import BrokerError
from surgetank.kafka import clients
from surgetank.kafka.raw_headers import produce_with_headers
from surgetank.settings import KafkaSettings

MESSAGE_BYTES_MAX = 200_000_000
_QUEUE_KILOBYTES = 131_072
_FLUSH_SECONDS, _STEP_SECONDS = 120.0, 0.5


class OddSender:
    """Five producers, one per compression. For one thread. Records of one topic are in no particular order."""

    def __init__(self, kafka: KafkaSettings, name: str, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._ids = {compression: f"{name}-{compression}" for compression in COMPRESSIONS}
        # An idempotent producer would fail for good after a record that a broker rejects.
        self._producers = {
            compression: clients.producer(
                kafka,
                client_id=client_id,
                enable_idempotence=False,
                compression_type=compression,
                message_max_bytes=MESSAGE_BYTES_MAX,
                queue_buffering_max_kbytes=_QUEUE_KILOBYTES,
                linger_ms=20,
            )
            for compression, client_id in self._ids.items()
        }

    def send(self, records: Iterable[OddRecord], stop: threading.Event) -> Deliveries:
        """Send records and wait until Kafka has taken or rejected each. Raises BrokerError, DrillStopped."""
        deliveries = Deliveries()
        try:
            for record in records:
                raise_if_stopped(stop)
                self._produce(self._producers[record.compression], record, deliveries, stop)
            for compression, producer in self._producers.items():
                self._flush(compression, producer, stop)
        except BaseException:
            for producer in self._producers.values():  # what is left would be sent with the next pipeline's records
                producer.purge()
            raise
        return deliveries

    def _flush(self, compression: str, producer: Any, stop: threading.Event) -> None:
        until, left = self._clock.monotonic() + _FLUSH_SECONDS, 1
        while left:
            raise_if_stopped(stop)
            left = producer.flush(_STEP_SECONDS)
            if left and self._clock.monotonic() > until:
                raise BrokerError(
                    f"{left} records with compression {compression} are neither taken nor rejected "
                    f"after {_FLUSH_SECONDS:.0f} s"
                )

    def _produce(self, producer: Any, record: OddRecord, deliveries: Deliveries, stop: threading.Event) -> None:
        headers = _decoded(record.headers)
        which = deliveries.sent(record, reported=headers is not None)

        def delivered(error: Any, _: object) -> None:
            if error is None:
                deliveries.acknowledged(which)
            else:
                deliveries.rejected[error.name()] += 1

        while True:
            try:
                if headers is None:
                    produce_with_headers(
                        producer,
                        self._ids[record.compression],
                        record.topic,
                        record.partition,
                        record.key,
                        record.value,
                        record.headers,
                        record.time_ms,
                    )
                else:
                    producer.produce(
                        record.topic,
                        record.value,
                        record.key,
                        record.partition,
                        on_delivery=delivered,
                        timestamp=record.time_ms,
                        headers=headers,
                    )
                producer.poll(0)
                return
            except BufferError:
                raise_if_stopped(stop)
                producer.poll(0.05)


def _decoded(headers: tuple[tuple[bytes, bytes | None], ...]) -> list[tuple[str, bytes | None]] | None:
    """Return headers for the ordinary client; None if a name is not UTF-8."""
    try:
        return [(name.decode(), value) for name, value in headers]
    except UnicodeDecodeError:
        return None
