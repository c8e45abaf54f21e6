"""Measures how long the partitions that stay with a worker pause when another worker joins or leaves.

A reader of committed scores records the arrival times of each partition. The pause of a rebalance is the longest gap
around it of the partitions that the first worker owned before and after. No process is killed.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from surgetank.clock import Clock
from surgetank.drills.audit import audit
from surgetank.drills.drill import Drill
from surgetank.drills.environment import DrillEnvironment
from surgetank.drills.fleet import Member
from surgetank.drills.latency import Percentiles
from surgetank.drills.pacing import at_rate
from surgetank.drills.replay import Replay
from surgetank.drills.report import DrillReport
from surgetank.drills.synthetic_keys import SyntheticKeys
from surgetank.drills.topic_listener import TopicListener
from surgetank.drills.wire import encoder
from surgetank.kafka import provisioning
from surgetank.lag.group_offsets import GroupOffsets
from surgetank.records import RecordBatch

CALM_SECONDS = 2.0  # between two rebalances, so that delayed scores arrive before the next rebalance
WAIT_SECONDS = 60.0

GOAL_PAUSE_MS = 300.0
GOAL_FIRST_SECONDS = 5.0
GOAL_JOIN_SECONDS = 5.0  # plus two heartbeat intervals
HEARTBEAT_SECONDS = 1.0  # of the brokers of a drill

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RebalanceReport(DrillReport):
    """The measurements. ``aborted`` counts forced aborts of both workers; ``calm`` is measured without rebalances."""

    protocol: str
    rounds: int
    rate: float
    first_score_seconds: float
    join_seconds: list[float]
    leave_seconds: list[float]
    joining: Percentiles
    leaving: Percentiles
    pauses: Percentiles
    calm: Percentiles
    aborted: int
    exits: list[int]
    audit: dict[str, Any]
    goals: dict[str, bool] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """The report as text."""
        spreads = (
            ("without a rebalance", self.calm),
            ("another joins", self.joining),
            ("another leaves", self.leaving),
            ("both", self.pauses),
        )
        return [
            *(
                f"longest silence, {label:20s} p50 {spread.p50_ms:6.0f}  p99 {spread.p99_ms:6.0f}  "
                f"max {spread.max_ms:6.0f} ms  ({spread.count} partitions)"
                for label, spread in spreads
            ),
            (
                f"first score {self.first_score_seconds:.1f} s, joining {max(self.join_seconds):.1f} s at most, "
                f"forced aborts {self.aborted}, lost {self.audit['lost']}, duplicates {self.audit['duplicates']}"
            ),
            *(f"{'met   ' if met else 'MISSED'} {goal}" for goal, met in self.goals.items()),
        ]

    @property
    def passed(self) -> bool:
        """Whether no event was lost or duplicated. Time goals are only reported, because machines differ."""
        return bool(self.audit["ok"])


class Arrivals:
    """The arrival times of the scores of each partition, in monotonic seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: dict[int, list[float]] = {}
        self._lock = threading.Lock()

    def add(self, records: RecordBatch) -> None:
        """Add records that have just arrived."""
        at = self._clock.monotonic()
        with self._lock:
            for number in np.unique(records.source).tolist():
                self._times.setdefault(records.sources[number].partition, []).append(at)

    @property
    def any(self) -> bool:
        """Whether any score arrived."""
        return bool(self._times)

    def longest_gap(self, partition: int, start: float, stop: float) -> float:
        """Return the longest gap of a partition that overlaps [start, stop], in seconds."""
        with self._lock:
            times = np.array(self._times.get(partition, []))
        return longest_gap(times, start, stop)


def longest_gap(times: Floats, start: float, stop: float) -> float:
    """Return the longest interval between two of the sorted ``times`` that overlaps [start, stop]. Pure.

    Before the first and after the last time, a gap counts only within [start, stop].
    """
    first = max(0, int(np.searchsorted(times, start, side="right")) - 1)
    last = int(np.searchsorted(times, stop, side="left")) + 1
    inside = times[first:last]
    if not len(inside):
        return stop - start
    edges = np.concatenate(([min(start, inside[0])], inside, [max(stop, inside[-1])]))
    return float(np.diff(edges).max())


