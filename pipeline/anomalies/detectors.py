"""All detectors of one pipeline, and which of their signals are unusual now. Pure: what was seen and when goes in."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.anomalies.alarm import Alarm, AlarmChange, Finding
from pipeline.anomalies.drift import Drift
from pipeline.anomalies.rates import ArrivalRate, Latency, Share
from pipeline.records import TopicPartition

Float64s = npt.NDArray[np.float64]

MISSING = "missing:"
ERROR_STEP = 0.005
MISSING_STEP = 0.01


@dataclass(frozen=True, slots=True)
class BatchObservation:
    """What there was since the look before. ``now`` is monotonic seconds, ``wall`` seconds since the epoch.

    ``ends`` holds the log ends of the owned partitions, none where Kafka did not say. ``latencies`` counts events per
    bucket. ``missing`` counts, for each input, in how many of ``rows`` rows it was missing.
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
    """One for each signal. ``inputs`` names the model's inputs, ``latency_bounds`` the buckets of latencies."""

    def __init__(self, inputs: Sequence[str], latency_bounds: Sequence[float] | Float64s) -> None:
        self._arrivals = ArrivalRate()
        self._latency = Latency(latency_bounds)
        self._errors = Share("error_rate", "could not be scored", step=ERROR_STEP, falls=False)
        self._missing = [
            Share(f"{MISSING}{name}", f"lack {name}", step=MISSING_STEP, falls=True, tests=len(inputs))
            for name in inputs
        ]
        self._drift = Drift()
        self._forget: dict[str, Callable[[], None]] = {
            ArrivalRate.signal: self._arrivals.forget,
            Latency.signal: self._latency.forget,
            **{share.signal: share.forget for share in (self._errors, *self._missing)},
            **dict.fromkeys(Drift.signals, self._drift.forget),
        }
        self._alarms = {signal: Alarm(signal) for signal in self._forget}

    @property
    def scores(self) -> dict[str, float]:
        """How unusual each signal was when it could be judged last: above 1 is an anomaly."""
        return {signal: alarm.score for signal, alarm in self._alarms.items()}

    @property
    def active(self) -> dict[str, bool]:
        """Whether there is an anomaly now, for each signal."""
        return {signal: alarm.active for signal, alarm in self._alarms.items()}

    def look(self, seen: BatchObservation) -> list[AlarmChange]:
        """Judge every signal; return the anomalies that begin or end."""
        found = {finding.signal: finding for finding in self._findings(seen) if finding is not None}
        changes = [
            change for signal, alarm in self._alarms.items() if (change := alarm.look(seen.now, found.get(signal)))
        ]
        for change in changes:
            if change.settled:
                self._forget[change.signal]()
        return changes

    def _findings(self, seen: BatchObservation) -> Iterable[Finding | None]:
        now, wall = seen.now, seen.wall
        yield self._arrivals.look(now, wall, seen.ends)
        yield self._latency.look(now, wall, seen.latencies)
        yield self._errors.look(now, wall, seen.events, seen.dead)
        for share, missing in zip(self._missing, seen.missing.tolist(), strict=True):
            yield share.look(now, wall, seen.rows, missing)
        yield from self._drift.look(now, wall, seen.scores)
