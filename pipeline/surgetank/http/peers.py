"""The HTTP addresses of a pipeline's workers, read from Kafka and cached for a second."""

import logging
import threading

from confluent_kafka import KafkaException

from surgetank.clock import Clock
from surgetank.kafka.group_client import GroupClient
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings

log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
CALL_SECONDS = 2.0


class PeerAddresses:
    """The addresses of the workers that last committed the partitions of a topic. For any thread."""

    def __init__(self, kafka: KafkaSettings, group: str, topic: str, partitions: int, clock: Clock) -> None:
        self._group = GroupClient(kafka, group)
        self._sources = [TopicPartition(topic, partition) for partition in range(partitions)]
        self._clock = clock
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._asked_at: float | None = None

    def __call__(self) -> set[str]:
        """Return the addresses, at most a second old; the last known ones if Kafka does not answer."""
        with self._lock:
            now = self._clock.monotonic()
            if self._asked_at is None or now - self._asked_at > FRESH_SECONDS:
                self._asked_at = now
                try:
                    self._known = self._group.addresses(self._sources, CALL_SECONDS)
                except KafkaException as error:
                    log.debug("the addresses of the workers are unknown: %s", error)
            return self._known
