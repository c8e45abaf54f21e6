"""The owned tasks of a worker by their id, and the last epoch of each task that it ever owned. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pipeline.records import TaskEpoch, TaskId, TopicPartition
from pipeline.runtime.task import Task
from pipeline.runtime.task_state import TaskEvent, TaskState


class TaskSnapshot(NamedTuple):
    """What those who watch a worker see of a task. Times are monotonic seconds; ``committed`` is by partition."""

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
        """Own a task, in an epoch that no answer can belong to."""
        epoch = self._epochs[id_] = self._epochs.get(id_, 0) + 1
        task = self._tasks[id_] = Task(id_, tuple(self.sources([id_])), epoch, since=now)
        return task

    def happens(self, task: Task, event: TaskEvent, now: float) -> None:
        """Move a task to the state that follows; one that is closed is not owned any more."""
        task.happens(event, now)
        self._epochs[task.id] = task.epoch
        if task.state is TaskState.CLOSED:
            del self._tasks[task.id]

    def current(self, key: TaskEpoch) -> Task | None:
        """Return a task if this is its present epoch."""
        task = self._tasks.get(key.task)
        return task if task is not None and task.epoch == key.epoch else None

    def are_current(self, keys: Iterable[TaskEpoch]) -> bool:
        """Whether each of these is the present epoch of an owned task."""
        return all(self.current(key) is not None for key in keys)

    def sources(self, tasks: Iterable[TaskId]) -> list[TopicPartition]:
        """Return the partitions of these tasks, owned or not."""
        return [TopicPartition(topic, task.partition) for task in tasks for topic in self._topics[task.pipeline]]

    def committed(self, keys: Iterable[TaskEpoch]) -> dict[TaskId, dict[TopicPartition, int]]:
        """Return the committed offsets of those of the tasks that run in this epoch."""
        return {
            key.task: task.committed
            for key in keys
            if (task := self.current(key)) is not None and task.state is TaskState.RUNNING
        }

    def is_restoring(self, key: TaskEpoch) -> bool:
        """Whether this epoch of the task waits for its state."""
        task = self.current(key)
        return task is not None and task.state is TaskState.RESTORING

    def running(self, source: TopicPartition) -> list[TaskEpoch]:
        """Return the running tasks that read a partition."""
        return [task.key for task in self if task.state is TaskState.RUNNING and source in task.sources]

    @property
    def closing(self) -> bool:
        """Whether a task is revoked and its work is not committed."""
        return any(task.state is TaskState.CLOSING for task in self)

    @property
    def in_flight(self) -> int:
        """How many records were handed out and are not committed."""
        return sum(task.in_flight for task in self)

    @property
    def share_running(self) -> float:
        """Which part of the owned tasks runs, from 0 (also: none is owned) to 1."""
        return sum(task.state is TaskState.RUNNING for task in self) / max(1, len(self._tasks))

    def snapshot(self) -> list[TaskSnapshot]:
        """Return the owned tasks."""
        return [TaskSnapshot(task.id, task.state, task.since, task.moved_at, task.committed) for task in self]

    def positions(self) -> dict[TopicPartition, tuple[int, tuple[int, int] | None]]:
        """Return of each partition of a running task the committed offset, and offset and time (ms) of its oldest
        record that was handed out and is not committed (None if there is none)."""
        return {s: (p.committed, p.head) for task in self for s, p in task.progress.items()}
