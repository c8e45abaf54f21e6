"""A task: its state, its epoch and the progress of its source partitions. Touched only under the owner's lock."""

from dataclasses import dataclass, field

from pipeline.records import PartitionRecords, TaskId, TaskRecords, TopicPartition
from pipeline.runtime.offset_tracker import OffsetTracker
from pipeline.runtime.task_state import TaskEvent, TaskState, next_state


@dataclass(slots=True)
class Task:
    """The source partitions of one number. ``epoch`` rises whenever what was fetched before becomes worthless."""

    id: TaskId
    sources: tuple[TopicPartition, ...]
    epoch: int
    since: float  # monotonic seconds: when it came into this state
    state: TaskState = TaskState.OPENING
    progress: dict[TopicPartition, OffsetTracker] = field(default_factory=dict)
    moved_at: float = 0.0  # monotonic seconds: the last commit, or the opening

    def happens(self, event: TaskEvent, now: float) -> None:
        """Move to the state that follows. Raises LookupError for what cannot happen here."""
        self.state = next_state(self.state, event)
        self.since = now
        if self.state in {TaskState.OPENING, TaskState.CLOSED}:
            self.epoch += 1
            self.progress = {}

    def open(self, offsets: dict[TopicPartition, int], now: float) -> None:
        """Start from the given offsets, one for each source."""
        self.progress = {source: OffsetTracker(offsets[source]) for source in self.sources}
        self.happens(TaskEvent.OPENED, now)
        self.moved_at = now

    def accepts(self, piece: TaskRecords) -> bool:
        """Whether the slice is of this life of the task and its outputs may be committed."""
        return piece.epoch == self.epoch and self.state in {TaskState.RUNNING, TaskState.CLOSING}

    def hand_out(self, runs: tuple[PartitionRecords, ...]) -> tuple[int, ...]:
        """Note that the runs were given to the flow; return their tickets."""
        return tuple(
            self.progress[run.source].hand_out(
                int(run.offsets[0]) if len(run) else run.next_offset,
                run.next_offset,
                len(run),
                int(run.arrived_ms[0]) if len(run) else None,
            )
            for run in runs
        )

    def finish(self, runs: tuple[PartitionRecords, ...], tickets: tuple[int, ...]) -> None:
        """Note that the outputs of the runs are in the open transaction."""
        for run, ticket in zip(runs, tickets, strict=True):
            self.progress[run.source].finish(ticket)

    @property
    def committable(self) -> dict[TopicPartition, int]:
        """The offsets to commit, for the sources that have something new."""
        return {s: offset for s, p in self.progress.items() if (offset := p.committable) is not None}

    def commit(self, offsets: dict[TopicPartition, int], now: float) -> None:
        """Note that the offsets were committed."""
        for source, offset in offsets.items():
            self.progress[source].commit(offset)
        self.moved_at = now

    @property
    def whole(self) -> bool:
        """Whether a commit made now covers every output that is in the open transaction."""
        return all(progress.whole for progress in self.progress.values())

    @property
    def in_flight(self) -> int:
        """How many records were handed out and are not committed."""
        return sum(progress.in_flight for progress in self.progress.values())

    @property
    def outstanding(self) -> bool:
        """Whether anything was handed out that is not committed."""
        return any(progress.outstanding for progress in self.progress.values())
