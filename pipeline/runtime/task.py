"""A task: its state, its epoch and the progress of its partitions. Pure."""

from dataclasses import dataclass, field

from pipeline.records import TaskEpoch, TaskId, TopicPartition
from pipeline.runtime.offset_tracker import OffsetTracker
from pipeline.runtime.task_events import RecordSpan
from pipeline.runtime.task_state import TaskEvent, TaskState, next_state


@dataclass(slots=True)
class Task:
    """An owned task. The epoch rises whenever what was fetched or answered before becomes stale.

    Times are monotonic seconds: ``since`` of the last change of state, ``moved_at`` of the last commit, opening or
    progress of a restore, ``close_by`` of the deadline for committing its work while it is revoked.
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
        """The task in its present epoch."""
        return TaskEpoch(self.id, self.epoch)

    def happens(self, event: TaskEvent, now: float) -> None:
        """Move to the state that follows. Raises LookupError if the event cannot happen in the present state."""
        before, self.state = self.state, next_state(self.state, event)
        if self.state is not before:
            self.since = now
        if self.state in {TaskState.OPENING, TaskState.CLOSED}:
            self.epoch += 1
            self.progress = {}

    def open(self, offsets: dict[TopicPartition, int], now: float) -> None:
        """Run from these offsets, one for each partition."""
        self.progress = {source: OffsetTracker(offsets[source]) for source in self.sources}
        self.happens(TaskEvent.OPENED, now)
        self.moved_at = now

    def hand_out(self, spans: tuple[RecordSpan, ...]) -> tuple[tuple[TopicPartition, int], ...]:
        """Note that records were handed out; return an in-flight id for each span.

        Raises ValueError if they do not follow on those handed out before.
        """
        return tuple(
            (span.source, self.progress[span.source].hand_out(span.first_offset, span.end, span.rows, span.arrived_ms))
            for span in spans
        )

    @property
    def committable(self) -> dict[TopicPartition, int]:
        """The offsets to commit, for the partitions that have new ones.

        Raises ValueError if outputs were produced of records that these offsets leave out.
        """
        if not all(progress.whole for progress in self.progress.values()):
            raise ValueError(f"outputs of task {self.id} were produced out of order; this is a bug")
        return {source: at for source, progress in self.progress.items() if (at := progress.committable) is not None}

    @property
    def committed(self) -> dict[TopicPartition, int]:
        """The committed offset of each partition, once the task runs."""
        return {source: progress.committed for source, progress in self.progress.items()}

    @property
    def in_flight(self) -> int:
        """How many records were handed out and are not committed."""
        return sum(progress.in_flight for progress in self.progress.values())

    @property
    def outstanding(self) -> bool:
        """Whether anything was handed out that is not committed."""
        return any(progress.outstanding for progress in self.progress.values())
