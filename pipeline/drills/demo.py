"""Runs the whole system once on real Kafka: workers, real events, a spike, and an audit of every event."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from pipeline.clock import Clock, SystemClock
from pipeline.declaration import Pipeline
from pipeline.drills import pacing
from pipeline.drills.audit import audit
from pipeline.drills.audit_comparison import AuditReport
from pipeline.drills.fleet import Fleet
from pipeline.drills.latency import Latencies, Percentiles
from pipeline.drills.recording import Recording
from pipeline.drills.replay import Replay
from pipeline.drills.scores import ScoreReader
from pipeline.drills.wire import encoder
from pipeline.errors import SurgetankError
from pipeline.kafka import provisioning
from pipeline.kafka.topic_reader import TopicReader
from pipeline.settings import KafkaSettings

LOOK_SECONDS = 0.5
RECENT_SECONDS = 5.0
READY_SECONDS = 60.0
DRAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """The rate in events per second, the spike, and the duration."""

    rate: float
    spike: pacing.Spike
    seconds: float
    workers: int = 2

    @property
    def count(self) -> int:
        """The number of events."""
        due = pacing.intended(round(self.rate * (self.seconds + self.spike.factor * 1000)), self.rate, [self.spike])
        return int(np.searchsorted(due, self.seconds))


@dataclass(frozen=True, slots=True)
class DemoSnapshot:
    """The metrics at one moment. Rates are events per second since the previous snapshot; lag is in events."""

    seconds: float
    sent: int
    scored: int
    rate_in: float
    rate_out: float
    lag: int
    recent: Percentiles
    workers: list[tuple[str, str, int]] = field(default_factory=list)  # name, state, partitions


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The result, also written to demo-report.json. Latency is from the intended send to the reader of the score."""

    events: int
    scores: int
    dead_letters: int
    lost: int
    duplicates: int
    unexpected: int
    out_of_order: int
    p50_ms: float
    p99_ms: float
    p99_calm_ms: float
    peak_lag: int
    drain_seconds: float
    peak_rate: float
    first_score_seconds: float

    @property
    def passed(self) -> bool:
        """Whether every event has exactly one outcome, in order."""
        return not (self.lost or self.duplicates or self.unexpected or self.out_of_order)

    def as_dict(self) -> dict[str, float]:
        """Return plain values, for JSON."""
        return asdict(self)


class _Watcher:
    """Reads events and scores as a consumer of both topics would."""

    def __init__(self, kafka: KafkaSettings, pipeline: Pipeline, clock: Clock) -> None:
        self._kafka = kafka
        self._pipeline = pipeline
        self._clock = clock
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._latencies = Latencies()
        self.scored = 0
        self.seen = 0
        self.last_score_at = 0.0
        self.first_score_at = 0.0
        self.arrivals: deque[tuple[float, int]] = deque()

    def follow_scores(self) -> None:
        """Read scores until stopped."""
        with ScoreReader(self._kafka, self._pipeline, clock=self._clock) as reader:
            while not self._stopping.is_set():
                read = reader.read(timeout=0.1)
                if len(read):
                    columns = read.columns
                    with self._lock:
                        self._latencies.scores(
                            columns["source_partition"].to_numpy().astype(np.int64),
                            columns["source_offset"].to_numpy(),
                            read.arrived_at,
                        )
                    self.first_score_at = self.first_score_at or read.arrived_at
                    self.last_score_at = read.arrived_at
                    self.scored += len(read)

    def follow_events(self) -> None:
        """Read events until stopped."""
        with TopicReader(self._kafka, [self._pipeline.events.topic]) as reader:
            while not self._stopping.is_set():
                records = reader.read(timeout=0.1)
                if len(records):
                    partitions = np.array([source.partition for source in records.sources])[records.source]
                    with self._lock:
                        self._latencies.events(partitions, records.offsets, records.arrived_ms)
                    self.seen += len(records)

    def percentiles(self, after: float = -np.inf, before: float = np.inf) -> Percentiles:
        """Return the latencies of the scores that arrived in this period (seconds since the epoch)."""
        with self._lock:
            return self._latencies.percentiles(after, before)

    def stop(self) -> None:
        """Stop both readers."""
        self._stopping.set()


