"""Sends odd records to Kafka with every compression, and counts those that the brokers refuse."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pipeline.drills.odd.records import COMPRESSIONS, OddRecord
from pipeline.kafka import clients
from pipeline.kafka.raw_headers import produce_with_headers
from pipeline.settings import KafkaSettings

MESSAGE_BYTES_MAX = 200_000_000
_QUEUE_KILOBYTES = 131_072
_FLUSH_SECONDS = 120.0


@dataclass(slots=True)
class Sent:
    """How many records were sent, and their bytes. ``refused`` has the reasons of those with a delivery report.

    The ``unreported`` records have none: whether the brokers took them shows in the topics.
    """

    records: int = 0
    bytes: int = 0
    unreported: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class OddSender:
    """Five producers, one per compression. For one thread. Records of one topic are in no particular order."""

    def __init__(self, kafka: KafkaSettings, name: str) -> None:
        self._ids = {compression: f"{name}-{compression}" for compression in COMPRESSIONS}
        # An idempotent producer would fail for good after a record that a broker refuses.
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

    def send(self, records: Iterable[OddRecord]) -> Sent:
        """Send records and wait until Kafka has taken or refused each."""
        sent = Sent()

        def delivered(error: Any, _: object) -> None:
            if error is not None:
                sent.refused[error.name()] += 1

        for record in records:
            sent.records += 1
            sent.bytes += record.size
            producer = self._producers[record.compression]
            self._produce(producer, record, delivered, sent)
        for producer in self._producers.values():
            producer.flush(_FLUSH_SECONDS)
        return sent

    def _produce(self, producer: Any, record: OddRecord, delivered: Any, sent: Sent) -> None:
        headers = _decoded(record.headers)
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
                    sent.unreported += 1
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
                producer.poll(0.05)


def _decoded(headers: tuple[tuple[bytes, bytes | None], ...]) -> list[tuple[str, bytes | None]] | None:
    """Return headers for the ordinary client; None if a name is not UTF-8."""
    try:
        return [(name.decode(), value) for name, value in headers]
    except UnicodeDecodeError:
        return None
