"""Follows one group, look by look: what it stands at now, and its lag of the last minutes."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.clock import Clock
from pipeline.kafka.offset_collector import CollectedOffsets, OffsetQuery
from pipeline.lag.lag_evaluator import LagEvaluator, PartitionOffsets, PartitionStatus
from pipeline.lag.partition_offsets import partition_offsets
from pipeline.lag.rules import LagStatus, worst
from pipeline.records import TopicPartition

REMEMBER_SECONDS = 180.0
POINTS_MAX = 400


@dataclass(frozen=True, slots=True)
class GroupSnapshot:
    """What one look saw. ``at`` is seconds since the epoch; ``lags`` holds (seconds ago, records), oldest first."""

    at: float
    group: str
    members: bool
    verdicts: tuple[PartitionStatus, ...]
    owners: dict[TopicPartition, str]
    lags: dict[TopicPartition, list[tuple[float, int]]]

    @property
    def lag(self) -> int:
        """Records to be done in all partitions."""
        return sum(verdict.lag for verdict in self.verdicts)

    @property
    def seconds(self) -> float | None:
        """The longest lag in seconds that is known."""
        return max((verdict.seconds.seconds for verdict in self.verdicts if verdict.seconds is not None), default=None)

    @property
    def status(self) -> LagStatus:
        """The status of the worst partition."""
        return worst(verdict.status for verdict in self.verdicts)


class GroupMonitor:
    """Looks at one group whenever it is told to. ``ask`` asks Kafka; what it raises goes through."""

    def __init__(self, question: OffsetQuery, ask: Callable[[OffsetQuery], CollectedOffsets], clock: Clock) -> None:
        if question.group is None:
            raise ValueError("a question about one group names it")
        self._group = question.group
        self._question = question
        self._ask = ask
        self._clock = clock
        self._book = LagEvaluator()
        self._lags: dict[TopicPartition, deque[tuple[float, int]]] = {}

    def look(self) -> GroupSnapshot:
        """Ask once, judge, remember."""
        survey = self._ask(self._question)
        now, wall = self._clock.monotonic() - survey.old_seconds, self._clock.now() - survey.old_seconds
        answer = survey.groups[self._group]
        self._book.see_ends(now, {source: end for source, (_, end) in survey.bounds.items()})
        found: list[PartitionOffsets] = sorted(
            partition_offsets(answer, survey, now - wall), key=lambda each: each.source
        )
        verdicts = tuple(self._book.judge(now, self._group, found, answer.members))
        self._book.forget(now)
        for verdict in verdicts:
            lags = self._lags.setdefault(verdict.standing.source, deque(maxlen=POINTS_MAX))
            lags.append((now, verdict.lag))
            while lags[0][0] < now - REMEMBER_SECONDS:
                lags.popleft()
        past = {source: [(now - at, lag) for at, lag in lags] for source, lags in self._lags.items()}
        return GroupSnapshot(wall, self._group, answer.members, verdicts, answer.owners, past)
