"""The task manager: decides every step of each task of a worker. Pure.

One method takes an event and a time and returns the actions to execute. It holds no lock, reads no clock and makes no
external calls: the runtime handles one event at a time and executes the actions in the order returned.
An answer for an earlier epoch of a task is ignored.

A task is never committed after its epoch has ended: ``CommitReady`` returns the offsets of the tasks owned at that
moment, or an abort if the open transaction holds outputs of any other task. So the event must be handled, and the
group metadata read, under the lock under which rebalances are handled.
"""

from collections.abc import Callable, Iterable, Mapping

from surgetank.records import TaskEpoch, TaskId, TopicPartition
from surgetank.runtime import task_actions as act
from surgetank.runtime import task_events as on
from surgetank.runtime.batches_in_flight import BatchesInFlight, BatchStage
from surgetank.runtime.commit_policy import CommitPolicy, retry_seconds
from surgetank.runtime.initialization_steps import Initialization
from surgetank.runtime.task import Task
from surgetank.runtime.task_actions import ManagerAction
from surgetank.runtime.task_events import ManagerEvent
from surgetank.runtime.task_registry import TaskRegistry
from surgetank.runtime.task_state import TaskEvent, TaskState

RETRY_SECONDS = 0.05  # delay before initialization is retried, for example while a live member ends its transaction


