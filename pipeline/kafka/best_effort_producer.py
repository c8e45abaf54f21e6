"""Sends optional records without delaying the caller: no call blocks, raises an error or needs a broker.

Records that cannot be delivered are dropped, counted and logged once. Use transactions for records that must not be
lost.
"""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Literal, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.kafka import clients
from pipeline.settings import KafkaSettings

log = logging.getLogger(__name__)

PENDING_MAX = 1000
# These records matter most during an outage, so they are kept until the brokers are back.
KEPT_SECONDS = 300
POLL_SECONDS = 0.2
FLUSH_SECONDS = 2.0

Outcome = Literal["written", "lost"]


class _Record(NamedTuple):
    topic: str
    value: bytes
    at_ms: int


class BestEffortProducer:
    """A producer in its own thread, which starts with the first record. Not transactional.

    All records go to partition 0 of their topic, in the order in which they were sent; after an outage a record may be
    duplicated. ``ended`` is called with the outcome of each record, from any thread.
    """

    def __init__(self, kafka: KafkaSettings, *, client_id: str, ended: Callable[[Outcome], None]) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._ended = ended
        self._pending: queue.Queue[_Record] = queue.Queue(PENDING_MAX)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._complained = False

    def send(self, topic: str, value: bytes, at_ms: int) -> None:
        """Send a record with its time in milliseconds since the epoch. Returns at once."""
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                thread = threading.Thread(target=self._run, name="best effort", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # no more threads can be started, or the process is ending
                    self._lost(topic, str(error))
                    return
                self._thread = thread
        if self._closed.is_set():
            self._lost(topic, "they came too late")
            return
        try:
            self._pending.put_nowait(_Record(topic, value, at_ms))
        except queue.Full:
            self._lost(topic, "too many wait to be sent")

    def close(self, timeout: float = FLUSH_SECONDS + 1) -> None:
        """Send the queued records if the brokers accept them now; return after ``timeout`` seconds at the latest."""
        self._closed.set()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        try:
            producer = clients.producer(
                self._kafka,
                client_id=self._client_id,
                # An idempotent producer may fail permanently, and this producer must survive any broker failure. One
                # request in flight keeps the order; a record may be duplicated.
                enable_idempotence=False,
                max_in_flight=1,
                queue_buffering_max_messages=PENDING_MAX,
                message_timeout_ms=KEPT_SECONDS * 1000,
            )
        except KafkaException as error:
            self._drain(error.args[0].str())
            return
        while True:
            try:
                record = self._pending.get(timeout=0 if self._closed.is_set() else POLL_SECONDS)
            except queue.Empty:
                producer.poll(0)
                if self._closed.is_set():
                    break
            else:
                self._produce(producer, record)
        if producer.flush(FLUSH_SECONDS):
            producer.purge()
            producer.poll(0)  # reports each record as lost

    def _produce(self, producer: Producer, record: _Record) -> None:
        try:
            producer.produce(
                record.topic, record.value, partition=0, timestamp=record.at_ms, on_delivery=self._delivered
            )
            producer.poll(0)
        except BufferError:
            self._lost(record.topic, "too many wait for the brokers")
        except KafkaException as error:
            self._lost(record.topic, error.args[0].str())

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._complained = False
            self._ended("written")
        else:
            self._lost(str(message.topic()), error.str())

    def _drain(self, why: str) -> None:
        while not self._closed.is_set() or not self._pending.empty():
            try:
                record = self._pending.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            self._lost(record.topic, why)

    def _lost(self, topic: str, why: str) -> None:
        self._ended("lost")
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        log.log(level, "records for topic %s are lost (nothing else is): %s", topic, why)
