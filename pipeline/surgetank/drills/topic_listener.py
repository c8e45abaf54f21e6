"""Listens to the records of a topic during a drill."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from surgetank.clock import Clock
from surgetank.drills.fleet import Member
from surgetank.errors import SurgetankError
from surgetank.kafka.retry import retry_until_available
from surgetank.kafka.topic_reader import TopicReader
from surgetank.records import RecordBatch
from surgetank.settings import KafkaSettings

LEADERS_SECONDS = 60.0
_READ_SECONDS = 0.1
_CHECK_SECONDS = 0.02


class TopicListener:
    """Reads committed records in its own thread, which calls ``on_records`` with each batch. A context manager.

    Entering it raises BrokerError if no broker answers, TopicsError if the topic is missing.
    ``wait`` is the timeout of ``until`` in seconds.
    """

    def __init__(
        self, kafka: KafkaSettings, topic: str, on_records: Callable[[RecordBatch], None], clock: Clock, wait: float
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._on_records = on_records
        self._clock = clock
        self._wait = wait
        self._stopping = threading.Event()

    def check(self) -> None:
        """Raise the error that ended the reader thread, if any."""
        if self._reading.done():
            self._reading.result()  # the thread ends early only by an error

    def until(self, condition: Callable[[], bool], what: str, worker: Member, since: float | None = None) -> float:
        """Wait for a condition; return the seconds since ``since`` (default: now).

        Raises SurgetankError if the worker exits before, or at the timeout.
        """
        since = self._clock.monotonic() if since is None else since
        while not condition():
            self.check()
            waited = self._clock.monotonic() - since
            if not worker.running or waited > self._wait:
                raise SurgetankError(
                    f"worker {worker.name} {'has no' if worker.running else 'ended before it had'} {what} after "
                    f"{waited:.0f} s; its log: {worker.log}"
                )
            self._stopping.wait(_CHECK_SECONDS)
        return self._clock.monotonic() - since

    def __enter__(self) -> Self:
        # Topics that were just created have no leaders yet. The reader is open before the caller sends anything: the
        # compiled loops take a second to load, in which records would seem late.
        reader = retry_until_available(lambda: TopicReader(self._kafka, [self._topic]), self._clock, LEADERS_SECONDS)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="listener")
        self._reading = self._pool.submit(self._read, reader)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._pool.shutdown()
        self.check()

    def _read(self, reader: TopicReader) -> None:
        with reader:
            while not self._stopping.is_set():
                records = reader.read(timeout=_READ_SECONDS)
                if len(records):
                    self._on_records(records)
