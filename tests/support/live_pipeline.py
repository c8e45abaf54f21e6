"""A pipeline of one test on a real Kafka: its topics, its workers, its input and its output."""

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from surgetank.clock import SystemClock
from surgetank.declaration import Pipeline
from surgetank.drills.audit import audit
from surgetank.drills.audit_comparison import AuditReport
from surgetank.drills.fleet import Fleet, Member
from surgetank.drills.recording import Recording
from surgetank.drills.replay import Replay, Sent
from surgetank.drills.wire import encoder
from surgetank.kafka import clients, provisioning
from surgetank.kafka.topic_reader import TopicReader
from surgetank.lag.group_offsets import GroupOffsets
from surgetank.records import Headers
from surgetank.settings import KafkaSettings
from tests.support.topologies.stateless_flights import ENVIRONMENT, prefixed
from topology.recordings.flights import recording

# At least 100,000 events are in flight: a worker holds that many fetched but uncommitted events.
IN_PLAY = {
    "worker.buffered_rows_max": 150_000,
    "worker.batch_rows_max": 4096,
    "worker.commit_interval_seconds": 0.5,
}

_ANSWER_SECONDS = 10.0


@lru_cache(maxsize=1)
def real_events() -> Recording:
    """Return the boarding events of the year; they are read once."""
    return recording().only("boarding")


class Stage:
    """One pipeline under test. As a context manager it stops its workers."""

    topology = "tests.support.topologies.stateless_flights"

    def __init__(
        self, kafka: KafkaSettings, folder: Path, *, settings: dict[str, Any] | None = None, partitions: int = 4
    ) -> None:
        self.kafka = kafka
        self.prefix = f"t{uuid.uuid4().hex[:10]}"
        self.folder = folder
        self.pipeline, self.models = self.declared(partitions)
        self.fleet = Fleet(
            self.topology,
            bootstrap=kafka.bootstrap,
            folder=folder,
            settings={"model.directory": self.models} | (settings or {}),
        )
        self.clock = SystemClock()
        self._replays: list[tuple[Replay, threading.Thread]] = []

    def declared(self, partitions: int) -> tuple[Pipeline, Path]:
        """Return the pipeline, which ``topology`` declares too, and the path of its models."""
        return prefixed(self.prefix, partitions), Path(__file__).parents[2] / "topology" / "models"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for replay, thread in self._replays:
            replay.stop()
            thread.join()
        self.fleet.close()

    def apply_topics(self) -> None:
        """Create the topics."""
        provisioning.apply(self.kafka, self.pipeline)

    def worker(self, *, ready: bool = True, environment: dict[str, str] | None = None, name: str = "") -> Member:
        """Start a worker and, by default, wait until it is ready. The same ``name`` reuses the state directory."""
        member = self.fleet.start({ENVIRONMENT: self.prefix} | (environment or {}), name)
        if ready:
            self.fleet.wait_ready(member)
        return member

    def send(self, count: int, rate: float = 1e9) -> Sent:
        """Send real events and wait until Kafka has them."""
        return self._replay(count, rate).run()

    def sending(self, count: int, rate: float) -> Replay:
        """Send real events in the background."""
        replay = self._replay(count, rate)
        thread = threading.Thread(target=replay.run, daemon=True)
        thread.start()
        self._replays.append((replay, thread))
        return replay

    def put(
        self,
        values: list[bytes | None],
        keys: list[bytes | None] | None = None,
        headers: Sequence[Headers] | None = None,
    ) -> None:
        """Send these bytes as events, to the partitions in turn."""
        producer = clients.producer(self.kafka, message_max_bytes=8_000_000)
        failed: list[object] = []
        for row, value in enumerate(values):
            producer.produce(
                self.pipeline.events.topic,
                value,
                keys[row] if keys else None,
                row % self.pipeline.events.partitions,
                headers=list(headers[row]) if headers else None,
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
            producer.poll(0)
        producer.flush(60)
        assert not failed

    def audit(self, wait: float = 30.0) -> AuditReport:
        """Count every event; wait for the last ones."""
        return audit(self.kafka, self.pipeline, wait=wait)

    def lag(self) -> int:
        """Return the number of uncommitted events."""
        return sum(p.lag for p in GroupOffsets(self.kafka, self.pipeline.group, [self.pipeline.events.topic]).now())

    def until(self, condition: Callable[[], bool], timeout: float, what: str) -> float:
        """Wait for a condition; return the seconds it took. Fails the test, with ``what``, at the timeout."""
        started = self.clock.monotonic()
        never = threading.Event()
        while not condition():
            assert self.clock.monotonic() - started < timeout, f"{what}: not within {timeout:.0f} s\n{self.logs()}"
            never.wait(0.05)
        return self.clock.monotonic() - started

    def scores(self) -> int:
        """Return the number of committed scores."""
        with TopicReader(self.kafka, [self.pipeline.scores.topic]) as reader:
            return sum(len(records) for records in reader.catch_up())

    def logs(self) -> str:
        """Return the last lines of every worker's log."""
        return "\n".join(
            f"--- {member.name}\n" + "\n".join(member.log.read_text(errors="replace").splitlines()[-12:])
            for member in self.fleet.members.values()
        )

    def events(self) -> Recording:
        """Return the events to send."""
        return real_events().to({"flights.boarding": self.pipeline.events.topic})

    def _replay(self, count: int, rate: float) -> Replay:
        def pace(start: int, stop: int) -> np.ndarray:
            return np.arange(start, stop) / rate

        return Replay(self.kafka, self.events(), pace, encoder(), count=count)


@contextmanager
def hanging_transaction(under: Stage) -> Iterator[None]:
    """Hold the last stable offset of each partition of the events back, by one record each; abort at the end."""
    producer = clients.transactional(
        under.kafka, transactional_id=f"{under.prefix}-upstream", transaction_timeout_ms=120_000
    )
    producer.init_transactions(_ANSWER_SECONDS)
    producer.begin_transaction()
    for number in range(under.pipeline.events.partitions):
        producer.produce(under.pipeline.events.topic, b"never committed", b"K", number)
    assert producer.flush(_ANSWER_SECONDS) == 0
    yield
    producer.abort_transaction(_ANSWER_SECONDS)
