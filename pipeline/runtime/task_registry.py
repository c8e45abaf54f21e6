"""The tasks of this worker under one lock: the lock that rebalance callbacks, hand-outs and commits all take."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.records import TaskEpoch, TaskId, TaskRecords, TopicPartition
from pipeline.runtime.task import Task
from pipeline.runtime.task_state import TaskEvent, TaskState


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Slices that were handed out, with the tickets that finish their runs."""

    slices: tuple[TaskRecords, ...]
    tickets: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return sum(len(piece) for piece in self.slices)


class TaskRegistry:
    """Which tasks are owned and how far each has come. Every method takes the lock.

    ``changed`` is notified whenever a task changes state or something is committed. ``moved`` is told of every
    change of state: task, from, to.
    """

    def __init__(
        self,
        stage: str,
        topics: tuple[str, ...],
        monotonic: Callable[[], float],
        moved: Callable[[TaskId, TaskState, TaskState], None],
    ) -> None:
        self._stage = stage
        self._topics = topics
        self._monotonic = monotonic
        self._moved = moved
        self._tasks: dict[TaskId, Task] = {}
        self._epochs: dict[TaskId, int] = {}
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)

    def gain(self, partitions: Iterable[int]) -> list[TaskEpoch]:
        """Own the tasks of these partitions also; return what must be opened."""
        with self.changed:
            gained = []
            for partition in partitions:
                id_ = TaskId(self._stage, partition)
                # An epoch never comes twice, also not when a task leaves and comes back.
                epoch = self._epochs.get(id_, 0) + 1
                sources = tuple(TopicPartition(topic, partition) for topic in self._topics)
                task = Task(id_, sources, epoch, since=self._monotonic())
                self._tasks[id_] = task
                self._epochs[id_] = epoch
                self._moved(id_, TaskState.CLOSED, TaskState.OPENING)
                gained.append((id_, epoch))
            self.changed.notify_all()
            return gained

    def open(self, task_epoch: TaskEpoch, offsets: dict[TopicPartition, int]) -> bool:
        """Let a task run from these offsets; False if this life of it is over."""
        with self.changed:
            task = self._current(task_epoch)
            if task is None or task.state not in {TaskState.OPENING, TaskState.RESTORING}:
                return False
            before = task.state
            task.open(offsets, self._monotonic())
            self._moved(task.id, before, TaskState.RUNNING)
            self.changed.notify_all()
            return True

    def restore(self, task_epoch: TaskEpoch) -> bool:
        """Note that a task waits for its state; False if this life of it is over."""
        with self.changed:
            task = self._current(task_epoch)
            if task is None or task.state is not TaskState.OPENING:
                return False
            self._happens(task, TaskEvent.CLAIMED)
            task.moved_at = self._monotonic()
            return True

    def restoring(self, task_epoch: TaskEpoch) -> bool:
        """Return whether the task still waits for its state in this life."""
        with self.lock:
            task = self._current(task_epoch)
            return task is not None and task.state is TaskState.RESTORING

    def restore_progressed(self, task_epoch: TaskEpoch) -> None:
        """Note that more of the state of a task is here."""
        with self.lock:
            task = self._current(task_epoch)
            if task is not None and task.state is TaskState.RESTORING:
                task.moved_at = self._monotonic()

    def running(self) -> float:
        """Return which part of the tasks that are owned run, from 0 (also: none is owned) to 1."""
        with self.lock:
            return sum(task.state is TaskState.RUNNING for task in self._tasks.values()) / max(1, len(self._tasks))

    def standing(self) -> dict[TaskEpoch, dict[TopicPartition, int]]:
        """Return what is committed of each task that runs."""
        with self.lock:
            return {
                (task.id, task.epoch): {source: progress.committed for source, progress in task.progress.items()}
                for task in self._tasks.values()
                if task.state is TaskState.RUNNING
            }

    def opening(self, task_epoch: TaskEpoch) -> Task | None:
        """Return the task if it still waits to be opened in this life."""
        with self.lock:
            task = self._current(task_epoch)
            return task if task is not None and task.state is TaskState.OPENING else None

    def hand_out(self, slices: Iterable[TaskRecords]) -> tuple[TaskBatch, list[TaskEpoch]]:
        """Hand out what is current; what is stale vanishes. Return the work and the tasks that must be reopened.

        A task must be reopened when its records do not follow on one another, which librdkafka promises they do.
        """
        kept: list[TaskRecords] = []
        tickets: list[tuple[int, ...]] = []
        broken: list[TaskEpoch] = []
        with self.changed:
            for piece in slices:
                task = self._current((piece.task, piece.epoch))
                if task is None or task.state is not TaskState.RUNNING:
                    continue
                try:
                    tickets.append(task.hand_out(piece.runs))
                except ValueError:
                    broken.append(self._happens(task, TaskEvent.REWOUND))
                else:
                    kept.append(piece)
        return TaskBatch(tuple(kept), tuple(tickets)), broken

    def finish(self, work: TaskBatch) -> bool:
        """Note that all outputs of the work are in the open transaction; False if any of it is stale by now."""
        with self.lock:
            tasks = [self._accepting(piece) for piece in work.slices]
            if any(task is None for task in tasks):
                return False
            for task, piece, tickets in zip(tasks, work.slices, work.tickets, strict=True):
                assert task is not None
                task.finish(piece.runs, tickets)
            return True

    def current(self, work: TaskBatch) -> bool:
        """Whether all of the work may still be committed."""
        with self.lock:
            return all(self._accepting(piece) is not None for piece in work.slices)

    def is_current(self, task_epoch: TaskEpoch) -> bool:
        """Whether this life of the task goes on."""
        with self.lock:
            return self._current(task_epoch) is not None

    def commitment(self) -> dict[TaskEpoch, dict[TopicPartition, int]]:
        """Return the offsets that a commit made now covers.

        Raises ValueError if it would commit outputs of records that the offsets leave out: they would come twice.
        """
        with self.lock:
            if torn := [task.id for task in self._tasks.values() if not task.whole]:
                raise ValueError(f"outputs of {torn} were finished out of order; this is a bug")
            return {(task.id, task.epoch): offsets for task in self._tasks.values() if (offsets := task.committable)}

    def committed(self, commitment: dict[TaskEpoch, dict[TopicPartition, int]]) -> None:
        """Note that a commitment was committed."""
        with self.changed:
            for task_epoch, offsets in commitment.items():
                task = self._current(task_epoch)
                if task is not None:
                    task.commit(offsets, self._monotonic())
            self.changed.notify_all()

    def rewind(self) -> list[TaskEpoch]:
        """Send every task that runs or has outstanding work back to its committed offsets; return what to reopen.

        Those without any too: what was committed last may yet turn out not to be (ops/decisions/0002).
        """
        with self.changed:
            reopened = []
            for task in [t for t in self._tasks.values() if t.outstanding or t.state is TaskState.RUNNING]:
                task_epoch = self._happens(task, TaskEvent.REWOUND)
                if task.state is TaskState.OPENING:
                    reopened.append(task_epoch)
            self.changed.notify_all()
            return reopened

    def reopen(self, source: TopicPartition) -> list[TaskEpoch]:
        """Send the task of one source back to its committed offsets, if it runs."""
        with self.changed:
            task = self._tasks.get(TaskId(self._stage, source.partition))
            if task is None or task.state is not TaskState.RUNNING:
                return []
            return [self._happens(task, TaskEvent.REWOUND)]

    def revoke(self, partitions: Iterable[int]) -> None:
        """Begin to give up the tasks of these partitions: nothing more is handed out of them."""
        self._all_happen(partitions, TaskEvent.REVOKED)

    def lose(self, partitions: Iterable[int]) -> bool:
        """Drop the tasks of these partitions; return whether any had outstanding work, which must be aborted."""
        with self.lock:
            outstanding = self.outstanding(partitions)
            self._all_happen(partitions, TaskEvent.LOST)
            return outstanding

    def close(self, partitions: Iterable[int]) -> bool:
        """End the giving up; return whether any task still had outstanding work, which must be aborted."""
        with self.lock:
            outstanding = self.outstanding(partitions)
            self._all_happen(partitions, TaskEvent.CLOSED)
            return outstanding

    def outstanding(self, partitions: Iterable[int]) -> bool:
        """Whether a task of these partitions has work that is handed out and not committed."""
        with self.lock:
            return any(task.outstanding for task in self._of(partitions))

    @property
    def in_flight(self) -> int:
        """How many records were handed out and are not committed."""
        with self.lock:
            return sum(task.in_flight for task in self._tasks.values())

    @property
    def closing(self) -> bool:
        """Whether a task is being given up."""
        with self.lock:
            return any(task.state is TaskState.CLOSING for task in self._tasks.values())

    def sources(self, partitions: Iterable[int]) -> list[TopicPartition]:
        """Return the sources of the tasks of these partitions."""
        return [TopicPartition(topic, partition) for partition in partitions for topic in self._topics]

    def ids(self, partitions: Iterable[int]) -> set[TaskId]:
        """Return the tasks of these partitions."""
        return {TaskId(self._stage, partition) for partition in partitions}

    def snapshot(self) -> list[tuple[TaskId, TaskState, float, float, dict[TopicPartition, int]]]:
        """Return, for each owned task: id, state, since when, moved when (monotonic seconds), committed offsets."""
        with self.lock:
            return [
                (t.id, t.state, t.since, t.moved_at, {s: p.committed for s, p in t.progress.items()})
                for t in self._tasks.values()
            ]

    def standings(self) -> dict[TopicPartition, tuple[int, tuple[int, int] | None]]:
        """Return what is committed of each source of an open task, and offset and time (ms) of its oldest record.

        That is the oldest one of those handed out and not committed, None if there are none.
        """
        with self.lock:
            return {s: (p.committed, p.head) for task in self._tasks.values() for s, p in task.progress.items()}

    def _of(self, partitions: Iterable[int]) -> list[Task]:
        return [task for p in partitions if (task := self._tasks.get(TaskId(self._stage, p))) is not None]

    def _current(self, task_epoch: TaskEpoch) -> Task | None:
        task = self._tasks.get(task_epoch[0])
        return task if task is not None and task.epoch == task_epoch[1] else None

    def _accepting(self, piece: TaskRecords) -> Task | None:
        task = self._tasks.get(piece.task)
        return task if task is not None and task.accepts(piece) else None

    def _all_happen(self, partitions: Iterable[int], event: TaskEvent) -> None:
        with self.changed:
            for task in self._of(partitions):
                if event is not TaskEvent.CLOSED or task.state is TaskState.CLOSING:
                    self._happens(task, event)
            self.changed.notify_all()

    def _happens(self, task: Task, event: TaskEvent) -> TaskEpoch:
        before = task.state
        task.happens(event, self._monotonic())
        self._epochs[task.id] = task.epoch
        if task.state is TaskState.CLOSED:
            del self._tasks[task.id]
        self._moved(task.id, before, task.state)
        return task.id, task.epoch
