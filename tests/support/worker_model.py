"""A small model of brokers and of a worker whose decisions are a real TaskManager's.

It executes each action as the runtime would, one step at a time and in an order that a test chooses, and asserts the
invariants of every action: which tasks may be fetched, what may be sent, in which order a task is initialized.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from surgetank.records import TaskEpoch, TaskId, TopicPartition
from surgetank.runtime import task_actions as act
from surgetank.runtime import task_events as on
from surgetank.runtime.task_actions import ManagerAction
from surgetank.runtime.task_events import ManagerEvent, RecordSpan
from surgetank.runtime.task_manager import TaskManager
from surgetank.runtime.task_state import TaskState

TOPICS = {"scoring": ("events", "facts"), "second": ("others",)}
TASKS = (TaskId("scoring", 0), TaskId("scoring", 1), TaskId("second", 0))
ME, OTHER = "worker-1", "worker-2"
ROWS_PER_BATCH = 4
CLOSE_SECONDS = 10.0
THREADS = ("fence", "initialize", "restore", "produce", "compute", "fetch", "take")
ORDER = ("owners", "settle", "offsets", "restore")


@dataclass
class Transaction:
    """An open transaction at the brokers: rows by partition, and its offsets."""

    rows: dict[TopicPartition, list[int]] = field(default_factory=dict)
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    number: int | None = None  # the number in SendOffsets
    fenced: bool = False  # aborted by the brokers; its producer gets a fencing error


class Brokers:
    """Logs, committed offsets with their owners, committed outputs, one open transaction for each worker."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, list[int]] = {}
        self.committed: dict[TopicPartition, int] = {}
        self.owner: dict[TopicPartition, str] = {}
        self.outputs: dict[TopicPartition, list[int]] = {}
        self.open: dict[str, Transaction] = {}
        self.members: set[str] = {ME}
        self.owned: set[TaskId] = set()  # by ME, in the group's view
        for task in TASKS:
            for source in sources(task):
                self.logs[source], self.outputs[source] = [], []

    def append(self, source: TopicPartition, rows: int, gap: int) -> None:
        """Append rows after a gap, as compaction or markers leave it."""
        first = self.end(source) + gap
        self.logs[source] += range(first, first + rows)

    def end(self, source: TopicPartition) -> int:
        """Return the offset after the last row."""
        return self.logs[source][-1] + 1 if self.logs[source] else 0

    def stable(self, source: TopicPartition) -> bool:
        """Return whether no offset of the partition is pending."""
        return not any(source in each.offsets for each in self.open.values())

    def commit(self, who: str) -> None:
        """Commit the open transaction."""
        ended = self.open.pop(who)
        for source, rows in ended.rows.items():
            self.outputs[source] += rows
        for source, offset in ended.offsets.items():
            self.committed[source] = offset
            self.owner[source] = who

    def check_exactly_once(self) -> None:
        """Assert that the committed outputs match the committed offsets: each row once, in order."""
        for source, rows in self.outputs.items():
            upto = self.committed.get(source, 0)
            assert rows == [offset for offset in self.logs[source] if offset < upto], source


def sources(task: TaskId) -> list[TopicPartition]:
    """Return the partitions of a task."""
    return [TopicPartition(topic, task.partition) for topic in TOPICS[task[0]]]


