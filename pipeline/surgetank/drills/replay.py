"""Sends a recording at an intended pace, regardless of the pipeline's speed.

The Kafka timestamp of each event is its *intended* send time. Latencies measured from it include delays of the sender,
so a slow sender cannot make the pipeline look fast.
"""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from surgetank.clock import Clock, SystemClock
from surgetank.drills.pacing import Pace
from surgetank.drills.recording import Chunk, Encode, Recording
from surgetank.kafka import clients
from surgetank.kafka.topic_reader import partitions
from surgetank.settings import KafkaSettings

_TICK_SECONDS = 0.002  # events due within a tick are sent together
_POLL_SECONDS = 0.1  # the longest interval between counts of deliveries
_CHUNKS_AHEAD = 8
_QUEUE_MESSAGES = 2_000_000
_QUEUE_KILOBYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Sent:
    """The result of a replay. Times are seconds since the epoch; ``error`` is the first delivery failure, if any.

    ``intended_rate`` and ``achieved_rate`` are events per second from the first to the last event sent.
    ``late_ms`` is the greatest delay between the due time of an event and its hand-over to the client.
    """

    sent: int
    acknowledged: int
    failed: int
    by_topic: dict[str, int]
    first_at: float
    last_at: float
    intended_rate: float
    achieved_rate: float
    late_ms: float
    error: str | None

    @property
    def complete(self) -> bool:
        """Whether Kafka acknowledged every sent event."""
        return self.acknowledged == self.sent


class Replay:
    """Sends the first ``count`` events of a recording at a pace, across laps, or those from number ``first`` on.

    ``encode`` encodes rows as values. ``sent``, ``acknowledged`` and ``failed`` may be read from any thread while it
    runs; ``stop()`` may be called from any thread. ``run`` raises BrokerError or TopicsError before anything is sent.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        recording: Recording,
        pace: Pace,
        encode: Encode,
        *,
        count: int | None = None,
        first: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self._kafka = kafka
        self._recording = recording
        self._pace = pace
        self._encode = encode
        self._first, self._count = first, len(recording) if count is None else count
        self._clock = clock or SystemClock()
        self._stop = threading.Event()
        self._topics = recording.topics
        self._by_kind = np.zeros(len(self._topics), dtype=np.int64)
        self._late = 0.0
        self._error: str | None = None
        self.sent = 0
        self.acknowledged = 0
        self.failed = 0

    def stop(self) -> None:
        """Stop sending; ``run`` then waits for outstanding deliveries and returns."""
        self._stop.set()

    @contextmanager
    def in_background(self) -> "Iterator[Future[Sent]]":
        """Run in another thread until the block ends; yield the future result."""
        with ThreadPoolExecutor(1, "replay") as pool:
            sending = pool.submit(self.run)
            try:
                yield sending
            finally:
                self.stop()

    def sent_of(self, kind: int) -> int:
        """Return how many events of one kind of the recording were passed to the producer so far."""
        return int(self._by_kind[kind])

    def run(self) -> Sent:
        """Send everything, wait until each event is acknowledged or has failed, and return the result."""
        partitions(clients.admin(self._kafka), self._topics, self._kafka.bootstrap)
        producer = clients.producer(
            self._kafka,
            partitioner="murmur2_random",  # as the Java client
            linger_ms=1,
            queue_buffering_max_messages=_QUEUE_MESSAGES,
            queue_buffering_max_kbytes=_QUEUE_KILOBYTES,
        )
        intended = first_at = last_at = start = 0.0
        try:
            for chunk in self._encode_ahead():
                if chunk.first == self._first:  # time starts when the first chunk is encoded
                    start, first_at = self._clock.monotonic(), self._clock.now()
                number = chunk.first - self._first
                due = self._pace(number, number + len(chunk))
                done = self._send(producer, chunk, due, start, first_at)
                if done:
                    intended, last_at = float(due[done - 1]), self._clock.now()
        finally:
            producer.flush()
        return Sent(
            sent=self.sent,
            acknowledged=self.acknowledged,
            failed=self.failed,
            by_topic=dict(zip(self._topics, self._by_kind.tolist(), strict=True)),
            first_at=first_at,
            last_at=last_at,
            intended_rate=_rate(self.sent, intended),
            achieved_rate=_rate(self.sent, last_at - first_at),
            late_ms=self._late * 1000,
            error=self._error,
        )

    def _send(self, producer: Any, chunk: Chunk, due: Any, start: float, epoch: float) -> int:
        """Send a chunk, each event when it is due; return the number of sent events, fewer after a stop."""
        topics = [self._topics[kind] for kind in chunk.kind.tolist()]
        stamps = ((epoch + due) * 1000).astype(np.int64).tolist()
        keys, values = chunk.keys, chunk.values
        done, total = 0, len(chunk)
        while done < total and not self._stop.is_set():
            now = self._clock.monotonic() - start
            upto = int(np.searchsorted(due, now, side="right"))
            for i in range(done, upto):
                self._produce(producer, topics[i], values[i], keys[i], stamps[i])
            if upto > done:
                self._late = max(self._late, self._clock.monotonic() - start - float(due[done]))
                self._by_kind += np.bincount(chunk.kind[done:upto], minlength=len(self._topics))
                self.sent += upto - done
                done = upto
            producer.poll(0)
            if done < total:
                wait = float(due[done]) - (self._clock.monotonic() - start)
                self._stop.wait(min(max(wait, _TICK_SECONDS), _POLL_SECONDS))
        return done

    def _produce(self, producer: Any, topic: str, value: bytes, key: bytes | None, stamp: int) -> None:
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=self._delivered, timestamp=stamp)
                return
            except BufferError:  # counts as lateness
                producer.poll(0.01)

    def _delivered(self, error: Any, _message: Any) -> None:
        if error is None:
            self.acknowledged += 1
            return
        self.failed += 1
        self._error = self._error or str(error)

    def _encode_ahead(self) -> Iterator[Chunk]:
        """Encode some chunks ahead in a separate thread, so that sending does not wait for it."""
        chunks = self._recording.chunks(self._encode, count=self._count, first=self._first)
        pool = ThreadPoolExecutor(1, "replay-encode")
        try:
            waiting = deque(pool.submit(next, chunks, None) for _ in range(_CHUNKS_AHEAD))
            while not self._stop.is_set() and (chunk := waiting.popleft().result()) is not None:
                waiting.append(pool.submit(next, chunks, None))
                yield chunk
        finally:
            pool.shutdown(cancel_futures=True)


def _rate(events: int, seconds: float) -> float:
    return round((events - 1) / seconds, 1) if events > 1 and seconds > 0 else 0.0