def demo(
    pipeline: Pipeline,
    topology: str,
    recording: Recording,
    plan: DemoPlan,
    *,
    kafka: KafkaSettings,
    folder: Path,
    show: Callable[[DemoSnapshot], None],
    say: Callable[[str], None],
    clock: Clock | None = None,
) -> tuple[DemoReport, AuditReport]:
    """Run the demo. ``show`` receives a snapshot twice a second, ``say`` a line per step. Raises SurgetankError."""
    clock = clock or SystemClock()
    provisioning.apply(kafka, pipeline)
    scored_kind = recording.events.index(next(e for e in recording.events if e.topic == pipeline.events.topic))
    watcher = _Watcher(kafka, pipeline, clock)
    replay = Replay(kafka, recording, pacing.at_rate(plan.rate, [plan.spike]), encoder(), count=plan.count, clock=clock)
    with (
        Fleet(topology, bootstrap=kafka.bootstrap, folder=folder, clock=clock) as fleet,
        ThreadPoolExecutor(3) as pool,
    ):
        try:
            say(f"starting {plan.workers} workers")
            started = clock.now()
            for member in [fleet.start() for _ in range(plan.workers)]:
                fleet.wait_ready(member)
            _wait_running(fleet, provisioning.existing(kafka)[pipeline.events.topic])
            ready = clock.now() - started
            say(f"workers ready after {ready:.1f} s; replaying {plan.count:,} real events")
            following = [pool.submit(watcher.follow_scores), pool.submit(watcher.follow_events)]
            sending = pool.submit(replay.run)
            began = clock.now()
            lags = _watch(clock, fleet, watcher, replay, scored_kind, began, show, lambda: not sending.done())
            sent = sending.result()
            if not sent.complete:
                raise SurgetankError(f"{sent.failed} events could not be sent: {sent.error}")
            expected = int(sent.by_topic[pipeline.events.topic])
            quiet_until = clock.now() + DRAIN_SECONDS
            lags += _watch(
                clock, fleet, watcher, replay, scored_kind, began, show,
                lambda: watcher.scored < expected and clock.now() < quiet_until,
            )  # fmt: skip
            spike_over = began + plan.spike.end
            drained = next((at for at, lag in lags if at >= spike_over and lag < plan.rate / 2), watcher.last_score_at)
        finally:
            replay.stop()
            watcher.stop()
        for done in following:
            done.result()
        say("all events sent; auditing every event")
        found = audit(kafka, pipeline, wait=DRAIN_SECONDS)
    all_, calm = watcher.percentiles(), watcher.percentiles(before=began + plan.spike.start)
    return DemoReport(
        events=found.events,
        scores=found.scores,
        dead_letters=found.dead_letters,
        lost=found.lost,
        duplicates=found.duplicates,
        unexpected=found.unexpected,
        out_of_order=found.out_of_order,
        p50_ms=all_.p50_ms,
        p99_ms=all_.p99_ms,
        p99_calm_ms=calm.p99_ms,
        peak_lag=max((lag for _, lag in lags), default=0),
        drain_seconds=round(max(0.0, drained - spike_over), 1),
        peak_rate=round(plan.rate * plan.spike.factor, 1),
        first_score_seconds=round(max(0.0, watcher.first_score_at - began), 2),
    ), found


def all_running(tasks: Sequence[int], partitions: int) -> bool:
    """Return whether all partitions are distributed among the workers, given the number of tasks of each. Pure.

    Every worker must have a task if there are enough partitions; otherwise the group has not seen every worker.
    """
    return sum(tasks) == partitions and sum(count > 0 for count in tasks) == min(partitions, len(tasks))


def _wait_running(fleet: Fleet, partitions: int) -> None:
    """Wait until every partition has a running task, because a worker is ready before its first assignment.

    Raises SurgetankError after about READY_SECONDS.
    """
    pause = threading.Event()
    for _ in range(round(READY_SECONDS / LOOK_SECONDS)):
        tasks = [member.partitions for member in fleet.members.values()]
        if all_running(tasks, partitions):
            return
        pause.wait(LOOK_SECONDS)
    raise SurgetankError(f"the workers run {tasks} tasks after {READY_SECONDS:.0f} s, not {partitions} in total")


def _watch(
    clock: Clock,
    fleet: Fleet,
    watcher: _Watcher,
    replay: Replay,
    kind: int,
    began: float,
    show: Callable[[DemoSnapshot], None],
    going: Callable[[], bool],
) -> list[tuple[float, int]]:
    """Take a snapshot twice a second while the replay runs; return (seconds since the epoch, lag) of each."""
    pause = threading.Event()
    lags: list[tuple[float, int]] = []
    before = (clock.now(), replay.sent_of(kind), watcher.scored)
    while going():
        pause.wait(LOOK_SECONDS)
        now, sent, scored = clock.now(), replay.sent_of(kind), watcher.scored
        elapsed = max(1e-6, now - before[0])
        lag = max(0, sent - scored)
        lags.append((now, lag))
        show(
            DemoSnapshot(
                seconds=now - began,
                sent=sent,
                scored=scored,
                rate_in=(sent - before[1]) / elapsed,
                rate_out=(scored - before[2]) / elapsed,
                lag=lag,
                recent=watcher.percentiles(after=now - RECENT_SECONDS),
                workers=[
                    (m.name, "ready" if m.ready else "starting" if m.running else "ended", m.partitions)
                    for m in fleet.members.values()
                ],
            )
        )
        before = (now, sent, scored)
    return lags
