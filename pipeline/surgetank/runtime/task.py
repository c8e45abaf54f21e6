"""A task: its state, its epoch and the offsets of its partitions. Pure."""

from dataclasses import dataclass, field

from surgetank.records import TaskEpoch, TaskId, TopicPartition
from surgetank.runtime.offset_tracker import OffsetTracker
from surgetank.runtime.task_events import RecordSpan
from surgetank.runtime.task_state import TaskEvent, TaskState, next_state


@dataclass(slots=True)
class Task:
    """An owned task. The epoch increases whenever earlier records and answers become stale.

    Times are monotonic seconds: ``since`` the last change of state, ``moved_at`` the last commit, opening or progress
    of a restore, ``close_by`` the deadline for committing the work of a revoked task.
    """

    id: TaskId
    sources: tuple[TopicPartition, ...]
    epoch: int
    since: float
    state: TaskState = TaskState.OPENING
    progress: dict[TopicPartition, OffsetTracker] = field(default_factory=dict)
    moved_at: float = 0.0
    close_by: float = 0.0

    @property
    def key(self) -> TaskEpoch:
        """The task in its current epoch."""
        return TaskEpoch(self.id, self.epoch)

    def happens(self, event: TaskEvent, now: float) -> None:
        """Move to the next state. Raises LookupError if the event is not allowed in the current state."""
        before, self.state = self.state, next_state(self.state, event)
        if self.state is not before:
            self.since = now
        if self.state in {TaskState.OPENING, TaskState.CLOSED}:
            self.epoch += 1
            self.progress = {}

    def open(self, offsets: dict[TopicPartition, int], now: float) -> None:
        """Start running from these offsets, one for each partition."""
        self.progress = {source: OffsetTracker(offsets[source]) for source in self.sources}
        self.happens(TaskEvent.OPENED, now)
        self.moved_at = now

    def hand_out(self, spans: tuple[RecordSpan, ...]) -> tuple[tuple[TopicPartition, int], ...]:
        """Mark records as in flight; return an in-flight id for each span.

        Raises ValueError if they do not follow the records that are in flight or committed.
        """
        return tuple(
            (span.source, self.progress[span.source].hand_out(span.first_offset, span.end, span.rows, span.arrived_ms))
            for span in spans
        )

    @property
    def committable(self) -> dict[TopicPartition, int]:
        """The offsets to commit, for the partitions that have new ones.

        Raises ValueError if outputs were produced for records that these offsets do not cover.
        """
        if not all(progress.whole for progress in self.progress.values()):
            raise ValueError(f"outputs of task {self.id} were produced out of order; this is a bug")
        return {source: at for source, progress in self.progress.items() if (at := progress.committable) is not None}

    @property
    def committed(self) -> dict[TopicPartition, int]:
        """The committed offset of each partition; empty until the task runs."""
        return {source: progress.committed for source, progress in self.progress.items()}

    @property
    def in_flight(self) -> int:
        """The number of records in flight (not committed)."""
        return sum(progress.in_flight for progress in self.progress.values())

    @property
    def outstanding(self) -> bool:
        """Whether any range is in flight, including ranges without records."""
        return any(progress.outstanding for progress in self.progress.values())
