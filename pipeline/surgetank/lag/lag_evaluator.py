"""Evaluates the lag of many groups: one status per group and partition at each evaluation. Pure.

All groups share the end offset history of a partition. Groups and partitions that disappear are kept for a while, so
that a recreated topic or a returning group is compared with its earlier offsets.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from surgetank.lag.end_offset_history import STALL_SECONDS_MAX, EndOffsetHistory, LagWindow, Observation
from surgetank.lag.open_transactions import HeldBack, OpenTransactions
from surgetank.lag.rates import ConsumerRates, rates
from surgetank.lag.rules import LagStatus, status
from surgetank.lag.seconds import LagSeconds, lag_seconds
from surgetank.records import TopicPartition

EXPIRE_SECONDS = STALL_SECONDS_MAX


class PartitionOffsets(NamedTuple):
    """The offsets of a group on a partition. ``committed`` None: nothing was committed, the lag counts from ``start``.

    ``oldest_at`` is the timestamp of the oldest unprocessed record in seconds on the evaluator's clock, if it was read.
    ``only_markers``: a read found no record before the end, only transaction markers.
    """

    source: TopicPartition
    start: int
    end: int
    committed: int | None
    oldest_at: float | None = None
    only_markers: bool = False


class PartitionStatus(NamedTuple):
    """The evaluation of a group on a partition.

    ``seconds`` is None if the lag in seconds is unknown. ``certain``: a status OK is known, not only the absence of a
    reason for another one: there is no lag, or progress was seen. ``held_back`` are the records behind an open
    transaction, None if there are none.
    """

    offsets: PartitionOffsets
    lag: int
    seconds: LagSeconds | None
    status: LagStatus
    rates: ConsumerRates
    certain: bool
    held_back: HeldBack | None

    @property
    def known_status(self) -> LagStatus | None:
        """Return the status; None for an OK that is not certain, as that of a group without progress so far."""
        return None if self.status is LagStatus.OK and not self.certain else self.status


@dataclass(slots=True)
class LagEvaluator:
    """The histories of all groups and partitions. Times are seconds on one monotonic clock."""

    histories: dict[TopicPartition, EndOffsetHistory] = field(default_factory=dict)
    windows: dict[str, dict[TopicPartition, LagWindow]] = field(default_factory=dict)
    _updated_at: dict[TopicPartition, float] = field(default_factory=dict)
    _open: OpenTransactions = field(default_factory=OpenTransactions)
    _held_back: dict[TopicPartition, HeldBack] = field(default_factory=dict)

    def add_end_offsets(
        self, now: float, ends: Mapping[TopicPartition, int], high_watermarks: Mapping[TopicPartition, int]
    ) -> None:
        """Add the current end offsets and high watermarks. Call it once before the groups are evaluated."""
        self._held_back = self._open.evaluate(now, ends, high_watermarks)
        for source, end in ends.items():
            self.histories.setdefault(source, EndOffsetHistory()).add(now, end)
            self._updated_at[source] = now

    def unchanged(self, ends: Mapping[TopicPartition, int]) -> list[TopicPartition]:
        """Return the partitions whose end offset is that of the last evaluation: no other can be held back."""
        return self._open.unchanged(ends)

    def evaluate(
        self, now: float, group: str, partitions: Iterable[PartitionOffsets], members: bool | None
    ) -> list[PartitionStatus]:
        """Add the current offsets of a group and return the status of each partition; ``members`` None: unknown."""
        windows = self.windows.setdefault(group, {})
        return [
            self._evaluate_partition(now, windows.setdefault(each.source, LagWindow()), each, members)
            for each in partitions
        ]

    def expire(self, now: float) -> None:
        """Drop groups and partitions that were not updated for EXPIRE_SECONDS, and points that no group needs."""
        oldest_kept = now - EXPIRE_SECONDS
        positions: dict[TopicPartition, int] = {}  # the lowest of all groups
        for group in list(self.windows):
            kept = {s: w for s, w in self.windows[group].items() if w.observations and w.last.at >= oldest_kept}
            for source, window in kept.items():
                positions[source] = min(window.last.processed, positions.get(source, window.last.processed))
            if kept:
                self.windows[group] = kept
            else:
                del self.windows[group]
        for source in [source for source, at in self._updated_at.items() if at < oldest_kept]:
            del self.histories[source], self._updated_at[source]
        for source, position in positions.items():
            if source in self.histories:
                self.histories[source].trim_before(position)

    def _evaluate_partition(
        self, now: float, window: LagWindow, offsets: PartitionOffsets, members: bool | None
    ) -> PartitionStatus:
        start = offsets.end if offsets.only_markers else offsets.start
        committed = offsets.committed
        if committed is None:  # the log start at the first evaluation: records deleted by retention are no progress
            committed = window.last.processed if window.observations else offsets.start
        window.add(Observation(now, offsets.end, committed, start))
        lag = max(0, offsets.end - max(committed, start))
        history = self.histories.get(offsets.source) or EndOffsetHistory()
        seconds = lag_seconds(now, max(committed, start), offsets.end, history, offsets.oldest_at)
        return PartitionStatus(
            offsets,
            lag,
            seconds,
            status(window, now, members),
            rates(window),
            certain=not lag or window.progressed,
            held_back=self._held_back.get(offsets.source),
        )