class WorkerModel:
    """A worker: the manager, and queues of pending work for its threads."""

    def __init__(self, brokers: Brokers) -> None:
        self.brokers = brokers
        self.now = 100.0
        self.manager = TaskManager(
            TOPICS,
            identity=ME,
            interval_seconds=0.1,
            batch_rows_max=lambda: ROWS_PER_BATCH,
            close_deadline_seconds=CLOSE_SECONDS,
        )
        self.initializing: deque[act.FindOwners | act.ResolveOffsets | act.RestoreState] = deque()
        self.fencing: list[act.FenceOwner] = []
        self.restoring: list[act.RestoreState] = []
        self.producer: deque[ManagerAction] = deque()
        self.half_produced: int | None = None  # its outputs are in the transaction, but the manager does not know yet
        self.computing: deque[int] = deque()
        self.batches: dict[int, dict[TopicPartition, list[int]]] = {}
        self.fetched: deque[tuple[TaskEpoch, RecordSpan]] = deque()
        self.positions: dict[TopicPartition, tuple[TaskEpoch, int]] = {}
        self.handed: dict[tuple[TaskEpoch, TopicPartition], int] = {}  # the offset after the last row handed out
        self.disk: dict[TaskId, tuple[int, dict[TopicPartition, int]]] = {}  # epoch and positions of each store
        self.steps: dict[TaskEpoch, list[str]] = {}
        self.said: list[ManagerEvent] = []
        self.revoking: tuple[TaskId, ...] = ()

    # Events and actions.

    def post(self, event: ManagerEvent) -> list[ManagerAction]:
        """Handle an event, and queue the resulting actions."""
        running = {task.id for task in self.manager.tasks if task.state is TaskState.RUNNING}
        actions = self.manager.handle(event, self.now)
        if isinstance(event, on.FetchFailed):  # only the task that cannot be read is reset
            still = {task.id for task in self.manager.tasks if task.state is TaskState.RUNNING}
            assert running - still <= {event.task.task}
        for action in actions:
            self._execute(action)
        return actions

    def _execute(self, action: ManagerAction) -> None:
        match action:
            case act.FindOwners() | act.ResolveOffsets() | act.RestoreState():
                self.initializing.append(action)
            case act.FenceOwner():
                assert action.owner not in self.brokers.members, "a live member is never fenced"
                self.fencing.append(action)
            case act.SettleTransactions() | act.ProduceBatch() | act.CommitTransaction() | act.AbortTransaction():
                self.producer.append(action)
            case act.StartFetching():
                self._start_fetching(action)
            case act.StopFetching():
                for task in action.tasks:
                    owned = self.manager.tasks.get(task)
                    assert owned is None or owned.state is not TaskState.RUNNING
                    for source in sources(task):
                        self.positions.pop(source, None)
                self.fetched = deque(each for each in self.fetched if each[0].task not in action.tasks)
            case act.DropOverlay():
                if action.task.task in self.disk:
                    self.disk[action.task.task] = (action.task.epoch, self.disk[action.task.task][1])
            case act.CloseStores():
                assert not any(task in self.manager.tasks for task in action.tasks)
            case _:
                pass

    def _start_fetching(self, action: act.StartFetching) -> None:
        owned = self.manager.tasks.current(action.task)
        assert owned is not None
        assert owned.state is TaskState.RUNNING
        assert self.steps[action.task] == list(ORDER)
        epoch, positions = self.disk[action.task.task]
        assert (epoch, positions) == (action.task.epoch, action.offsets), "its state is not that of its offsets"
        for source, offset in action.offsets.items():
            if action.task.task in self.brokers.owned:  # else it is lost already, and the manager does not know yet
                assert self.brokers.committed.get(source, 0) == offset
                assert self.brokers.owner[source] == ME, "its successor would not know whom to fence"
            self.positions[source] = (action.task, offset)
            self.handed[action.task, source] = offset

    # Threads that initialize.

    def initialize(self, works: bool) -> None:
        """Take one step of initialization; not ``works``: a request that the brokers do not answer."""
        action = self.initializing.popleft()
        if isinstance(action, act.RestoreState):
            self._restore(action)
        elif not works:
            self.post(on.InitializationFailed(action.tasks))
        elif isinstance(action, act.FindOwners):
            self._find_owners(action)
        elif isinstance(action, act.ResolveOffsets):
            self._resolve(action)

    def _find_owners(self, action: act.FindOwners) -> None:
        found: dict[TaskEpoch, frozenset[str | None]] = {}
        for task in action.tasks:
            self.steps[task] = ["owners"]
            found[task] = frozenset(self.brokers.owner.get(source) for source in sources(task.task))
        stale = {each for owners in found.values() for each in owners if each and each not in self.brokers.members}
        self.said_and_post(on.OwnersFound(found, frozenset(stale) - {ME}))

    def _resolve(self, action: act.ResolveOffsets) -> None:
        found, pending = {}, []
        for task in action.tasks:
            if all(map(self.brokers.stable, sources(task.task))):
                self.steps[task].append("offsets")
                found[task] = {source: self.brokers.committed.get(source, 0) for source in sources(task.task)}
            else:
                pending.append(task)
        if pending:
            self.post(on.InitializationFailed(tuple(pending)))
        self.said_and_post(on.OffsetsResolved(found))

    def _restore(self, action: act.RestoreState) -> None:
        self.steps[action.task].append("restore")
        have = self.disk.get(action.task.task)
        self.disk[action.task.task] = (action.task.epoch, have[1] if have else {})
        if have is not None and have[1] == action.offsets:
            self.said_and_post(on.StateRestored(action.task))
        else:
            self.said_and_post(on.RestoreStarted(action.task))
            self.restoring.append(action)

    def restore(self) -> None:
        """End the oldest restore."""
        action = self.restoring.pop(0)
        if self.disk[action.task.task][0] == action.task.epoch:
            self.disk[action.task.task] = (action.task.epoch, dict(action.offsets))
        self.said_and_post(on.RestoreProgressed(action.task))
        self.said_and_post(on.StateRestored(action.task))

    def fence(self, works: bool) -> None:
        """End the oldest fencing."""
        action = self.fencing.pop(0)
        if works:
            self.brokers.open.pop(action.owner, None)
            self.said_and_post(on.OwnerFenced(action.owner, action.tasks))
        else:
            self.post(on.InitializationFailed(action.tasks, action.owner))

    # The thread of the producer.

    def produce(self, works: bool, acknowledged: bool = True) -> None:
        """Take one step of the producer's thread. A commit that is not ``acknowledged`` times out."""
        mine = self.brokers.open.get(ME)
        if mine is not None and mine.number is not None:
            self._end_commit(mine, works, acknowledged)
            return
        if self.half_produced is not None:
            batch, self.half_produced = self.half_produced, None
            self.said_and_post(on.BatchProduced(batch, len(self.fetched)))
            return
        action = self.producer.popleft()
        if isinstance(action, act.ProduceBatch):
            if self.manager.can_produce(action.batch):
                self._produce(action.batch, works)
        elif isinstance(action, act.CommitTransaction):
            self._send_offsets(works)
        elif isinstance(action, act.AbortTransaction):
            if self.manager.wants_abort:
                self._abort()
        elif isinstance(action, act.SettleTransactions):
            if mine is not None:  # it commits the open transaction before it reports that none is open
                self.producer.appendleft(action)
                self._send_offsets(works)
            elif works:
                for task in action.tasks:
                    self.steps[task].append("settle")
                self.said_and_post(on.TransactionsSettled(action.tasks))
            else:
                self.post(on.InitializationFailed(action.tasks))

    def _produce(self, batch: int, works: bool) -> None:
        transaction = self.brokers.open.setdefault(ME, Transaction())
        if transaction.fenced:
            self._abort()
            return
        for source, rows in self.batches[batch].items():
            transaction.rows[source] = transaction.rows.get(source, []) + rows
        if works:
            self.half_produced = batch
        else:
            self._abort()

    def _send_offsets(self, works: bool) -> None:
        sent = [each for each in self.post(on.CommitReady()) if isinstance(each, act.SendOffsets)]
        mine = self.brokers.open.get(ME)
        if not sent:
            if mine is not None:
                self._abort()
            return
        mine = self.brokers.open.setdefault(ME, Transaction())
        if mine.fenced:
            self._abort()
            return
        for task, offsets in sent[0].offsets.items():
            assert self.manager.tasks.current(task) is not None
            assert task.task in self.brokers.owned | set(self.revoking) or ME not in self.brokers.members
            for source, offset in offsets.items():
                done = [
                    row for row in self.brokers.logs[source] if self.brokers.committed.get(source, 0) <= row < offset
                ]
                assert mine.rows.get(source, []) == done, "offsets pass records that are not done, or leave some out"
        covered = {source for offsets in sent[0].offsets.values() for source in offsets}
        assert {source for source, rows in mine.rows.items() if rows} <= covered
        every = {
            s: at
            for each in (sent[0].claims, sent[0].offsets)
            for offsets in each.values()
            for s, at in offsets.items()
        }
        tasks = {task.task for each in (sent[0].claims, sent[0].offsets) for task in each}
        if not works or ME not in self.brokers.members or not tasks <= self.brokers.owned:
            self._abort()  # the group rejects offsets from a worker that is no member or no longer owns the partition
            return
        mine.offsets, mine.number = every, sent[0].transaction

    def _end_commit(self, mine: Transaction, works: bool, acknowledged: bool) -> None:
        if not works or mine.fenced:
            self._abort()
            return
        self.brokers.commit(ME)
        if not acknowledged:
            self.post(on.TransactionAborted())
            return
        for task in TASKS:
            epoch, positions = self.disk.get(task, (0, {}))
            owned = self.manager.tasks.get(task)
            if owned is not None and owned.epoch == epoch:
                self.disk[task] = (epoch, positions | {s: at for s, at in mine.offsets.items() if s in positions})
        assert mine.number is not None
        self.said_and_post(on.TransactionCommitted(mine.number))

    def _abort(self) -> None:
        self.brokers.open.pop(ME, None)
        self.said_and_post(on.TransactionAborted())

    # Fetching and computing.

    def fetch(self, source: TopicPartition, rows: int) -> None:
        """Fetch rows of a partition, and its end-of-partition event."""
        task, position = self.positions[source]
        found = [offset for offset in self.brokers.logs[source] if offset >= position][:rows]
        end = found[-1] + 1 if found else self.brokers.end(source)
        if end > position:
            self.fetched.append((task, RecordSpan(source, found[0] if found else end, end, len(found), 0)))
            self.positions[source] = (task, end)

    def take(self, spans: int, stale: TaskEpoch | None = None) -> None:
        """Offer fetched records for a batch; ``stale``: as if the first of them had been fetched in this epoch."""
        offered: dict[TaskEpoch, list[RecordSpan]] = {}
        for _ in range(min(spans, len(self.fetched))):
            task, span = self.fetched.popleft()
            offered.setdefault(stale or task, []).append(span)
        actions = self.post(on.RecordsFetched(tuple((task, tuple(theirs)) for task, theirs in offered.items())))
        for action in actions:
            if isinstance(action, act.ProcessBatch):
                self._process(action, offered)

    def _process(self, action: act.ProcessBatch, offered: dict[TaskEpoch, list[RecordSpan]]) -> None:
        rows: dict[TopicPartition, list[int]] = {}
        for task in action.tasks:
            owned = self.manager.tasks.current(task)
            assert owned is not None
            assert owned.state is TaskState.RUNNING
            for span in offered[task]:
                assert span.first_offset >= self.handed[task, span.source], "a record is handed out twice in an epoch"
                self.handed[task, span.source] = span.end
                log = self.brokers.logs[span.source]
                rows[span.source] = rows.get(span.source, []) + [at for at in log if span.first_offset <= at < span.end]
        assert action.batch not in self.batches
        self.batches[action.batch] = rows
        self.computing.append(action.batch)

    def compute(self, usable: bool) -> None:
        """End the oldest computation of a batch."""
        self.said_and_post(on.BatchComputed(self.computing.popleft(), usable))

    # The group.

    def revoke(self, tasks: tuple[TaskId, ...]) -> None:
        """Begin the callback of a revocation; ``end_callback`` ends it."""
        self.revoking = tasks
        self.post(on.PartitionsRevoked(tasks))

    def end_callback(self) -> None:
        """End the callback: the tasks are released, or its deadline passes."""
        if not self.manager.released(self.revoking):
            self.now += CLOSE_SECONDS
            self.post(on.DeadlinePassed(len(self.fetched)))
        assert not any(task in self.manager.tasks for task in self.revoking)
        if self.manager.released(self.revoking):
            theirs = {source for task in self.revoking for source in sources(task)}
            mine = self.brokers.open.get(ME, Transaction())
            assert not theirs & (mine.rows.keys() | mine.offsets.keys())
        self.brokers.owned -= set(self.revoking)
        self.revoking = ()

    def said_and_post(self, event: ManagerEvent) -> None:
        """Handle a response event, and store it so that it can be delivered again."""
        self.said.append(event)
        self.post(event)

    def step(self, thread: str, works: bool = True) -> bool:
        """Let a thread take one step; return False if it has nothing to do."""
        steps: dict[str, tuple[bool, Callable[[], object]]] = {
            "fence": (bool(self.fencing), lambda: self.fence(works)),
            "initialize": (bool(self.initializing), lambda: self.initialize(works)),
            "restore": (bool(self.restoring), self.restore),
            "produce": (bool(self.producer) or self.committing, lambda: self.produce(works)),
            "compute": (bool(self.computing), lambda: self.compute(works)),
            "fetch": (bool(self.positions), self._fetch_some),
            "take": (bool(self.fetched), lambda: self.take(3)),
        }
        possible, step = steps[thread]
        if possible:
            step()
        return possible

    def _fetch_some(self) -> None:
        for source in list(self.positions):
            self.fetch(source, 3)

    def settle_down(self) -> None:
        """Let every thread run until nothing is left to do."""
        if self.revoking:
            self.end_callback()
        idle, bound = 0, len(self.said) + 3000
        while idle < 3:
            before = len(self.said)
            self.now += 0.2
            for thread in THREADS:
                self.step(thread)
            self.post(on.DeadlinePassed(0))
            idle = 0 if len(self.said) > before or self.fetched or self.producer else idle + 1
            assert len(self.said) < bound, "it does not come to rest"

    @property
    def committing(self) -> bool:
        """Return whether a step of the producer's thread is half done."""
        mine = self.brokers.open.get(ME)
        return self.half_produced is not None or (mine is not None and mine.number is not None)
