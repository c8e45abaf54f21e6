"""All detectors of one pipeline and the state of their signals. Pure: observations and times are arguments."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgetank.anomalies.alarm import Alarm, AlarmChange, Finding
from surgetank.anomalies.count_detectors import ArrivalRate, Latency, Share
from surgetank.anomalies.drift import Drift
from surgetank.records import TopicPartition

Float64s = npt.NDArray[np.float64]

MISSING = "missing:"
ERROR_STEP = 0.005
MISSING_STEP = 0.01


@dataclass(frozen=True, slots=True)
class WorkerObservation:
    """Counts since the previous evaluation. ``now`` is monotonic seconds, ``wall`` seconds since the epoch.

    ``ends``: log end offsets of the owned partitions, empty if Kafka did not answer. ``latencies``: events per latency
    bucket. ``missing``: for each input, the number of the ``rows`` sampled rows that lack it.
    """

    now: float
    wall: float
    ends: Mapping[TopicPartition, int]
    events: float
    dead: float
    latencies: Float64s
    rows: int
    missing: Float64s
    scores: Float64s


class Detectors:
    """One detector per signal. ``inputs``: names of the model's inputs; ``latency_bounds``: bucket bounds, seconds."""

    def __init__(self, inputs: Sequence[str], latency_bounds: Sequence[float] | Float64s) -> None:
        self._arrivals = ArrivalRate()
        self._latency = Latency(latency_bounds)
        self._errors = Share("error_rate", "could not be scored", step=ERROR_STEP, alarm_on_decrease=False)
        self._missing = [
            Share(f"{MISSING}{name}", f"lack {name}", step=MISSING_STEP, alarm_on_decrease=True, tests=len(inputs))
            for name in inputs
        ]
        self._drift = Drift()
        self._reset: dict[str, Callable[[], None]] = {
            ArrivalRate.signal: self._arrivals.reset,
            Latency.signal: self._latency.reset,
            **{share.signal: share.reset for share in (self._errors, *self._missing)},
            **dict.fromkeys(Drift.signals, self._drift.reset),
        }
        self._alarms = {signal: Alarm(signal) for signal in self._reset}

    @property
    def scores(self) -> dict[str, float]:
        """Return the latest score of each signal: above 1 is an anomaly."""
        return {signal: alarm.score for signal, alarm in self._alarms.items()}

    @property
    def active(self) -> dict[str, bool]:
        """Return for each signal whether an anomaly is in progress."""
        return {signal: alarm.active for signal, alarm in self._alarms.items()}

    def evaluate(self, observation: WorkerObservation) -> list[AlarmChange]:
        """Evaluate every signal; return the anomalies that start or end."""
        found = {finding.signal: finding for finding in self._findings(observation) if finding is not None}
        changes = []
        for signal, alarm in self._alarms.items():
            if change := alarm.evaluate(observation.now, found.get(signal)):
                changes.append(change)
        for change in changes:
            if change.rebaselined:
                self._reset[change.signal]()
        return changes

    def _findings(self, observation: WorkerObservation) -> Iterable[Finding | None]:
        now, wall = observation.now, observation.wall
        yield self._arrivals.evaluate(now, wall, observation.ends)
        yield self._latency.evaluate(now, wall, observation.latencies)
        yield self._errors.evaluate(now, wall, observation.events, observation.dead)
        for share, missing in zip(self._missing, observation.missing.tolist(), strict=True):
            yield share.evaluate(now, wall, observation.rows, missing)
        yield from self._drift.evaluate(now, wall, observation.scores)
