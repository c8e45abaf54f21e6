"""Detectors of what is counted over time: arrivals, latency, and shares of bad events and of missing inputs.

Each looks every second or two at the last 20 s, as a value whose noise does not depend on its size: asinh(sqrt(k c))
for a count c whose variance is c + k c^2 (Anscombe 1948), asin(sqrt(p)) for a share p, the logarithm of a latency.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.anomalies.alarm import Finding
from pipeline.anomalies.level import Level
from pipeline.records import TopicPartition

Float64s = npt.NDArray[np.float64]

SPAN_SECONDS = 20.0
LIVELY = 0.01  # k: traffic is at least as lively as chance and a wandering of 10 % make it
FACTOR = 1.8  # a rate that changes by less is no anomaly, however steady it was
MOVED_SECONDS = 10.0  # another set of partitions counts when it has stayed so long: one that is reopened is back sooner
LATENCY_FACTOR = 2.0
LATENCY_SECONDS = 0.1  # what is faster is no anomaly
LATENCY_EVENTS = 20
LATENCY_SHARE = 0.95
SHARE_EVENTS = 50
SHARE_STEP = 0.05  # a share that moves by so much matters; less does if it doubles, by as much as the signal says


class RateWindow:
    """Sums of what the looks of the last 20 s counted, float64 [k]. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, Float64s]] = deque()
        self._sums: Float64s = np.zeros(0)
        self._noted = -math.inf

    def add(self, now: float, counted: Sequence[float] | Float64s) -> Float64s:
        """Add what a look counted; return the sums."""
        fresh = np.asarray(counted, dtype=np.float64)
        self._sums = self._sums + fresh if self._looks else fresh
        self._looks.append((now, fresh))
        while self._looks[0][0] <= now - SPAN_SECONDS:
            self._sums = self._sums - self._looks.popleft()[1]
        return self._sums

    def due(self, now: float) -> bool:
        """Whether the window holds nothing any more of what was noted last; if so, it is noted now."""
        if now - self._noted < SPAN_SECONDS:
            return False
        self._noted = now
        return True

    def clear(self, now: float) -> None:
        """Begin anew."""
        self._looks.clear()
        self._noted = now


class ArrivalRate:
    """Records per second that producers append to a partition, on average over the partitions that are owned."""

    signal = "arrival_rate"

    def __init__(self) -> None:
        self._level = Level()
        self._window = RateWindow()
        self._ends: dict[TopicPartition, int] = {}
        self._at = 0.0
        self._other_since: float | None = None

    def look(self, now: float, wall: float, ends: Mapping[TopicPartition, int]) -> Finding | None:
        """Take the ends of the owned partitions at a time; ``wall`` is seconds since the epoch."""
        if not ends or not self._comparable(now, ends):
            return None
        arrived = sum(ends.values()) - sum(self._ends.values())
        exposure = (now - self._at) * len(ends)
        self._ends, self._at = dict(ends), now
        count, exposure = self._window.add(now, (arrived, exposure)).tolist()
        if exposure < len(ends) * SPAN_SECONDS / 2:
            return None
        rate = count / exposure
        span = SPAN_SECONDS * len(ends)
        finding = self._judge(wall, rate, span)
        if self._window.due(now):
            self._level.note(wall, _steady(rate * span), rate)  # per partition, it can be compared after a rebalance
        return finding

    def forget(self) -> None:
        """Learn anew what is usual."""
        self._level.forget()

    def _judge(self, wall: float, rate: float, span: float) -> Finding | None:
        """Judge a rate per partition; ``span`` is 20 s times the partitions."""
        if (usual := self._level.usual) is None:
            return None
        low, high = _count(usual.low), _count(usual.high)
        band = self._level.band(
            wall,
            noise=math.sqrt(LIVELY) / 2,
            low=_steady(low / FACTOR),
            high=_steady(high * FACTOR),
            recall=lambda remembered: _steady(remembered * span),
        )
        if band is None:
            return None
        rates = [count / SPAN_SECONDS for count in (rate * span, low, high)]
        words = "{:,.4g} events/s arrive; the hour before it was {:,.4g} to {:,.4g}".format(*rates)
        return Finding(self.signal, _steady(rate * span), band, words)

    def _comparable(self, now: float, ends: Mapping[TopicPartition, int]) -> bool:
        """Whether these are the ends that were looked at before; if others have come to stay, begin anew."""
        same = ends.keys() == self._ends.keys() and all(ends[source] >= end for source, end in self._ends.items())
        if same:
            self._other_since = None
            return True
        since = self._other_since = now if self._other_since is None else self._other_since
        if now - since >= MOVED_SECONDS or not self._ends:
            if self._ends:
                self._level.forget()
            self._window.clear(now)
            self._ends, self._at, self._other_since = dict(ends), now, None
        return False


