"""The runtime of a worker: membership, fetching, opening and transactions, put together. Knows nothing of Faust.

Threads: *membership* (rebalances), *fetcher* (reads), *opener* (opens tasks), *transactions* (produces, commits),
*monitor* (lag, watchdog). The flow itself is computed wherever the host runs it, one work at a time.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from confluent_kafka import KafkaException

from pipeline.clock import Clock
from pipeline.errors import Stuck
from pipeline.records import OutputPartition, TaskEpoch, TaskId, TopicPartition
from pipeline.runtime.batch_output import BatchOutput
from pipeline.runtime.fencing import GroupClient
from pipeline.runtime.fetcher import Fetcher, FetchPosition
from pipeline.runtime.group_membership import GroupMembership
from pipeline.runtime.observer import RuntimeObserver
from pipeline.runtime.record_queues import RecordQueues
from pipeline.runtime.serial_executor import SerialExecutor
from pipeline.runtime.state_lifecycle import StateLifecycle
from pipeline.runtime.task_initializer import TaskInitializer
from pipeline.runtime.task_registry import TaskBatch, TaskRegistry
from pipeline.runtime.task_state import TaskState
from pipeline.runtime.transaction_manager import TransactionManager
from pipeline.runtime.watchdog import Snapshot, hung_call, stuck_task
from pipeline.settings import Settings
from pipeline.state.state_manager import StateManager
from pipeline.telemetry.health import Health
from pipeline.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

MONITOR_SECONDS = 2.0
STOP_SECONDS = 5.0
STALL_SECONDS = 10.0  # more than any broker takes to hand a leadership over
LOOK_AGAIN_SECONDS = 0.004
# The brokers forget offsets of topics that no member subscribes to, after seven days by default, also where nothing
# came meanwhile. Nobody subscribes to facts.
REFRESH_SECONDS = 3600.0


class LagReporter(Protocol):
    """Judges how far behind the owned partitions are; called by the monitor and when partitions go."""

    def look(self, owned: Collection[TopicPartition], ends: Mapping[TopicPartition, int]) -> None:
        """Judge the owned partitions, also those being opened. ``ends``: the last stable offsets that are known."""
        ...

    def forget(self, sources: Iterable[TopicPartition]) -> None:
        """Tell of these partitions no more."""
        ...


class WorkerRuntime:
    """Owns tasks of one stage. ``on_arrival`` is called from another thread when there is something to take.

    ``topics`` are the sources of a task, the events first; ``vault`` is there where it has tables, and ``address`` is
    where this worker answers over HTTP. ``on_failure`` is called, from whichever thread, with what ends the worker.
    ``call_started_at`` tells since when (monotonic seconds) a model call runs, None when none does. ``lag`` is told
    how far the tasks have come.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        stage: str,
        group: str,
        topics: tuple[str, ...],
        outputs: tuple[str, ...],
        upkeep: str,
        vault: StateManager | None,
        identity: str,
        address: str,
        clock: Clock,
        metrics: Metrics,
        health: Health,
        on_arrival: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        call_started_at: Callable[[], float | None],
        lag: LagReporter,
        observer: RuntimeObserver,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._on_failure = on_failure
        self._call_started_at = call_started_at
        self._lag = lag
        self._observer = observer
        self._stopping = threading.Event()
        self._identity = identity
        self.inbox = RecordQueues(settings.worker.buffered_rows_max, on_arrival)
        self.ledger = TaskRegistry(stage, topics, clock.monotonic, self._moved)
        self._ground = GroupClient(settings.kafka, group)  # the monitor's; the opener has its own
        self._membership = GroupMembership(
            settings.kafka,
            group=group,
            topic=topics[0],
            client_id=identity,
            owner=self,
            tasks=None if vault is None else vault.kept.partitions,
            patience_seconds=settings.worker.stuck_deadline_seconds,
            clock=clock,
            beat=self._beat("membership", settings.worker.close_deadline_seconds + 10),
            on_failure=on_failure,
        )
        self._fetcher = Fetcher(
            settings.kafka,
            settings.worker,
            group=group,
            client_id=identity,
            inbox=self.inbox,
            beat=self._beat("fetcher", 10),
            on_trouble=self._trouble,
            on_failure=on_failure,
        )
        self._state = StateLifecycle(
            vault,
            settings,
            self.ledger,
            client_id=identity,
            committed=GroupClient(settings.kafka, group).committed,
            opened=self._opened,
            clock=clock,
            metrics=metrics,
            watch=self._beat,
            on_failure=on_failure,
        )
        self._transactions = TransactionManager(
            settings.kafka,
            transactional_id=identity,
            address=address,
            interval_seconds=settings.worker.commit_interval_seconds,
            ledger=self.ledger,
            metadata=self._membership.metadata,
            rewound=self._reopen,
            has_duplicate_member=self._has_duplicate_member,
            keep=self._state.commit,
            events=topics[0],
            clock=clock,
            metrics=metrics,
        )
        self._lane = SerialExecutor(
            "transactions",
            due=self._due,
            on_due=self._transactions.commit,
            beat=self._beat("transactions", settings.worker.stuck_deadline_seconds),
            on_failure=on_failure,
        )
        self._opener = TaskInitializer(
            GroupClient(settings.kafka, group),
            self.ledger,
            me=identity,
            outputs=outputs,
            upkeep=upkeep,
            reset=settings.kafka.reset,
            monotonic=clock.monotonic,
            settle=self._settle,
            claim=self._claim,
            claimed=self._state.claimed,
            beat=self._beat("opener", settings.worker.stuck_deadline_seconds),
            on_failure=on_failure,
        )
        self._monitor = threading.Thread(target=self._watch, name="monitor", daemon=True)

    def start(self) -> None:
        """Start the threads and join the group. Blocks until the brokers were found."""
        self._lane.start()
        prepared = self._lane.submit(self._transactions.prepare)
        self._fetcher.start(list(self._topics))
        prepared.result()
        self._state.start()
        self._opener.start()
        self._membership.start()
        self._monitor.start()

    def standings(self) -> dict[TopicPartition, tuple[int, tuple[int, int] | None]]:
        """Return what is committed of each source of an open task, and offset and time (ms) of its oldest record.

        That is the oldest one of those fetched and not committed, None if there are none.
        """
        waiting = self.inbox.heads()  # before the ledger: a record moves from the one to the other
        return {source: (at, head or waiting.get(source)) for source, (at, head) in self.ledger.standings().items()}

    def stop(self) -> None:
        """Commit what is open, leave the group, end the threads. What is left then is nothing to be redone."""
        self._stopping.set()
        self._membership.stop(self._settings.worker.close_deadline_seconds + STOP_SECONDS)
        self._opener.stop(STOP_SECONDS)
        self._lane.stop(STOP_SECONDS)
        self._fetcher.stop(STOP_SECONDS)
        self._state.stop(STOP_SECONDS)

    def abandon(self) -> None:
        """Abort what is open and leave the group, as well as that can be done: the process is about to end."""
        self._stopping.set()
        self.lost([task.partition for task, _, _, _, _ in self.ledger.snapshot()])
        self._membership.stop(STOP_SECONDS)

    # What the host calls, one work at a time.

    def take(self) -> TaskBatch | None:
        """Hand out a batch of what waits; None if nothing does."""
        while self.inbox:
            work, broken = self.ledger.hand_out(self.inbox.take(self._settings.worker.batch_rows_max))
            if broken:
                log.warning("records did not follow on one another; reopening %s", broken)
                self._reopen(broken)
            if work.slices:
                for piece in work.slices:
                    for run in piece.runs:
                        self._metrics.events_received.add(len(run), topic=run.source.topic)
                return work
        return None

    def patience(self) -> float:
        """Return for how many seconds the next batch may gather before it is asked again; 0: take it now."""
        rows = self.inbox.rows
        if self._lane.waiting and rows < self._settings.worker.batch_rows_max:
            return LOOK_AGAIN_SECONDS  # an emission waits for the commit under way; the next one would wait behind it
        return self._transactions.patience(rows)

    def submit(self, work: TaskBatch, emission: BatchOutput | None) -> Future[bool]:
        """Put the outputs of a work into the open transaction; it is committed when it is time.

        None: it came to nothing that may count, and its tasks go back.
        """

        def emit() -> bool:
            emitted = self._transactions.emit(work, emission)
            # What waits already goes into the same transaction: a commit costs the same for two batches as for one.
            now = self._state.full or self.ledger.closing
            if now or (not self._lane.waiting and (due := self._due()) is not None and due <= 0):
                self._transactions.commit()
            return emitted

        return self._lane.submit(emit)

    # What the group tells, in the membership's thread.

    def gained(self, partitions: list[int]) -> None:
        """Own these partitions also."""
        self._metrics.rebalances.add(1, change="assigned")
        task_epochs = self.ledger.gain(partitions)
        log.info("gained partitions %s", sorted(partitions))
        self._observer.moved("gained", partitions)
        self._opener.open(task_epochs)

    def revoked(self, partitions: list[int]) -> None:
        """Commit what is open of these partitions, within the deadline, and give them up."""
        self._metrics.rebalances.add(1, change="revoked")
        started = self._clock.monotonic()
        self.ledger.revoke(partitions)
        self._forget(partitions)
        self._lane.submit(self._transactions.commit)
        with self.ledger.changed:
            self.ledger.changed.wait_for(
                lambda: not self.ledger.outstanding(partitions),
                timeout=self._settings.worker.close_deadline_seconds,
            )
            left = self.ledger.close(partitions)
        if left:
            self._abort(f"partitions {sorted(partitions)} could not be committed before they were given up")
        self._state.close(self.ledger.ids(partitions))
        self._metrics.rebalance_pause_seconds.observe(self._clock.monotonic() - started)
        log.info("gave up partitions %s", sorted(partitions))
        self._observer.moved("gave up", partitions)

    def lost(self, partitions: list[int]) -> None:
        """Commit nothing of these partitions: others may own them."""
        self._metrics.rebalances.add(1, change="lost")
        left = self.ledger.lose(partitions)
        self._forget(partitions)
        if left:
            self._abort(f"partitions {sorted(partitions)} were lost")
        self._state.close(self.ledger.ids(partitions))
        log.warning("lost partitions %s", sorted(partitions))
        self._observer.moved("lost", partitions)

    def _forget(self, partitions: list[int]) -> None:
        sources = self.ledger.sources(partitions)
        self._fetcher.drop(sources).result(timeout=STOP_SECONDS)
        self.inbox.discard(self.ledger.ids(partitions))
        for source in sources:
            self._metrics.lag_records.remove(topic=source.topic, partition=str(source.partition))
        self._lag.forget(sources)

    def _abort(self, why: str) -> None:
        try:
            self._lane.submit(lambda: self._transactions.abort(why)).result(
                timeout=self._settings.worker.close_deadline_seconds
            )
        except TimeoutError:
            # The offsets of what is open cannot be committed any more: this worker is no member by now.
            log.warning("still aborting: %s", why)

    # Opening and going back.

    def _settle(self, mine: set[OutputPartition], others: set[OutputPartition], group: Any) -> bool:
        return self._lane.submit(lambda: self._transactions.settle(mine, others, group)).result()

    def _claim(self, starts: dict[TaskEpoch, dict[TopicPartition, int]]) -> bool:
        return self._lane.submit(lambda: self._transactions.claim(starts)).result()

    def _opened(self, task_epoch: TaskEpoch, offsets: dict[TopicPartition, int]) -> None:
        if self.ledger.open(task_epoch, offsets):
            task, epoch = task_epoch
            self._fetcher.assign({source: FetchPosition(task, epoch, offset) for source, offset in offsets.items()})
            self._observer.moved("opened", [task.partition])

    def _reopen(self, task_epochs: list[TaskEpoch], after_seconds: float = 0.0) -> None:
        if task_epochs:
            partitions = [task.partition for task, _ in task_epochs]
            self._state.drop(task_epochs)
            self._fetcher.drop(self.ledger.sources(partitions))
            self.inbox.discard({task for task, _ in task_epochs})
            self._opener.open(task_epochs, after_seconds)

    def _trouble(self, source: TopicPartition, what: str) -> None:
        log.warning("%s cannot be read on: %s; reopening", source, what)
        self._reopen(self.ledger.reopen(source))

    def _has_duplicate_member(self) -> bool:
        try:
            return self._ground.duplicate_members(self._identity, self._membership.member_id, 5.0)
        except KafkaException:
            return False

    def _due(self) -> float | None:
        return self._transactions.due(flooded=self.inbox.rows >= self._settings.worker.batch_rows_max)

    # Watching.

    def _watch(self) -> None:
        ends: dict[TopicPartition, int] = {}
        renewed, refreshed = 0.0, self._clock.monotonic()
        while not self._stopping.wait(MONITOR_SECONDS):
            snapshot = self.ledger.snapshot()
            sources = self.ledger.sources(task.partition for task, _, _, _, _ in snapshot)
            try:
                ends = {s: high for s, (_, high) in self._ground.bounds(sources, 5.0).items()} if sources else {}
            except KafkaException as error:
                log.debug("ends are unknown: %s", error)
                ends = {}
            self._report(snapshot, ends)
            self._lag.look(sources, ends)
            self._observer.looked(ends)
            now = self._clock.monotonic()
            worker = self._settings.worker
            why = stuck_task(now, snapshot, ends, worker.stuck_deadline_seconds) or hung_call(
                now, self._call_started_at(), self._settings.model.call_deadline_seconds
            )
            if not self.inbox and not self.ledger.in_flight and now > renewed + STALL_SECONDS:
                running = [each for each in snapshot if each[1] is TaskState.RUNNING]
                if stalled := stuck_task(now, running, ends, STALL_SECONDS):
                    log.warning("%s, and nothing of it arrives; reading on with a new consumer", stalled)
                    self._fetcher.renew()
                    renewed = now
            if len(self._topics) > 1 and now > refreshed + REFRESH_SECONDS:
                refreshed = now
                self._lane.submit(self._transactions.refresh)
            if why is not None:
                self._on_failure(Stuck(f"{why}; nothing of it was committed"))
                return

    def _report(self, snapshot: list[Snapshot], ends: dict[TopicPartition, int]) -> None:
        states = [state for _, state, _, _, _ in snapshot]
        self._metrics.tasks.replace({(state,): states.count(state) for state in TaskState})
        self._metrics.buffered_rows.set(self.inbox.rows)
        self._metrics.events_in_flight.set(self.ledger.in_flight)
        self._metrics.lag_records.replace(
            {
                (source.topic, str(source.partition)): max(0, ends[source] - offset)
                for _, _, _, _, committed in snapshot
                for source, offset in committed.items()
                if source in ends
            }
        )
        coming = {TaskState.OPENING, TaskState.RESTORING} & set(states)
        self._health.set("tasks", not coming, "tasks are being opened or restored")
        self._state.report()

    def _moved(self, _task: TaskId, before: TaskState, now: TaskState) -> None:
        self._metrics.task_transitions.add(1, from_state=before, to_state=now)

    def _beat(self, part: str, deadline_seconds: float) -> Callable[[], None]:
        self._health.watch(part, deadline_seconds=deadline_seconds)
        return lambda: self._health.beat(part)
