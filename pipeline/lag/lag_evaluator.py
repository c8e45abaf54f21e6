"""Keeps the history of many groups and judges them: one verdict per group and partition and look. Pure.

Partitions share their trail, whichever groups read them. What is not seen any more is forgotten after a while, not at
once: a topic that is made anew, or a group that comes back, is compared with what it was.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.lag.end_offset_history import SPAN_SECONDS_MAX, EndOffsetHistory, LagWindow, Observation
from pipeline.lag.rates import ConsumerRates, rates
from pipeline.lag.rules import LagStatus, status
from pipeline.lag.seconds import LagSeconds, lag_seconds
from pipeline.records import TopicPartition

FORGET_SECONDS = SPAN_SECONDS_MAX


class PartitionOffsets(NamedTuple):
    """Where a group stands on a partition. ``committed`` None: it committed nothing, all from ``start`` on is to do.

    ``head_at`` is the time of the first record that is not done, if that was read, on the book's clock. ``nothing``: it
    was looked, and no record lies before the end, only markers of transactions.
    """

    source: TopicPartition
    start: int
    end: int
    committed: int | None
    head_at: float | None = None
    nothing: bool = False


class PartitionStatus(NamedTuple):
    """What is known of a group on a partition. ``seconds`` is None if the lag in seconds cannot be known."""

    standing: PartitionOffsets
    lag: int
    seconds: LagSeconds | None
    status: LagStatus
    rates: ConsumerRates


@dataclass(slots=True)
class LagEvaluator:
    """All histories. Times are seconds on one monotonic clock."""

    trails: dict[TopicPartition, EndOffsetHistory] = field(default_factory=dict)
    windows: dict[str, dict[TopicPartition, LagWindow]] = field(default_factory=dict)
    _trail_seen: dict[TopicPartition, float] = field(default_factory=dict)

    def see_ends(self, now: float, ends: Mapping[TopicPartition, int]) -> None:
        """Note where logs end now. Once per look, before the groups are judged."""
        for source, end in ends.items():
            self.trails.setdefault(source, EndOffsetHistory()).add(now, end)
            self._trail_seen[source] = now

    def judge(
        self, now: float, group: str, standings: Iterable[PartitionOffsets], members: bool | None
    ) -> list[PartitionStatus]:
        """Note where a group stands now, and return what that means."""
        windows = self.windows.setdefault(group, {})
        return [self._verdict(now, windows.setdefault(each.source, LagWindow()), each, members) for each in standings]

    def forget(self, now: float) -> None:
        """Drop what was not seen for long, and the points of trails that nobody's lag needs."""
        old = now - FORGET_SECONDS
        least: dict[TopicPartition, int] = {}
        for group in list(self.windows):
            kept = {source: w for source, w in self.windows[group].items() if w.observations and w.last.at >= old}
            for source, window in kept.items():
                done = window.last.done
                if done < least.get(source, done + 1):
                    least[source] = done
            if kept:
                self.windows[group] = kept
            else:
                del self.windows[group]
        for source in [source for source, seen in self._trail_seen.items() if seen < old]:
            del self.trails[source], self._trail_seen[source]
        for source, done in least.items():
            if source in self.trails:
                self.trails[source].forget_before(done)

    def _verdict(
        self, now: float, window: LagWindow, standing: PartitionOffsets, members: bool | None
    ) -> PartitionStatus:
        start = standing.end if standing.nothing else standing.start
        committed = standing.committed
        if committed is None:  # where it stood at the first look: what retention takes is no work done
            committed = window.last.done if window.observations else standing.start
        window.add(Observation(now, standing.end, committed, start))
        lag = max(0, standing.end - max(committed, start))
        trail = self.trails.get(standing.source) or EndOffsetHistory()
        seconds = lag_seconds(now, max(committed, start), standing.end, trail, standing.head_at)
        return PartitionStatus(standing, lag, seconds, status(window, now, members), rates(window))
