"""Sends records and returns a future for each, for callers that must confirm the write to another party.

For optional records there is `best_effort_producer`; for the records of a pipeline there are transactions.
"""

import contextlib
import logging
import threading
from concurrent.futures import Future

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from surgetank.errors import SurgetankError
from surgetank.kafka import clients
from surgetank.settings import KafkaSettings

KEPT_SECONDS = 300  # how long a record waits for the brokers to come back
PENDING_MAX = 100_000
PENDING_KILOBYTES_MAX = 65_536
# A broker that rejects a batch as too large rejects all records in it; small batches affect fewer valid records.
BATCH_BYTES = 65_536
POLL_SECONDS = 0.2
FLUSH_SECONDS = 2.0
FOR_GOOD = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP})

log = logging.getLogger(__name__)


class NotWritten(SurgetankError):  # noqa: N818 - the name is what happened
    """A record is not written. ``for_good``: the brokers rejected it and would reject it again."""

    def __init__(self, why: str, *, for_good: bool) -> None:
        super().__init__(why)
        self.for_good = for_good


class ConfirmedProducer:
    """An idempotent producer with a thread that receives delivery reports. Any thread may call ``send``.

    A queued record is written at most once, also across an outage; one that is not ``idempotent`` may be written twice,
    but half a second earlier: librdkafka asks for the id of a new idempotent producer again only after that time.
    Callbacks of the futures run in the producer's thread.
    """

    def __init__(
        self, kafka: KafkaSettings, *, client_id: str, pending_max: int = PENDING_MAX, idempotent: bool = True
    ) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._pending_max = pending_max
        self._idempotent = idempotent
        self._lock = threading.Lock()
        self._producer = self._new()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="confirmed producer", daemon=True)
        self._thread.start()

    def send(self, topic: str, value: bytes, at_ms: int, *, key: bytes | None = None) -> "Future[int | None]":
        """Send a record to partition 0 with its time in milliseconds since the epoch. Returns at once.

        The result is the time at which a broker appended it, in milliseconds since the epoch; None if the topic does
        not have ``message.timestamp.type=LogAppendTime``. The future fails with NotWritten if the record is not written
        within KEPT_SECONDS.
        """
        future: Future[int | None] = Future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                kind, at = message.timestamp()
                future.set_result(at if kind == TIMESTAMP_LOG_APPEND_TIME else None)
            else:
                future.set_exception(_reason(error))

        with self._lock:
            if self._closed.is_set():
                future.set_exception(NotWritten("the producer is closed", for_good=False))
                return future
            try:
                self._producer.produce(topic, value, key, partition=0, timestamp=at_ms, on_delivery=delivered)
            except BufferError:
                future.set_exception(NotWritten("too many records wait for the brokers", for_good=False))
            except KafkaException as error:
                reason: KafkaError = error.args[0]
                future.set_exception(_reason(reason))
                if reason.code() == KafkaError._FATAL:
                    log.warning("a producer failed and is replaced: %s", reason.str())
                    self._discard(self._producer)
                    self._producer = self._new()
        return future

    def close(self) -> None:
        """Wait a few seconds for the queued records to be written, then drop the rest."""
        with self._lock:  # so that no record is queued after the last flush
            self._closed.set()
        self._thread.join(FLUSH_SECONDS + 1)

    def _new(self) -> Producer:
        return clients.producer(
            self._kafka,
            client_id=self._client_id,
            enable_idempotence=self._idempotent,
            message_timeout_ms=KEPT_SECONDS * 1000,
            queue_buffering_max_messages=self._pending_max,
            queue_buffering_max_kbytes=PENDING_KILOBYTES_MAX,
            batch_size=BATCH_BYTES,
        )

    def _run(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(POLL_SECONDS)
        if self._producer.flush(FLUSH_SECONDS):
            self._discard(self._producer)

    def _discard(self, producer: Producer) -> None:
        with contextlib.suppress(KafkaException):
            producer.purge()
            producer.poll(0)  # reports each record as not written


def _reason(error: KafkaError) -> NotWritten:
    return NotWritten(error.str(), for_good=error.code() in FOR_GOOD)
