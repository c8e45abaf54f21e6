"""Runs the whole system once on real Kafka: workers, real events, a spike, and an audit of every event."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from surgetank.clock import Clock, SystemClock
from surgetank.declaration import Pipeline
from surgetank.drills import pacing
from surgetank.drills.audit import audit
from surgetank.drills.audit_comparison import AuditReport
from surgetank.drills.fleet import Fleet
from surgetank.drills.latency import Latencies, Percentiles
from surgetank.drills.recording import Recording
from surgetank.drills.replay import Replay
from surgetank.drills.topic_listener import TopicListener
from surgetank.drills.wire import SCORE, decoder, encoder
from surgetank.errors import SurgetankError
from surgetank.kafka import provisioning
from surgetank.kafka.retry import wait_until
from surgetank.records import RecordBatch
from surgetank.settings import KafkaSettings

SNAPSHOT_SECONDS = 0.5
RECENT_SECONDS = 5.0
READY_SECONDS = 60.0
DRAIN_SECONDS = 60.0
_AUDITED = ("events", "scores", "dead_letters", "lost", "waiting", "duplicates", "unexpected", "out_of_order")


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

    audit: AuditReport
    p50_ms: float
    p99_ms: float
    p99_calm_ms: float
    peak_lag: int
    drain_seconds: float
    peak_rate: float
    first_score_seconds: float

    def as_dict(self) -> dict[str, float]:
        """Return plain values, for JSON: the numbers of the audit, then the others."""
        others = asdict(self)
        audit = others.pop("audit")
        return {name: audit[name] for name in _AUDITED} | others


class _Scoring:
    """What a consumer of both topics sees: the events, their scores, and the latency of each. For several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._decode = decoder(SCORE)
        self._lock = threading.Lock()
        self._latencies = Latencies()
        self.scored = 0
        self.last_score_at = 0.0
        self.first_score_at = 0.0

    def add_scores(self, records: RecordBatch) -> None:
        """Add scores that have just arrived."""
        arrived_at = self._clock.now()
        columns = self._decode(records).columns
        partitions, offsets = columns["source_partition"].to_numpy(), columns["source_offset"].to_numpy()
        with self._lock:
            self._latencies.scores(partitions.astype(np.int64), offsets, arrived_at)
        self.first_score_at = self.first_score_at or arrived_at
        self.last_score_at = arrived_at
        self.scored += len(offsets)

    def add_events(self, records: RecordBatch) -> None:
        """Add events that have just arrived."""
        with self._lock:
            self._latencies.events(records.partitions, records.offsets, records.arrived_ms)

    def percentiles(self, after: float = -np.inf, before: float = np.inf) -> Percentiles:
        """Return the latencies of the scores that arrived in this period (seconds since the epoch)."""
        with self._lock:
            return self._latencies.percentiles(after, before)


def demo(
    pipeline: Pipeline,
    topology: str,
    recording: Recording,
    plan: DemoPlan,
    *,
    kafka: KafkaSettings,
    worker_options: Sequence[str],
    folder: Path,
    show: Callable[[DemoSnapshot], None],
    say: Callable[[str], None],
) -> DemoReport:
    """Run the demo. ``show`` receives a snapshot twice a second, ``say`` a line per step. Raises SurgetankError.

    The workers get ``worker_options`` on their command lines.
    """
    clock = SystemClock()
    provisioning.apply(kafka, pipeline)
    kind = recording.topics.index(pipeline.events.topic)
    scoring = _Scoring(clock)
    replay = Replay(kafka, recording, pacing.at_rate(plan.rate, [plan.spike]), encoder(), count=plan.count, clock=clock)
    workers = Fleet(topology, bootstrap=kafka.bootstrap, folder=folder, options=worker_options, clock=clock)
    with workers as fleet:
        say(f"starting {plan.workers} workers")
        started = clock.now()
        for member in [fleet.start() for _ in range(plan.workers)]:
            fleet.wait_ready(member)
        _wait_running(fleet, provisioning.existing(kafka)[pipeline.events.topic])
        say(f"workers ready after {clock.now() - started:.1f} s; replaying {plan.count:,} real events")
        with (
            TopicListener(kafka, pipeline.scores.topic, scoring.add_scores, clock, DRAIN_SECONDS),
            TopicListener(kafka, pipeline.events.topic, scoring.add_events, clock, DRAIN_SECONDS),
            replay.in_background() as sending,
        ):
            began = clock.now()
            watch = partial(_watch, clock, fleet, scoring, replay, kind, began, show)
            lags = watch(lambda: not sending.done())
            sent = sending.result()
            if not sent.complete:
                raise SurgetankError(f"{sent.failed} events could not be sent: {sent.error}")
            expected = int(sent.by_topic[pipeline.events.topic])
            quiet_until = clock.now() + DRAIN_SECONDS
            lags += watch(lambda: scoring.scored < expected and clock.now() < quiet_until)
        say("all events sent; auditing every event")
        audited = audit(kafka, pipeline, wait=DRAIN_SECONDS)
    spike_over = began + plan.spike.end
    drained = next((at for at, lag in lags if at >= spike_over and lag < plan.rate / 2), scoring.last_score_at)
    all_, calm = scoring.percentiles(), scoring.percentiles(before=began + plan.spike.start)
    return DemoReport(
        audit=audited,
        p50_ms=all_.p50_ms,
        p99_ms=all_.p99_ms,
        p99_calm_ms=calm.p99_ms,
        peak_lag=max((lag for _, lag in lags), default=0),
        drain_seconds=round(max(0.0, drained - spike_over), 1),
        peak_rate=round(plan.rate * plan.spike.factor, 1),
        first_score_seconds=round(max(0.0, scoring.first_score_at - began), 2),
    )


def all_running(tasks: Sequence[int], partitions: int) -> bool:
    """Return whether all partitions are distributed among the workers, given the number of tasks of each. Pure.

    Every worker must have a task if there are enough partitions; otherwise the group has not seen every worker.
    """
    return sum(tasks) == partitions and sum(count > 0 for count in tasks) == min(partitions, len(tasks))


def _wait_running(fleet: Fleet, partitions: int) -> None:
    """Wait until every partition has a running task, because a worker is ready before its first assignment.

    Raises SurgetankError after about READY_SECONDS.
    """

    def tasks() -> list[int]:
        return [member.partitions for member in fleet.members.values()]

    if not wait_until(lambda: all_running(tasks(), partitions), READY_SECONDS, SNAPSHOT_SECONDS):
        raise SurgetankError(f"the workers run {tasks()} tasks after {READY_SECONDS:.0f} s, not {partitions} in total")


def _watch(
    clock: Clock,
    fleet: Fleet,
    scoring: _Scoring,
    replay: Replay,
    kind: int,
    began: float,
    show: Callable[[DemoSnapshot], None],
    going: Callable[[], bool],
) -> list[tuple[float, int]]:
    """Take a snapshot twice a second while the replay runs; return (seconds since the epoch, lag) of each."""
    lags: list[tuple[float, int]] = []
    before = (clock.now(), replay.sent_of(kind), scoring.scored)
    while going():
        time.sleep(SNAPSHOT_SECONDS)
        now, sent, scored = clock.now(), replay.sent_of(kind), scoring.scored
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
                recent=scoring.percentiles(after=now - RECENT_SECONDS),
                workers=[
                    (m.name, "ready" if m.ready else "starting" if m.running else "ended", m.partitions)
                    for m in fleet.members.values()
                ],
            )
        )
        before = (now, sent, scored)
    return lags
