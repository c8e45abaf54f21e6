"""Detectors of counts over time: arrival rate, latency, share of failed events, share of missing inputs.

Each evaluates the last 20 s as a variance-stabilized value: asinh(sqrt(k c)) for a count c with variance c + k c^2
(Anscombe 1948), asin(sqrt(p)) for a share p, and the logarithm of a latency.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from surgetank.anomalies.alarm import Finding
from surgetank.anomalies.baseline import BaselineTracker
from surgetank.records import TopicPartition

Float64s = npt.NDArray[np.float64]

WINDOW_SECONDS = 20.0
OVERDISPERSION = 0.01  # k: assumes at least Poisson noise and a 10 % variation of the rate
RATE_FACTOR = 1.8  # smaller changes of a rate are no anomaly
REASSIGNED_SECONDS = 10.0  # a new set of partitions is accepted after this time; a task is reopened sooner
LATENCY_FACTOR = 2.0
LATENCY_SECONDS = 0.1  # lower latencies are no anomaly
LATENCY_EVENTS = 20
LATENCY_SHARE = 0.95
SHARE_EVENTS = 50
SHARE_STEP = 0.05  # a larger change of a share is always an anomaly; for less see ``Share``


class RateWindow:
    """Sums of the counts of the last 20 s, float64 [k]. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, Float64s]] = deque()
        self._sums: Float64s = np.zeros(0)
        self._added_at = -math.inf

    def add(self, now: float, counts: Sequence[float] | Float64s) -> Float64s:
        """Add counts, float64 [k]; return the sums, float64 [k]."""
        new = np.asarray(counts, dtype=np.float64)
        self._sums = self._sums + new if self._counts else new
        self._counts.append((now, new))
        while self._counts[0][0] <= now - WINDOW_SECONDS:
            self._sums = self._sums - self._counts.popleft()[1]
        return self._sums

    def is_due(self, now: float) -> bool:
        """Return whether the window has been replaced since the last True, so that its values are independent."""
        if now - self._added_at < WINDOW_SECONDS:
            return False
        self._added_at = now
        return True

    def clear(self, now: float) -> None:
        """Remove all counts."""
        self._counts.clear()
        self._added_at = now


class CountDetector:
    """Base of the detectors: a window of counts and the baseline of one value. ``tests`` as in ``BaselineTracker``."""

    def __init__(self, tests: int = 1) -> None:
        self._tracker = BaselineTracker(tests)
        self._window = RateWindow()

    def reset(self) -> None:
        """Forget the baseline."""
        self._tracker.reset()

    def _add_when_due(self, now: float, wall: float, value: float, stored: float | None = None) -> None:
        """Add a value to the baseline if it is independent of the last one that was added."""
        if self._window.is_due(now):
            self._tracker.add(wall, value, stored)


class ArrivalRate(CountDetector):
    """Records per second that producers append to a partition, averaged over the owned partitions."""

    signal = "arrival_rate"

    def __init__(self) -> None:
        super().__init__()
        self._ends: dict[TopicPartition, int] = {}
        self._at = 0.0
        self._changed_since: float | None = None

    def evaluate(self, now: float, wall: float, ends: Mapping[TopicPartition, int]) -> Finding | None:
        """Evaluate the log end offsets of the owned partitions; ``wall`` is seconds since the epoch."""
        if not ends or not self._comparable(now, ends):
            return None
        arrived = sum(ends.values()) - sum(self._ends.values())
        exposure = (now - self._at) * len(ends)
        self._ends, self._at = dict(ends), now
        count, exposure = self._window.add(now, (arrived, exposure)).tolist()
        if exposure < len(ends) * WINDOW_SECONDS / 2:
            return None
        rate = count / exposure
        partition_seconds = WINDOW_SECONDS * len(ends)
        finding = self._assess(wall, rate, partition_seconds)
        # The rate per partition is stored, because it stays comparable after a rebalance.
        self._add_when_due(now, wall, _stabilize(rate * partition_seconds), rate)
        return finding

    def _assess(self, wall: float, rate: float, partition_seconds: float) -> Finding | None:
        """Return the finding for a rate per partition; ``partition_seconds`` is 20 s times the partitions."""
        if (baseline := self._tracker.baseline) is None:
            return None
        low, high = _destabilize(baseline.low), _destabilize(baseline.high)
        band = self._tracker.band(
            wall,
            noise=math.sqrt(OVERDISPERSION) / 2,
            low=_stabilize(low / RATE_FACTOR),
            high=_stabilize(high * RATE_FACTOR),
            from_stored=lambda stored: _stabilize(stored * partition_seconds),
        )
        if band is None:
            return None
        rates = [count / WINDOW_SECONDS for count in (rate * partition_seconds, low, high)]
        description = "{:,.4g} events/s arrive; the hour before it was {:,.4g} to {:,.4g}".format(*rates)
        return Finding(self.signal, _stabilize(rate * partition_seconds), band, description)

    def _comparable(self, now: float, ends: Mapping[TopicPartition, int]) -> bool:
        """Return whether the partitions are those of the last call; accept others after REASSIGNED_SECONDS."""
        same = ends.keys() == self._ends.keys() and all(ends[source] >= end for source, end in self._ends.items())
        if same:
            self._changed_since = None
            return True
        since = self._changed_since = now if self._changed_since is None else self._changed_since
        if now - since >= REASSIGNED_SECONDS or not self._ends:
            if self._ends:
                self._tracker.reset()
            self._window.clear(now)
            self._ends, self._at, self._changed_since = dict(ends), now, None
        return False