class Latency:
    """The time that 95 of 100 events stay below, from their arrival to the commit of their score.

    ``bounds`` are the upper bounds of the buckets that looks count in, rising; one more bucket has what is above.
    """

    signal = "latency"

    def __init__(self, bounds: Sequence[float] | Float64s) -> None:
        self._bounds = np.concatenate(([0.0], np.asarray(bounds, dtype=np.float64)))
        self._level = Level()
        self._window = RateWindow()

    def look(self, now: float, wall: float, counts: Float64s) -> Finding | None:
        """Take the events per bucket since the last look, float64 [bounds + 1]."""
        counts = self._window.add(now, counts)
        events = float(counts.sum())
        if events < LATENCY_EVENTS:
            return None
        seconds = quantile(self._bounds, counts, LATENCY_SHARE)
        value = math.log(max(seconds, float(self._bounds[1])))
        finding = None
        if (usual := self._level.usual) is not None:
            high = max(math.log(LATENCY_SECONDS), usual.high + math.log(LATENCY_FACTOR))
            band = self._level.band(wall, noise=0.1 + 1 / math.sqrt(events), low=-math.inf, high=high)
            words = (
                f"95 of 100 events took up to {seconds * 1000:,.0f} ms; the hour before it was "
                f"{1000 * math.exp(usual.low):,.0f} to {1000 * math.exp(usual.high):,.0f}"
            )
            finding = Finding(self.signal, value, band, words) if band else None
        if self._window.due(now):
            self._level.note(wall, value)
        return finding

    def forget(self) -> None:
        """Learn anew what is usual."""
        self._level.forget()


class Share:
    """A share of events: of those that could not be scored, or of those that lack an input.

    ``step``: how much more of all events at least makes a share that doubled, or halved, an anomaly. ``falls``: whether
    too few are one too. ``tests``: how many shares are looked at.
    """

    def __init__(self, signal: str, what: str, *, step: float, falls: bool, tests: int = 1) -> None:
        self.signal = signal
        self._what = what
        self._step = step
        self._falls = falls
        self._level = Level(tests)
        self._window = RateWindow()

    def look(self, now: float, wall: float, events: float, such: float) -> Finding | None:
        """Take how many events there were since the last look, and how many of them were such."""
        events, such = self._window.add(now, (events, such)).tolist()
        if events < SHARE_EVENTS:
            return None
        such = min(such, events)  # what was taken and what has died are not counted at the same moment
        value, noise = _arc((such + 0.375) / (events + 0.75)), 0.5 / math.sqrt(events + 0.5)
        finding = None
        if (usual := self._level.usual) is not None:
            least, most = math.sin(usual.low) ** 2, math.sin(usual.high) ** 2
            high = _arc(min(most + SHARE_STEP, max(2 * most, most + self._step)))
            low = _arc(max(least - SHARE_STEP, min(least / 2, least - self._step))) if self._falls else -math.inf
            band = self._level.band(wall, noise=noise, low=low, high=high)
            words = f"{such / events:.2%} of {events:,.0f} events {self._what}; the hour before it was up to {most:.2%}"
            finding = Finding(self.signal, value, band, words) if band else None
        if self._window.due(now):
            self._level.note(wall, value)
        return finding

    def forget(self) -> None:
        """Learn anew what is usual."""
        self._level.forget()


def quantile(bounds: Float64s, counts: Float64s, share: float) -> float:
    """Return what so large a share of the counted values is below, on a straight line within a bucket. Pure.

    ``bounds`` begins with the lower end of the first bucket; ``counts`` has as many, the last one for what is above.
    """
    reached = np.cumsum(counts)
    wanted = share * reached[-1]
    bucket = int(np.searchsorted(reached, wanted))
    if bucket >= len(bounds) - 1:
        return float(bounds[-1])
    before = reached[bucket - 1] if bucket else 0.0
    inside = (wanted - before) / counts[bucket]
    return float(bounds[bucket] + inside * (bounds[bucket + 1] - bounds[bucket]))


def _steady(count: float) -> float:
    return math.asinh(math.sqrt(LIVELY * (max(0.0, count) + 0.375)))


def _count(steady: float) -> float:
    return max(0.0, math.sinh(steady) ** 2 / LIVELY - 0.375)


def _arc(share: float) -> float:
    return math.asin(math.sqrt(min(1.0, max(0.0, share))))
