"""The runtime of a worker: creates its threads and starts the task manager's actions in them. Independent of Faust.

Threads: *membership* (rebalances), *fetcher* (reads records), *initializer* and *fence* (broker queries before a task
runs), *restorer* (reads changelogs), *transactions* (produces, commits), *monitor* (lag, watchdog). The host's thread
computes, one batch at a time. Threads post their results into the mailbox.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from surgetank.batch_sizing import BatchSizer
from surgetank.clock import Clock
from surgetank.errors import LostIdentity
from surgetank.kafka import provisioning
from surgetank.kafka.group_client import GroupClient
from surgetank.kafka.offset_owner import OffsetOwner, short
from surgetank.kafka.task_limit import TaskLimit
from surgetank.records import BatchOutput, ModelVersion, TaskId, TopicPartition
from surgetank.runtime import task_actions as act
from surgetank.runtime.batch_assembler import BatchAssembler
from surgetank.runtime.batch_timer import BatchTimer
from surgetank.runtime.event_clock import EventClock
from surgetank.runtime.fetch_thread import FetchThread
from surgetank.runtime.fetcher import Fetcher, FetchPosition
from surgetank.runtime.foreign_members import ForeignMembersCheck
from surgetank.runtime.group_membership import GroupMembership
from surgetank.runtime.held_positions import Positions, held_positions
from surgetank.runtime.known_schemas_order import KnownSchemasOrder, SchemaGate
from surgetank.runtime.mailbox import Mailbox
from surgetank.runtime.observer import RuntimeObserver
from surgetank.runtime.rebalance_listener import TaskRebalanceListener
from surgetank.runtime.record_order import ArrivalOrder
from surgetank.runtime.record_queues import RecordQueues
from surgetank.runtime.refused_logins import RefusedLogins
from surgetank.runtime.serial_executor import SerialExecutor
from surgetank.runtime.source_topics import SourceTopics
from surgetank.runtime.state_lifecycle import StateLifecycle
from surgetank.runtime.table_check import check_tables
from surgetank.runtime.task_actions import ManagerAction
from surgetank.runtime.task_batch import TaskBatch
from surgetank.runtime.task_events import (
    DeadlinePassed,
    FetchFailed,
    InitializationFailed,
    OffsetsExpiring,
    StopAsked,
    TransactionsSettled,
)
from surgetank.runtime.task_initializer import ProcessedOffsets, TaskInitializer
from surgetank.runtime.task_manager import TaskManager
from surgetank.runtime.transaction_manager import TransactionManager
from surgetank.runtime.worker_monitor import LagReporter, ModelCalls, WorkerMonitor
from surgetank.runtime.written_partitions import WrittenPartitions
from surgetank.settings import Settings
from surgetank.state.state_manager import StateManager
from surgetank.telemetry.health import Health
from surgetank.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0


class WorkerRuntime:
    """Owns tasks of one pipeline.

    ``topics`` are the source topics, the events first, ``topic_ids`` their ids; ``written`` says where the tasks write.
    Of the outputs only ``dead_letters`` is compressed. ``task_limit`` bounds the number of tasks; ``processed`` is that
    of ``TaskInitializer``. ``stores`` is None for a pipeline without tables; ``address`` is this worker's HTTP address,
    ``model`` the model that it serves at first. ``on_failure`` is called, from any thread, with the error that ends the
    worker. ``output_batch_bytes_max`` is the size of a batch of records that every output topic takes;
    ``batch_sizer`` decides the size of the next batch; ``lag`` evaluates the positions of tasks.
    ``schema_gate`` holds records back until their schemas are known; None: none is held back.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        pipeline: str,
        group: str,
        topics: tuple[str, ...],
        written: WrittenPartitions,
        dead_letters: str,
        migration: str,
        stores: StateManager | None,
        task_limit: TaskLimit,
        identity: str,
        address: str,
        model: ModelVersion,
        topic_ids: Mapping[str, str],
        processed: ProcessedOffsets,
        clock: Clock,
        event_clock: EventClock,
        metrics: Metrics,
        health: Health,
        on_failure: Callable[[BaseException], None],
        output_batch_bytes_max: int,
        batch_sizer: BatchSizer,
        model_calls: ModelCalls,
        lag: LagReporter,
        observer: RuntimeObserver,
        schema_gate: SchemaGate | None = None,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._written = written
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._on_failure = on_failure
        self._deadlines: dict[str, float] = {}  # of heartbeats, in seconds
        self._lag = lag
        self._observer = observer
        kafka, worker = settings.kafka, settings.worker
        manager = TaskManager(
            {pipeline: topics},
            identity=identity,
            interval_seconds=worker.commit_interval_seconds,
            batch_rows_max=batch_sizer.rows_max,
            backlog_rows=batch_sizer.backlog_rows,
            close_deadline_seconds=worker.close_deadline_seconds,
        )
        self._mailbox = mailbox = Mailbox(manager, clock.monotonic)
        order = ArrivalOrder() if schema_gate is None else KnownSchemasOrder(schema_gate)
        self.records = RecordQueues(worker.buffered_rows_max, worker.buffered_kilobytes_max << 10, order)
        if schema_gate is not None:
            schema_gate.when_changed(self.records.wake)
        self._listener = TaskRebalanceListener(
            mailbox,
            pipeline=pipeline,
            close_deadline_seconds=worker.close_deadline_seconds,
            clock=clock,
            metrics=metrics,
            observer=observer,
        )
        refused_logins = RefusedLogins(kafka.bootstrap, clock)
        self._membership = GroupMembership(
            kafka,
            group=group,
            topic=topics[0],
            client_id=identity,
            owner=self._listener,
            tasks=task_limit.tasks,
            advice=task_limit.advice,
            patience_seconds=worker.stuck_deadline_seconds,
            clock=clock,
            beat=self._beat("membership", worker.close_deadline_seconds + 10),
            on_connection_error=refused_logins.met,
            on_failure=on_failure,
        )
        self._fetcher = Fetcher(
            kafka,
            worker,
            group=group,
            client_id=identity,
            queues=self.records,
            on_fetched=event_clock.fetched,
            on_trouble=self._fetch_failed,
            clock=clock,
        )
        self._fetching = FetchThread(self._fetcher, self.records, beat=self._beat("fetcher", 10), on_failure=on_failure)
        timer = BatchTimer(batch_sizer, topics[0], event_clock)
        self._assembler = BatchAssembler(
            worker,
            mailbox,
            self._fetching,
            self.records,
            sizer=batch_sizer,
            timer=timer,
            clock=clock,
            metrics=metrics,
        )
        self._state = StateLifecycle(
            stores,
            settings,
            mailbox,
            client_id=identity,
            group=GroupClient(kafka, group),
            clock=clock,
            metrics=metrics,
            watch=self._beat,
            on_failure=on_failure,
        )
        self._group = GroupClient(kafka, group)
        self._identity = identity
        self._tables = {} if stores is None else {t: short(f) for t, f in stores.spec.fingerprints.items()}
        self._address, self._topic_ids = address, topic_ids
        self._claims: dict[str, str] = {}  # the metadata of committed offsets, by source topic
        self._claim(model)
        self._running = False
        self._source_topics = SourceTopics(topic_ids, partial(provisioning.ids, kafka))
        self._transactions = TransactionManager(
            kafka,
            mailbox,
            transactional_id=identity,
            claims=self._claims,
            batch_bytes_max=output_batch_bytes_max,
            uncompressed=[topic for topic in written.outputs if topic != dead_letters],
            membership=self._membership,
            group=GroupClient(kafka, group),
            records=self.records,
            state=self._state,
            events=topics[0],
            scores=written.outputs[0],
            timer=timer,
            clock=event_clock,
            metrics=metrics,
        )
        self._producer = SerialExecutor(
            "transactions",
            due=self._commit_due,
            on_due=lambda: mailbox.post(DeadlinePassed(self.records.ready_rows)),
            beat=self._beat("transactions", worker.stuck_deadline_seconds),
            on_failure=on_failure,
        )
        self._initializer = TaskInitializer(
            GroupClient(kafka, group),
            mailbox,
            self._state,
            identity=identity,
            claims=self._claims,
            written=written,
            migration=migration,
            reset=kafka.reset,
            topics=self._source_topics,
            processed=processed,
            metrics=metrics,
            event_clock=event_clock,
            beat=self._beat("initializer", worker.stuck_deadline_seconds),
            on_expired=self._records_expired,
            on_failure=on_failure,
        )
        self._monitor = WorkerMonitor(
            settings,
            mailbox,
            group=GroupClient(kafka, group),
            records=self.records,
            fetcher=self._fetcher,
            state=self._state,
            refresh=len(topics) > 1,
            schema_gate=schema_gate,
            model_calls=model_calls,
            lag=lag,
            foreign_members=ForeignMembersCheck(
                GroupClient(kafka, group), pipeline=pipeline, topic=topics[0], metrics=metrics
            ),
            refused_logins=refused_logins,
            observer=observer,
            clock=clock,
            metrics=metrics,
            health=health,
            on_failure=on_failure,
        )
        mailbox.connect(self._start)

    def start(self) -> None:
        """Start the threads and join the group. Block until the brokers are reachable.

        Raises StateMismatch, before it joins, if a worker of the group has other tables.
        """
        check_tables(self._group, self._topics[0], self._tables, identity=self._identity, pause=threading.Event().wait)
        for part, deadline_seconds in self._deadlines.items():
            self._health.watch(part, deadline_seconds=deadline_seconds)
        self._producer.start()
        prepared = self._producer.submit(self._transactions.prepare)
        self._fetcher.look_up(list(self._topics))
        self._fetching.start()
        prepared.result()
        self._running = True  # before any task runs, which commits the claims of that moment
        self._state.start()
        self._initializer.start()
        self._membership.start()
        self._monitor.start()

    def serve(self, model: ModelVersion) -> None:
        """Name this model in the metadata of all offsets from now on, and commit those of running tasks again.

        For any thread.
        """
        self._claim(model)
        if self._running:
            self._mailbox.post(OffsetsExpiring())

    def positions(self) -> Positions:
        """Return the position of each partition of a running task."""
        return held_positions(self._mailbox, self.records)

    def stop(self) -> None:
        """Commit the open transaction, leave the group and end the threads, so that no work must be repeated."""
        self._running = False
        self._monitor.stop()
        self._mailbox.post(StopAsked())
        self._membership.stop(self._settings.worker.close_deadline_seconds + STOP_SECONDS)
        self._initializer.stop(STOP_SECONDS)
        self._producer.stop(STOP_SECONDS)
        self._fetching.stop(STOP_SECONDS)
        self._state.stop(STOP_SECONDS)

    def abandon(self) -> None:
        """Abort the open transaction and leave the group, best effort, before the process ends."""
        self._monitor.stop()
        self._listener.lose_all()
        self._membership.stop(STOP_SECONDS)

    def next_batch(self, timeout: float) -> TaskBatch | None:
        """Fetch and return a batch; None if there was none within ``timeout`` seconds. Block the calling thread."""
        return self._assembler.next_batch(timeout)

    def submit(self, batch: TaskBatch, output: BatchOutput | None) -> None:
        """Put the outputs of a batch into the open transaction; None: rewind its tasks to the committed offsets."""
        self._assembler.submit(batch, output)

    def _claim(self, model: ModelVersion) -> None:
        for topic in self._topics:
            owner = OffsetOwner(self._identity, self._address, self._topic_ids[topic], self._tables, model)
            self._claims[topic] = owner.metadata()

    # Actions of the manager. They must not block and must not post events, because the mailbox is locked.

    def _start(self, action: ManagerAction) -> None:
        match action:
            case act.FindOwners() | act.ResolveOffsets() | act.RestoreState():
                self._initializer.ask(action)
            case act.FenceOwner():
                self._initializer.fence(action)
            case act.SettleTransactions():
                self._producer.submit(partial(self._settle, action))
            case act.ProduceBatch():
                self._producer.submit(partial(self._produce, action.batch))
            case act.CommitTransaction():
                self._producer.submit(self._transactions.commit)
            case act.AbortTransaction():
                self._producer.submit(partial(self._transactions.abort, action.reason))
            case act.StartFetching():
                task, epoch = action.task
                self._fetcher.assign({s: FetchPosition(task, epoch, offset) for s, offset in action.offsets.items()})
                self._observer.moved("opened", [task.partition])
            case act.StopFetching():
                self._fetcher.drop(self._sources(action.tasks))
                self.records.discard(set(action.tasks))
            case act.DropOverlay():
                self._state.drop([action.task])
            case act.CloseStores():
                self._close(action.tasks)
            case act.ReportTransition():
                self._metrics.task_transitions.add(1, from_state=action.before, to_state=action.after)
            case act.LeaveGroup():
                self._membership.leave()
            case act.EndProcess():
                self._on_failure(LostIdentity(action.message))
            case act.ProcessBatch() | act.SendOffsets():
                pass  # the caller that posted the event executes these

    def _close(self, tasks: tuple[TaskId, ...]) -> None:
        self._state.close(tasks)
        sources = self._sources(tasks)
        for source in sources:
            self._metrics.lag_records.remove(topic=source.topic, partition=str(source.partition))
        self._lag.forget(sources)

    def _sources(self, tasks: Iterable[TaskId]) -> list[TopicPartition]:
        return [TopicPartition(topic, task.partition) for task in tasks for topic in self._topics]

    # Actions that other threads execute.

    def _produce(self, number: int) -> None:
        self._transactions.produce(*self._assembler.computed(number))

    def _settle(self, action: act.SettleTransactions) -> None:
        mine, others = ([task.partition for task in tasks] for tasks in (action.mine, action.others))
        settled = self._transactions.settle(self._written.swept_for(mine), self._written.of_tasks(others))
        answer = TransactionsSettled(action.tasks) if settled else InitializationFailed(action.tasks)
        self._mailbox.post(answer)

    def _commit_due(self) -> float | None:
        due = self._mailbox.ask(lambda manager: manager.commit_due(self.records.ready_rows))
        return None if due is None else due - self._clock.monotonic()

    def _fetch_failed(self, source: TopicPartition, what: str) -> None:
        log.warning("%s cannot be read on: %s; reopening", source, what)
        self._source_topics.doubt()
        for task in self._mailbox.ask(lambda manager: manager.tasks.running(source)):
            self._mailbox.post(FetchFailed(source, task))

    def _records_expired(self, source: TopicPartition, records: int) -> None:
        self._metrics.events_expired.add(records, topic=source.topic)
        self._observer.expired(source, records)

    def _beat(self, part: str, deadline_seconds: float) -> Callable[[], None]:
        """Return a function that sends the heartbeat of a part, which is expected from ``start`` on."""
        self._deadlines[part] = deadline_seconds
        return lambda: self._health.beat(part)
