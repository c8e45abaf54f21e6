"""The owned tasks of a worker by id, and the last epoch of every task that it has ever owned. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from surgetank.records import TaskEpoch, TaskId, TopicPartition
from surgetank.runtime.task import Task
from surgetank.runtime.task_state import TaskEvent, TaskState


class TaskSnapshot(NamedTuple):
    """A task as reported to monitoring. Times are monotonic seconds; ``committed`` is by partition."""

    task: TaskId
    state: TaskState
    since: float
    moved_at: float
    committed: dict[TopicPartition, int]


class TaskRegistry:
    """Tasks of any number of pipelines. ``topics`` are the source topics of each pipeline."""

    def __init__(self, topics: Mapping[str, tuple[str, ...]]) -> None:
        self._topics = dict(topics)
        self._tasks: dict[TaskId, Task] = {}
        self._epochs: dict[TaskId, int] = {}

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def __contains__(self, id_: TaskId) -> bool:
        return id_ in self._tasks

    def __getitem__(self, id_: TaskId) -> Task:
        return self._tasks[id_]

    def get(self, id_: TaskId) -> Task | None:
        """Return an owned task; None if it is not owned."""
        return self._tasks.get(id_)

    def add(self, id_: TaskId, now: float) -> Task:
        """Add an owned task in a new epoch, which no earlier answer can match."""
        epoch = self._epochs[id_] = self._epochs.get(id_, 0) + 1
        task = self._tasks[id_] = Task(id_, tuple(self.sources([id_])), epoch, since=now)
        return task

    def happens(self, task: Task, event: TaskEvent, now: float) -> None:
        """Move a task to its next state; remove it if that is CLOSED."""
        task.happens(event, now)
        self._epochs[task.id] = task.epoch
        if task.state is TaskState.CLOSED:
            del self._tasks[task.id]

    def current(self, key: TaskEpoch) -> Task | None:
        """Return a task if this is its current epoch, else None."""
        task = self._tasks.get(key.task)
        return task if task is not None and task.epoch == key.epoch else None

    def are_current(self, keys: Iterable[TaskEpoch]) -> bool:
        """Return whether each of these is the current epoch of an owned task."""
        return all(self.current(key) is not None for key in keys)

    def sources(self, tasks: Iterable[TaskId]) -> list[TopicPartition]:
        """Return the partitions of these tasks, owned or not."""
        return [TopicPartition(topic, task.partition) for task in tasks for topic in self._topics[task.pipeline]]

    def committed(self, keys: Iterable[TaskEpoch]) -> dict[TaskId, dict[TopicPartition, int]]:
        """Return the committed offsets of the tasks that are running in these epochs."""
        return {
            key.task: task.committed
            for key in keys
            if (task := self.current(key)) is not None and task.state is TaskState.RUNNING
        }

    def is_restoring(self, key: TaskEpoch) -> bool:
        """Return whether the task is restoring in this epoch."""
        task = self.current(key)
        return task is not None and task.state is TaskState.RESTORING

    def running(self, source: TopicPartition) -> list[TaskEpoch]:
        """Return the running tasks that read a partition."""
        return [task.key for task in self if task.state is TaskState.RUNNING and source in task.sources]

    @property
    def closing(self) -> bool:
        """Whether any revoked task has uncommitted work."""
        return any(task.state is TaskState.CLOSING for task in self)

    @property
    def in_flight(self) -> int:
        """The number of records in flight (not committed)."""
        return sum(task.in_flight for task in self)

    @property
    def share_running(self) -> float:
        """The running part of the owned tasks, from 0 (also if none is owned) to 1."""
        return sum(task.state is TaskState.RUNNING for task in self) / max(1, len(self._tasks))

    def snapshot(self) -> list[TaskSnapshot]:
        """Return a snapshot of each owned task."""
        return [TaskSnapshot(task.id, task.state, task.since, task.moved_at, task.committed) for task in self]

    def positions(self) -> dict[TopicPartition, tuple[int, tuple[int, int] | None]]:
        """Return for each partition of a running task the committed offset, and offset and timestamp (ms) of its
        oldest record in flight (None if there is none)."""
        return {s: (p.committed, p.head) for task in self for s, p in task.progress.items()}