class RebalanceDrill(Drill):
    """Lets a second worker join and leave, in ``rounds`` rounds, under ``rate`` events per second.

    With ``keys``, the tables of the pipeline are filled with that many keys first, which a joining worker must restore.
    """

    def __init__(
        self,
        environment: DrillEnvironment,
        *,
        rounds: int,
        rate: float,
        keys: int = 0,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(environment, say)
        self._synthetic_keys = SyntheticKeys(self._pipeline, self._recording, keys) if keys else None
        if self._synthetic_keys is not None:
            self._recording = self._synthetic_keys.events
        self._rounds = rounds
        self._rate = rate
        self._arrivals = Arrivals(self._clock)
        self._joining: list[float] = []
        self._leaving: list[float] = []
        self._calm: list[float] = []
        self._join_seconds: list[float] = []
        self._leave_seconds: list[float] = []
        self._exits: list[int] = []
        self._aborted = 0

    def run(self) -> RebalanceReport:
        """Run the drill. Raises SurgetankError if a worker does not start, or exits by itself."""
        provisioning.apply(self._kafka, self._pipeline)
        self._offsets = GroupOffsets(self._kafka, self._pipeline.group, self._pipeline.sources)
        if self._synthetic_keys is not None:
            self._say(
                f"{self._synthetic_keys.fill(self._kafka):,} records fill the tables with "
                f"{self._synthetic_keys.keys:,} keys"
            )
        replay = Replay(self._kafka, self._recording, at_rate(self._rate), encoder(), count=10**9)
        listener = TopicListener(
            self._kafka, self._pipeline.scores.topic, self._arrivals.add, self._clock, WAIT_SECONDS
        )
        self._until = listener.until
        with self._fleet, listener:
            with replay.in_background() as sending:
                started = self._clock.monotonic()
                first = self._fleet.start()
                first_score = self._until(lambda: self._arrivals.any, "a first score", first, started)
                self._say(f"first score {first_score:.1f} s after the start of the first worker")
                partitions = self._pipeline.events.partitions
                self._until(lambda: len(self._owned(first)) == partitions, "all partitions", first)
                self._until(self._caught_up, "no backlog", first)
                for number in range(self._rounds):
                    self._round(number + 1, first)
                self._aborted += _aborts(first)
            sending.result()
            audited = audit(self._kafka, self._pipeline, wait=WAIT_SECONDS)
            self._exits.append(self._fleet.stop(first))
        pauses = _percentiles(self._joining + self._leaving)
        return RebalanceReport(
            protocol=self._kafka.group_protocol,
            rounds=self._rounds,
            rate=self._rate,
            first_score_seconds=round(first_score, 2),
            join_seconds=self._join_seconds,
            leave_seconds=self._leave_seconds,
            joining=_percentiles(self._joining),
            leaving=_percentiles(self._leaving),
            pauses=pauses,
            calm=_percentiles(self._calm),
            aborted=self._aborted,
            exits=self._exits,
            audit=audited.as_dict(),
            goals={
                f"p99 of pauses <= {GOAL_PAUSE_MS:.0f} ms": pauses.p99_ms <= GOAL_PAUSE_MS,
                f"first score <= {GOAL_FIRST_SECONDS:.0f} s": first_score <= GOAL_FIRST_SECONDS,
                f"joining <= two heartbeats + {GOAL_JOIN_SECONDS:.0f} s": max(self._join_seconds, default=0.0)
                <= GOAL_JOIN_SECONDS + 2 * HEARTBEAT_SECONDS,
            },
        )

    def _round(self, number: int, first: Member) -> None:
        owned_before = self._owned(first)
        calm_from = self._clock.monotonic()
        time.sleep(CALM_SECONDS)
        self._calm += self._gaps(owned_before, calm_from, self._clock.monotonic())

        started = self._clock.monotonic()
        other = self._fleet.start()
        join_seconds = self._until(
            lambda: other.total("surgetank_events_scored_total") > 0,
            "a score of the worker that joined",
            other,
            started,
        )
        stayed = owned_before & self._owned(first)
        time.sleep(CALM_SECONDS)
        joining = self._gaps(stayed, started, self._clock.monotonic())

        stayed = self._owned(first)
        self._aborted += _aborts(other)
        started = self._clock.monotonic()
        self._exits.append(self._fleet.stop(other))
        self._until(lambda: self._owned(first) == owned_before, "its partitions back", first, started)
        leave_seconds = self._clock.monotonic() - started
        self._until(self._caught_up, "no backlog", first)
        time.sleep(CALM_SECONDS)
        leaving = self._gaps(stayed, started, self._clock.monotonic())

        self._join_seconds.append(round(join_seconds, 2))
        self._leave_seconds.append(round(leave_seconds, 2))
        self._joining += joining
        self._leaving += leaving
        self._say(
            f"{number}/{self._rounds}  joined in {join_seconds:.1f} s, longest pause of {len(joining)} partitions that "
            "stayed "
            f"{1000 * max(joining, default=0):.0f} ms; left in {leave_seconds:.1f} s, "
            f"{1000 * max(leaving, default=0):.0f} ms of {len(leaving)}"
        )

    def _gaps(self, partitions: set[int], start: float, stop: float) -> list[float]:
        return [self._arrivals.longest_gap(partition, start, stop) for partition in sorted(partitions)]

    def _owned(self, worker: Member) -> set[int]:
        return {
            each.source.partition
            for each in self._offsets.now()
            if each.owner is not None and each.owner.endswith(worker.name)
        }

    def _caught_up(self) -> bool:
        return sum(each.lag for each in self._offsets.now()) < self._rate


def _percentiles(seconds: list[float]) -> Percentiles:
    return Percentiles.of(1000 * np.array(seconds))


def _aborts(worker: Member) -> int:
    return round(sum(worker.total("surgetank_transactions_total", outcome=how) for how in ("aborted", "fenced")))
