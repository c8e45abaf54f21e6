"""Monitors one consumer group: its offsets and status at each poll, and its lag over the last minutes."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from surgetank.clock import Clock
from surgetank.kafka.offset_collector import CollectedOffsets, OffsetQuery
from surgetank.lag.lag_evaluator import LagEvaluator, PartitionOffsets, PartitionStatus
from surgetank.lag.partition_offsets import partition_offsets
from surgetank.lag.rules import LagStatus, worst
from surgetank.records import ModelVersion, TopicPartition

HISTORY_SECONDS = 180.0
POINTS_MAX = 400


@dataclass(frozen=True, slots=True)
class GroupSnapshot:
    """One poll. ``at``: seconds since the epoch; ``lag_history``: points (seconds ago, records), oldest first.

    ``models``: the model that the owner of a partition serves, as its last commit says; absent if that is not known.
    """

    at: float
    group: str
    members: bool
    partitions: tuple[PartitionStatus, ...]
    owners: dict[TopicPartition, str]
    lag_history: dict[TopicPartition, list[tuple[float, int]]]
    models: dict[TopicPartition, ModelVersion]

    @property
    def lag(self) -> int:
        """Return the lag in records, summed over the partitions."""
        return sum(partition.lag for partition in self.partitions)

    @property
    def seconds(self) -> float | None:
        """Return the longest lag in seconds; None if that of any partition is unknown."""
        known = [partition.seconds.seconds for partition in self.partitions if partition.seconds is not None]
        return max(known, default=None) if len(known) == len(self.partitions) else None

    @property
    def status(self) -> LagStatus | None:
        """Return the status of the worst partition; None if it is not known yet whether all are OK."""
        found = worst(partition.status for partition in self.partitions)
        certain = found is not LagStatus.OK or all(each.certain for each in self.partitions)
        return found if certain else None

    @property
    def held_back(self) -> int:
        """Return the number of records behind open transactions, which are not part of the lag."""
        return sum(each.held_back.records for each in self.partitions if each.held_back is not None)


class GroupMonitor:
    """Polls one group on request. ``ask`` queries Kafka; its errors are not caught."""

    def __init__(self, query: OffsetQuery, ask: Callable[[OffsetQuery], CollectedOffsets], clock: Clock) -> None:
        if query.group is None:
            raise ValueError("the query must name a group")
        self._group = query.group
        self._query = query
        self._ask = ask
        self._clock = clock
        self._evaluator = LagEvaluator()
        self._lag_history: dict[TopicPartition, deque[tuple[float, int]]] = {}

    def poll(self) -> GroupSnapshot:
        """Query Kafka once and evaluate the group. Raises what ``ask`` raises."""
        collected = self._ask(self._query)
        now, wall = self._clock.monotonic() - collected.old_seconds, self._clock.now() - collected.old_seconds
        group = collected.groups[self._group]
        self._evaluator.add_end_offsets(
            now, {source: end for source, (_, end) in collected.bounds.items()}, collected.high_watermarks
        )
        offsets: list[PartitionOffsets] = sorted(
            partition_offsets(group, collected, now - wall), key=lambda each: each.source
        )
        partitions = tuple(self._evaluator.evaluate(now, self._group, offsets, group.members))
        self._evaluator.expire(now)
        for partition in partitions:
            points = self._lag_history.setdefault(partition.offsets.source, deque(maxlen=POINTS_MAX))
            points.append((now, partition.lag))
            while points[0][0] < now - HISTORY_SECONDS:
                points.popleft()
        history = {source: [(now - at, lag) for at, lag in points] for source, points in self._lag_history.items()}
        return GroupSnapshot(wall, self._group, group.members, partitions, group.owners, history, group.models)