class Latency(CountDetector):
    """The 95th percentile of the time from the arrival of an event to the commit of its score.

    ``bounds`` are the ascending upper bounds of the latency buckets, in seconds; one more bucket is unbounded.
    """

    signal = "latency"

    def __init__(self, bounds: Sequence[float] | Float64s) -> None:
        super().__init__()
        self._bounds = np.concatenate(([0.0], np.asarray(bounds, dtype=np.float64)))

    def evaluate(self, now: float, wall: float, counts: Float64s) -> Finding | None:
        """Evaluate the events per bucket since the last call, float64 [bounds + 1]."""
        counts = self._window.add(now, counts)
        events = float(counts.sum())
        if events < LATENCY_EVENTS:
            return None
        seconds = quantile(self._bounds, counts, LATENCY_SHARE)
        value = math.log(max(seconds, float(self._bounds[1])))
        finding = None
        if (baseline := self._tracker.baseline) is not None:
            high = max(math.log(LATENCY_SECONDS), baseline.high + math.log(LATENCY_FACTOR))
            band = self._tracker.band(wall, noise=0.1 + 1 / math.sqrt(events), low=-math.inf, high=high)
            description = (
                f"95 of 100 events took up to {seconds * 1000:,.0f} ms; the hour before it was "
                f"{1000 * math.exp(baseline.low):,.0f} to {1000 * math.exp(baseline.high):,.0f}"
            )
            finding = Finding(self.signal, value, band, description) if band else None
        self._add_when_due(now, wall, value)
        return finding


class Share(CountDetector):
    """A share of events: of failed events, or of events that lack an input.

    ``condition``: verb phrase for descriptions. ``step``: smallest change, as a share of all events, for which a
    doubled or halved share is an anomaly. ``alarm_on_decrease``: whether a decrease is an anomaly too. ``tests``:
    number of shares that are evaluated together.
    """

    def __init__(self, signal: str, condition: str, *, step: float, alarm_on_decrease: bool, tests: int = 1) -> None:
        super().__init__(tests)
        self.signal = signal
        self._condition = condition
        self._step = step
        self._alarm_on_decrease = alarm_on_decrease

    def evaluate(self, now: float, wall: float, events: float, matching: float) -> Finding | None:
        """Evaluate the number of events since the last call and the number of matching events among them."""
        events, matching = self._window.add(now, (events, matching)).tolist()
        if events < SHARE_EVENTS:
            return None
        matching = min(matching, events)  # the two counters are not read at the same instant
        value, noise = _arcsine((matching + 0.375) / (events + 0.75)), 0.5 / math.sqrt(events + 0.5)
        finding = None
        if (baseline := self._tracker.baseline) is not None:
            lowest, highest = math.sin(baseline.low) ** 2, math.sin(baseline.high) ** 2
            high = _arcsine(min(highest + SHARE_STEP, max(2 * highest, highest + self._step)))
            low = -math.inf
            if self._alarm_on_decrease:
                low = _arcsine(max(lowest - SHARE_STEP, min(lowest / 2, lowest - self._step)))
            band = self._tracker.band(wall, noise=noise, low=low, high=high)
            share = f"{matching / events:.2%} of {events:,.0f} events {self._condition}"
            description = f"{share}; the hour before it was up to {highest:.2%}"
            finding = Finding(self.signal, value, band, description) if band else None
        self._add_when_due(now, wall, value)
        return finding


def quantile(bounds: Float64s, counts: Float64s, share: float) -> float:
    """Return the quantile ``share`` of bucketed values by linear interpolation within the bucket. Pure.

    ``bounds`` starts with the lower bound of the first bucket; ``counts`` has the same length, and its last element is
    the unbounded bucket.
    """
    reached = np.cumsum(counts)
    wanted = share * reached[-1]
    bucket = int(np.searchsorted(reached, wanted))
    if bucket >= len(bounds) - 1:
        return float(bounds[-1])
    before = reached[bucket - 1] if bucket else 0.0
    inside = (wanted - before) / counts[bucket]
    return float(bounds[bucket] + inside * (bounds[bucket + 1] - bounds[bucket]))


def _stabilize(count: float) -> float:
    return math.asinh(math.sqrt(OVERDISPERSION * (max(0.0, count) + 0.375)))


def _destabilize(stabilized: float) -> float:
    return max(0.0, math.sinh(stabilized) ** 2 / OVERDISPERSION - 0.375)


def _arcsine(share: float) -> float:
    return math.asin(math.sqrt(min(1.0, max(0.0, share))))