class TaskManager:
    """The tasks of a worker, of any number of pipelines.

    ``topics`` are the source topics of each pipeline, ``identity`` is the name under which this worker commits offsets.
    ``interval_seconds``, ``batch_rows_max`` and ``backlog_rows`` are those of ``CommitPolicy``.
    """

    def __init__(
        self,
        topics: Mapping[str, tuple[str, ...]],
        *,
        identity: str,
        interval_seconds: float,
        batch_rows_max: Callable[[], int],
        close_deadline_seconds: float,
        backlog_rows: Callable[[], int] | None = None,
    ) -> None:
        self._identity = identity
        self._close_deadline = close_deadline_seconds
        self.tasks = TaskRegistry(topics)
        self._initialization = Initialization(identity)
        self._batches = BatchesInFlight()
        self.policy = CommitPolicy(interval_seconds, batch_rows_max, backlog_rows)
        self._opened_at: float | None = None  # when the first batch of the open transaction went to the producer
        self._commit_asked = False
        self._abort_asked = False  # the open transaction holds, or will hold, outputs that must not be committed
        self._refresh = False  # the next commit repeats unchanged offsets
        self._sent: act.SendOffsets | None = None  # the offsets of the commit in progress
        self._transaction = 0  # the number of the last commit
        self._aborts = 0  # consecutive, since the last commit with rows
        self._stopping = False

    def handle(self, event: ManagerEvent, now: float) -> list[ManagerAction]:
        """Return the actions for an event; ``now`` is in monotonic seconds."""
        match event:
            case on.PartitionsAssigned():
                return self._assigned(event.tasks, now)
            case on.PartitionsRevoked():
                return self._revoked(event.tasks, now)
            case on.PartitionsLost():
                return self._lost(event.tasks, now)
            case on.OwnersFound():
                return self._initialization.owners_found(event)
            case on.OwnerFenced():
                actions = self._initialization.owner_fenced(event.owner, event.tasks)
                return [*actions, *self._restart(self._initialization.uncovered(event.owner), 0.0, now)]
            case on.TransactionsSettled():
                return self._initialization.settled(event.tasks)
            case on.OffsetsResolved():
                actions = self._initialization.offsets_resolved(event)
                return [*actions, *self._commit_if_due(now)]
            case on.InitializationFailed():
                failed = list(event.tasks)
                if event.owner is not None:
                    self._initialization.fence_failed(event.owner)
                    failed += [task for task in self._initialization.uncovered(event.owner) if task not in failed]
                return self._restart(failed, RETRY_SECONDS, now)
            case on.RestoreStarted():
                return self._restore_started(event.task, now)
            case on.RestoreProgressed():
                if (task := self.tasks.current(event.task)) is not None and task.state is TaskState.RESTORING:
                    task.moved_at = now
                return []
            case on.StateRestored():
                return self._restored(event.task, now)
            case on.RecordsFetched():
                return self._hand_out(event, now)
            case on.BatchComputed():
                return self._computed(event, now)
            case on.BatchProduced():
                return self._produced(event, now)
            case on.CommitReady():
                return self._commit_ready(now)
            case on.TransactionCommitted():
                return self._committed(event, now)
            case on.TransactionAborted():
                return self._aborted(event, now)
            case on.FetchFailed():
                return self._reopen(event.task, now)
            case on.OffsetsExpiring():
                self._refresh = True
                return self._commit_if_due(now)
            case on.DeadlinePassed():
                return [*self._close_overdue(now), *self._commit_if_due(now, waiting_rows=event.waiting_rows)]
            case on.StopAsked():
                self._stopping = True
                return [act.LeaveGroup()]

    def commit_due(self, waiting_rows: int) -> float | None:
        """Return when the open transaction must be committed, in monotonic seconds; None if no commit is scheduled."""
        if self._opened_at is None or self._commit_asked or self._abort_asked:
            return None
        return self.policy.commit_time(self._opened_at, waiting_rows)

    def released(self, tasks: Iterable[TaskId]) -> bool:
        """Return whether none of these tasks is owned or can have outputs in an open transaction."""
        gone = set(tasks)
        open_ = self._batches.tasks((BatchStage.PRODUCING, BatchStage.PRODUCED))
        if self._sent is not None:
            open_ |= {*self._sent.claims, *self._sent.offsets}
        return not any(task in self.tasks for task in gone) and not any(each.task in gone for each in open_)

    def can_produce(self, batch: int) -> bool:
        """Return whether a batch waits for the producer and all its tasks may still commit."""
        found = self._batches.get(batch, BatchStage.PRODUCING)
        return found is not None and not self._abort_asked and self.tasks.are_current(found.records)

    @property
    def wants_abort(self) -> bool:
        """Whether an abort was requested and is not done yet."""
        return self._abort_asked

    @property
    def committing(self) -> bool:
        """Whether a commit is requested or in progress."""
        return self._commit_asked

    # Ownership.

    def _assigned(self, tasks: Iterable[TaskId], now: float) -> list[ManagerAction]:
        tasks = tuple(tasks)
        actions = self._close([task for task in tasks if task in self.tasks], TaskEvent.LOST, now)
        gained = [self.tasks.add(id_, now) for id_ in tasks]
        actions += [act.ReportTransition(task.id, TaskState.CLOSED, TaskState.OPENING) for task in gained]
        return [*actions, *self._initialize([task.key for task in gained], 0.0)]

    def _revoked(self, tasks: Iterable[TaskId], now: float) -> list[ManagerAction]:
        owned = [self.tasks[id_] for id_ in tasks if id_ in self.tasks]
        running = [task for task in owned if task.state is TaskState.RUNNING]
        actions = self._close(
            [task.id for task in owned if task.state in {TaskState.OPENING, TaskState.RESTORING}],
            TaskEvent.REVOKED,
            now,
        )
        for task in running:
            task.close_by = now + self._close_deadline
            actions += self._happens(task, TaskEvent.REVOKED, now)
        if running:
            actions.append(act.StopFetching(tuple(task.id for task in running)))
        return [*actions, *self._close_finished(now), *self._commit_if_due(now)]

    def _lost(self, tasks: Iterable[TaskId], now: float) -> list[ManagerAction]:
        return self._close([id_ for id_ in tasks if id_ in self.tasks], TaskEvent.LOST, now)

    def _close_finished(self, now: float) -> list[ManagerAction]:
        """Close revoked tasks whose work is completely committed."""
        return self._close(
            [t.id for t in self.tasks if t.state is TaskState.CLOSING and not t.outstanding], TaskEvent.CLOSED, now
        )

    def _close_overdue(self, now: float) -> list[ManagerAction]:
        """Close revoked tasks whose deadline has passed; abort their uncommitted work."""
        return self._close(
            [t.id for t in self.tasks if t.state is TaskState.CLOSING and t.close_by <= now], TaskEvent.CLOSED, now
        )

    def _close(self, tasks: list[TaskId], event: TaskEvent, now: float) -> list[ManagerAction]:
        """End the ownership of tasks; abort the open transaction if it holds their outputs."""
        if not tasks:
            return []
        actions: list[ManagerAction] = []
        for id_ in tasks:
            actions += self._happens(self.tasks[id_], event, now)
        actions += [act.StopFetching(tuple(tasks)), act.CloseStores(tuple(tasks))]
        return [*actions, *self._abort_stale(f"tasks {', '.join(map(str, tasks))} are not owned any more")]

    # Initialization.

    def _initialize(self, tasks: list[TaskEpoch], after_seconds: float) -> list[ManagerAction]:
        for task in tasks:
            self._initialization.begin(task)
        return [act.FindOwners(tuple(tasks), after_seconds)] if tasks and not self._stopping else []

    def _restart(self, tasks: Iterable[TaskEpoch], after_seconds: float, now: float) -> list[ManagerAction]:
        """Initialize tasks that are in state OPENING from the first step on, in a new epoch."""
        actions: list[ManagerAction] = []
        again: list[TaskEpoch] = []
        for task in map(self.tasks.current, tasks):
            if task is not None and task.state is TaskState.OPENING:
                actions += self._happens(task, TaskEvent.REWOUND, now)
                actions.append(act.DropOverlay(task.key))
                again.append(task.key)
        return [*actions, *self._initialize(again, after_seconds)]

    def _restore_started(self, key: TaskEpoch, now: float) -> list[ManagerAction]:
        task = self.tasks.current(key)
        if task is None or task.state is not TaskState.OPENING or self._initialization.offsets(key) is None:
            return []
        task.moved_at = now
        return self._happens(task, TaskEvent.CLAIMED, now)

    def _restored(self, key: TaskEpoch, now: float) -> list[ManagerAction]:
        task, offsets = self.tasks.current(key), self._initialization.offsets(key)
        if task is None or offsets is None:
            return []
        before = task.state
        self._initialization.forget(key)
        task.open(dict(offsets), now)
        return [act.ReportTransition(task.id, before, TaskState.RUNNING), act.StartFetching(key, dict(offsets))]

    # Batches.

    def _hand_out(self, event: on.RecordsFetched, now: float) -> list[ManagerAction]:
        records: dict[TaskEpoch, tuple[tuple[TopicPartition, int], ...]] = {}
        rows = 0
        actions: list[ManagerAction] = []
        for key, spans in event.records:
            task = self.tasks.current(key)
            if task is None or task.state is not TaskState.RUNNING:
                continue
            try:
                records[key] = records.get(key, ()) + task.hand_out(spans)
            except ValueError:  # the records are not contiguous
                records.pop(key, None)
                actions += self._reopen(key, now)
            else:
                rows += sum(span.rows for span in spans)
        if records:
            actions.append(act.ProcessBatch(self._batches.add(records, rows), tuple(records)))
        return actions

    def _computed(self, event: on.BatchComputed, now: float) -> list[ManagerAction]:
        batch = self._batches.get(event.batch, BatchStage.COMPUTING)
        if batch is None:
            return []
        current = [self.tasks.current(task) is not None for task in batch.records]
        if event.usable and all(current):
            batch.stage = BatchStage.PRODUCING
            if self._opened_at is None:
                self._opened_at = now
            return [act.ProduceBatch(event.batch)]
        self._batches.remove(event.batch)
        return self._abort("a batch came to nothing that may count") if any(current) else []

    def _produced(self, event: on.BatchProduced, now: float) -> list[ManagerAction]:
        batch = self._batches.get(event.batch, BatchStage.PRODUCING)
        if batch is None or not self.tasks.are_current(batch.records):
            return self._abort("outputs of a task that is not owned any more were produced")
        batch.stage = BatchStage.PRODUCED
        for key, entries in batch.records.items():
            for source, entry in entries:
                self.tasks[key.task].progress[source].finish(entry)
        return self._commit_if_due(now, waiting_rows=event.waiting_rows, state_full=event.state_full)

    def _reopen(self, key: TaskEpoch, now: float) -> list[ManagerAction]:
        """Rewind one running task to its committed offsets."""
        task = self.tasks.current(key)
        if task is None or task.state is not TaskState.RUNNING:
            return []
        actions = self._rewind([task], 0.0, now)
        return [*actions, *self._abort_stale(f"task {key.task} went back to its committed offsets")]

    def _rewind(self, tasks: Iterable[Task], after_seconds: float, now: float) -> list[ManagerAction]:
        tasks = list(tasks)
        actions: list[ManagerAction] = []
        closed = [task.id for task in tasks if task.state is TaskState.CLOSING]
        for task in tasks:
            actions += self._happens(task, TaskEvent.REWOUND, now)
        again = [task for task in tasks if task.state is TaskState.OPENING]
        actions += [act.DropOverlay(task.key) for task in again]
        if tasks:
            actions.append(act.StopFetching(tuple(task.id for task in tasks)))
        if closed:
            actions.append(act.CloseStores(tuple(closed)))
        return [*actions, *self._initialize([task.key for task in again], after_seconds)]

    # Transactions.

    def _commit_if_due(self, now: float, *, waiting_rows: int = 0, state_full: bool = False) -> list[ManagerAction]:
        if self._commit_asked or self._abort_asked:
            return []
        produced = bool(self._batches.at(BatchStage.PRODUCED))
        claims = bool(self._initialization.claims)
        urgent = claims or self._refresh or state_full or self.tasks.closing
        due = self.commit_due(waiting_rows)
        # Batches that wait for the producer join the same transaction: a commit costs the same for two batches.
        on_time = due is not None and due <= now and not self._batches.at(BatchStage.PRODUCING)
        if not (claims or self._refresh or (produced and (urgent or on_time))):
            return []
        self._commit_asked = True
        self.policy.commit_began(now)
        return [act.CommitTransaction()]

    def _commit_ready(self, now: float) -> list[ManagerAction]:
        self._commit_asked = self._sent is not None
        if self._abort_asked or self._sent is not None:
            return []
        produced = self._batches.tasks((BatchStage.PRODUCED,))
        if not self.tasks.are_current(produced):
            return self._abort("outputs of a task that is not owned any more were produced")
        offsets = {task.key: found for task in self.tasks if (found := task.committable)}
        claims = self._initialization.claims
        if self._refresh:
            claims |= {
                task.key: {
                    source: at for source, at in task.committed.items() if source not in offsets.get(task.key, ())
                }
                for task in self.tasks
                if task.state is TaskState.RUNNING
            }
            self._refresh = False
        if not offsets and not claims:
            return []
        self._opened_at = now if self._batches.at(BatchStage.PRODUCING) else None
        self._commit_asked = True
        self._transaction += 1
        self._sent = act.SendOffsets(self._transaction, offsets, claims)
        return [self._sent]

    def _committed(self, event: on.TransactionCommitted, now: float) -> list[ManagerAction]:
        sent = self._sent
        if sent is None or sent.transaction != event.transaction:
            return []
        self._sent = None
        self._commit_asked = False
        if self._batches.remove_produced():
            self._aborts = 0
        for key, offsets in sent.offsets.items():
            if (task := self.tasks.current(key)) is not None:
                for source, offset in offsets.items():
                    task.progress[source].commit(offset)
                task.moved_at = now
        actions = self._initialization.claimed(sent.claims)
        return [*actions, *self._close_finished(now), *self._commit_if_due(now)]

    def _aborted(self, event: on.TransactionAborted, now: float) -> list[ManagerAction]:
        if event.duplicate_member:
            return [
                act.EndProcess(
                    f"another live worker is named {self._identity!r}; give each worker its own worker.name, or leave "
                    "it unset"
                )
            ]
        self._sent = self._opened_at = None
        self._commit_asked = self._abort_asked = False
        self._batches.clear()
        delay = retry_seconds(self._aborts)
        self._aborts += 1
        # Include running tasks without records in flight: their last commit may turn out not to have succeeded
        # (ops/decisions/0002).
        back = [t for t in self.tasks if t.state is TaskState.RUNNING or t.outstanding]
        claiming = list(self._initialization.claims)
        return [*self._rewind(back, delay, now), *self._restart(claiming, max(delay, RETRY_SECONDS), now)]

    def _abort(self, reason: str) -> list[ManagerAction]:
        if self._abort_asked:
            return []
        self._abort_asked = True
        return [act.AbortTransaction(reason)]

    def _abort_stale(self, reason: str) -> list[ManagerAction]:
        """Abort if outputs of a stale epoch are in the open transaction or about to be added to it.

        Outputs produced before a commit in progress belong to that commit, which the brokers accept or reject.
        """
        stages = (BatchStage.PRODUCING, BatchStage.PRODUCED) if self._sent is None else (BatchStage.PRODUCING,)
        return [] if self.tasks.are_current(self._batches.tasks(stages)) else self._abort(reason)

    def _happens(self, task: Task, event: TaskEvent, now: float) -> list[ManagerAction]:
        before = task.state
        if event is not TaskEvent.CLAIMED:
            self._initialization.forget(task.key)
        self.tasks.happens(task, event, now)
        return [] if task.state is before else [act.ReportTransition(task.id, before, task.state)]
