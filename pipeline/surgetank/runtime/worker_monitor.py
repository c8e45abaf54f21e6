"""Checks a worker every 2 s in a separate thread: reports its lag, its tasks and foreign members of its group, replaces
the consumer of a stalled fetcher, and ends the process if a task or a model call makes no progress.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from confluent_kafka import KafkaException

from surgetank.clock import Clock
from surgetank.errors import Stuck
from surgetank.kafka.group_client import GroupClient
from surgetank.records import TaskId, TopicPartition
from surgetank.runtime.fetcher import Fetcher
from surgetank.runtime.foreign_members import ForeignMembersCheck
from surgetank.runtime.held_positions import Positions, held_positions
from surgetank.runtime.known_schemas_order import SchemaGate
from surgetank.runtime.mailbox import Mailbox
from surgetank.runtime.observer import RuntimeObserver
from surgetank.runtime.record_queues import RecordQueues
from surgetank.runtime.refused_logins import RefusedLogins
from surgetank.runtime.state_lifecycle import StateLifecycle
from surgetank.runtime.task_events import OffsetsExpiring
from surgetank.runtime.task_registry import TaskSnapshot
from surgetank.runtime.task_state import TaskState
from surgetank.runtime.watchdog import StuckTaskDetector, hung_call
from surgetank.settings import Settings
from surgetank.telemetry.health import Health
from surgetank.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

MONITOR_SECONDS = 2.0
CALL_SECONDS = 5.0
WAITING_SHOWN = 10
STALL_SECONDS = 10.0  # longer than a leader election takes
# The brokers expire offsets of topics without a subscribed member, after seven days by default, even if no record was
# written meanwhile. No member subscribes to topics of facts.
REFRESH_SECONDS = 3600.0


class LagReporter(Protocol):
    """Evaluates the lag of the owned partitions; called by the monitor, and when partitions are released."""

    def unchanged(self, ends: Mapping[TopicPartition, int]) -> list[TopicPartition]:
        """Return the partitions whose last stable offset did not change: only these can be held back."""
        ...

    def look(
        self,
        owned: Collection[TopicPartition],
        ends: Mapping[TopicPartition, int],
        high_watermarks: Mapping[TopicPartition, int],
        positions: Positions,
    ) -> None:
        """Evaluate the owned partitions, in any task state. ``ends``: the known last stable offsets.

        ``high_watermarks`` are those of partitions whose last stable offset did not change. ``positions`` are the
        committed offsets and the oldest uncommitted records of the running tasks.
        """
        ...

    def forget(self, sources: Iterable[TopicPartition]) -> None:
        """Stop reporting these partitions."""
        ...


class ModelCalls(Protocol):
    """The model calls in progress."""

    @property
    def started_at(self) -> float | None:
        """Start of the oldest call in progress in monotonic seconds; None if there is none."""
        ...


class WorkerMonitor:
    """Monitors one worker.

    ``refresh``: whether offsets must be committed again periodically, because some topics are read without a
    subscription. ``schema_gate``: what tasks wait for that wait although they have records; None: nothing.
    """

    def __init__(
        self,
        settings: Settings,
        mailbox: Mailbox,
        *,
        group: GroupClient,
        records: RecordQueues,
        fetcher: Fetcher,
        state: StateLifecycle,
        refresh: bool,
        schema_gate: SchemaGate | None,
        model_calls: ModelCalls,
        lag: LagReporter,
        foreign_members: ForeignMembersCheck,
        refused_logins: RefusedLogins,
        observer: RuntimeObserver,
        clock: Clock,
        metrics: Metrics,
        health: Health,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._settings = settings
        self._mailbox = mailbox
        self._group = group
        self._records = records
        self._fetcher = fetcher
        self._state = state
        self._refresh = refresh
        self._schema_gate = schema_gate
        self._model_calls = model_calls
        self._lag = lag
        self._foreign_members = foreign_members
        self._refused_logins = refused_logins
        self._observer = observer
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._on_failure = on_failure
        self._stuck = StuckTaskDetector(settings.worker.stuck_deadline_seconds)
        self._stalled = StuckTaskDetector(STALL_SECONDS)
        self._refused = False  # whether the last check found the connections refused
        self._renewed_at = 0.0
        self._refreshed_at = clock.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; do not wait for it."""
        self._stopping.set()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(MONITOR_SECONDS):
                if (why := self._look()) is not None:
                    self._on_failure(Stuck(f"{why}; nothing of it was committed"))
                    return
        except BaseException as error:  # noqa: BLE001 - a thread must not end without a report
            self._on_failure(error)

    def _look(self) -> str | None:
        """Run one check; return a message if a task or a model call is stuck, else None."""
        tasks = self._mailbox.ask(lambda manager: manager.tasks.snapshot())
        sources = self._mailbox.ask(lambda manager: manager.tasks.sources(each.task for each in tasks))
        ends, high = self._ends(sources)
        self._report(tasks, ends)
        self._report_refusal(answered=bool(ends))
        self._lag.look(sources, ends, high, held_positions(self._mailbox, self._records))
        self._observer.looked(ends)
        now = self._clock.monotonic()
        waiting = self._waiting()
        tasks = [each for each in tasks if each.task not in waiting]  # they make no progress for a known reason
        self._renew_stalled(tasks, ends, now)
        self._foreign_members.look(now)
        if self._refresh and now > self._refreshed_at + REFRESH_SECONDS:
            self._refreshed_at = now
            self._mailbox.post(OffsetsExpiring())
        return self._stuck.check(now, tasks, ends) or hung_call(
            now, self._model_calls.started_at, self._settings.model.call_deadline_seconds
        )

    def _ends(self, sources: list[TopicPartition]) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Return the last stable offsets, and the high watermarks where these did not change; empty if unknown."""
        try:
            bounds = self._group.bounds(sources, CALL_SECONDS) if sources else {}
        except KafkaException as error:
            log.debug("ends are unknown: %s", error)
            return {}, {}
        ends = {source: stable for source, (_, stable) in bounds.items()}
        try:
            return ends, self._group.high_watermarks(self._lag.unchanged(ends), CALL_SECONDS)
        except KafkaException as error:
            log.debug("high watermarks are unknown: %s", error)
            return ends, {}

    def _renew_stalled(self, tasks: list[TaskSnapshot], ends: Mapping[TopicPartition, int], now: float) -> None:
        if not ends:  # the time without progress goes on: a consumer may stall in the outage that hides the ends
            return
        running = [each for each in tasks if each.state is TaskState.RUNNING]
        stalled = self._stalled.check(now, running, ends)
        if self._records or now <= self._renewed_at + STALL_SECONDS:
            return
        if self._mailbox.ask(lambda manager: manager.tasks.in_flight):
            return
        if stalled:
            log.warning("%s, and nothing of it arrives; reading on with a new consumer", stalled)
            self._fetcher.renew()
            self._renewed_at = now

    def _waiting(self) -> set[TaskId]:
        """Return the tasks that wait for the schemas of their records, after reporting them."""
        if self._schema_gate is None:
            return set()
        waiting = self._records.waiting()
        self._metrics.tasks_waiting.set(len(waiting))
        names = ", ".join(map(str, sorted(waiting)[:WAITING_SHOWN])) + (", ..." if len(waiting) > WAITING_SHOWN else "")
        self._health.set("schemas", not waiting, f"tasks {names} wait: {self._schema_gate.why_waiting()}")
        return waiting

    def _report_refusal(self, *, answered: bool) -> None:
        refusal = self._refused_logins.current(answered=answered)
        if refusal is not None:
            self._health.set("group", False, refusal)
        elif self._refused:
            self._health.set("group", True)
        self._refused = refusal is not None

    def _report(self, tasks: list[TaskSnapshot], ends: Mapping[TopicPartition, int]) -> None:
        states = [each.state for each in tasks]
        self._metrics.tasks.replace({(state,): states.count(state) for state in TaskState})
        self._metrics.buffered_rows.set(self._records.rows)
        self._metrics.events_in_flight.set(self._mailbox.ask(lambda manager: manager.tasks.in_flight))
        self._metrics.lag_records.replace(
            {
                (source.topic, str(source.partition)): max(0, ends[source] - offset)
                for each in tasks
                for source, offset in each.committed.items()
                if source in ends
            }
        )
        coming = {TaskState.OPENING, TaskState.RESTORING} & set(states)
        self._health.set("tasks", not coming, "tasks are being opened or restored")
        self._state.report()
