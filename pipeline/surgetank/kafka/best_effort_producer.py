"""Sends optional records without delaying the caller: no call blocks, raises an error or needs a broker.

Records that cannot be delivered are dropped, counted and logged once. Use transactions for records that must not be
lost.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Literal

from confluent_kafka import KafkaException

from surgetank.kafka.confirmed import ConfirmedProducer
from surgetank.settings import KafkaSettings

log = logging.getLogger(__name__)

PENDING_MAX = 1000

Outcome = Literal["written", "lost"]


class BestEffortProducer:
    """A producer whose client and thread start with the first record. Not transactional.

    All records go to partition 0 of their topic, in the order in which they were sent. These records matter most during
    an outage, so they are kept until the brokers are back (``confirmed.KEPT_SECONDS``). ``ended`` is called with the
    outcome of each record, from any thread.
    """

    def __init__(self, kafka: KafkaSettings, *, client_id: str, ended: Callable[[Outcome], None]) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._ended = ended
        self._lock = threading.Lock()
        self._producer: ConfirmedProducer | None = None
        self._complained = False

    def send(self, topic: str, value: bytes, at_ms: int, on_appended: Callable[[int], None] = lambda _: None) -> None:
        """Send a record with its time in milliseconds since the epoch. Returns at once.

        ``on_appended`` is called, from any thread, with the time at which a broker appended the record, if the topic
        has ``message.timestamp.type=LogAppendTime``.
        """
        try:
            with self._lock:
                if self._producer is None:
                    self._producer = ConfirmedProducer(self._kafka, client_id=self._client_id, pending_max=PENDING_MAX)
        except (KafkaException, RuntimeError) as error:  # wrong settings, or no more threads can be started
            self._lost(topic, error)
        else:
            self._producer.send(topic, value, at_ms).add_done_callback(partial(self._delivered, topic, on_appended))

    def close(self) -> None:
        """Send the queued records if the brokers accept them now; return after a few seconds at the latest."""
        if self._producer is not None:
            self._producer.close()

    def _delivered(self, topic: str, on_appended: Callable[[int], None], delivery: "Future[int | None]") -> None:
        if (error := delivery.exception()) is not None:
            self._lost(topic, error)
            return
        self._complained = False
        self._ended("written")
        if (at_ms := delivery.result()) is not None:
            on_appended(at_ms)

    def _lost(self, topic: str, why: BaseException) -> None:
        self._ended("lost")
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        log.log(level, "records for topic %s are lost (nothing else is): %s", topic, why)
