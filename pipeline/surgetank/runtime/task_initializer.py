"""Executes the broker queries of task initialization, and posts the answers.

It has a separate thread, so that a waiting task does not block other work. The task manager decides the order of the
steps; each query here covers all tasks that are due.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from confluent_kafka import KafkaException

from surgetank.errors import BrokerError, OffsetsError, TopicsError
from surgetank.kafka.group_client import GroupClient
from surgetank.kafka.offset_owner import OffsetOwner
from surgetank.records import TaskEpoch, TopicPartition
from surgetank.runtime.event_clock import EventClock
from surgetank.runtime.fencing import fence, stale_owners
from surgetank.runtime.mailbox import Mailbox
from surgetank.runtime.source_topics import SourceTopics
from surgetank.runtime.start_offsets import Bounds, Processed, Start, start_offset
from surgetank.runtime.state_lifecycle import StateLifecycle
from surgetank.runtime.task_actions import FenceOwner, FindOwners, ResolveOffsets, RestoreState
from surgetank.runtime.task_events import InitializationFailed, OffsetsResolved, OwnerFenced, OwnersFound
from surgetank.runtime.written_partitions import WrittenPartitions
from surgetank.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

CALL_SECONDS = 5.0
QUESTION_SECONDS = 1.5  # first timeout, doubled after each failure: after a broker's death the retry uses another one
STABLE_SECONDS = 1.0
STABLE_ALONE_SECONDS = 0.2
# A newly elected leader may report too low an end offset: an offset beyond it is an error only after this time.
BEYOND_SECONDS = 3.0


ProcessedOffsets = Callable[[list[TopicPartition], Callable[[], None]], Mapping[TopicPartition, Processed]]
Question = FindOwners | ResolveOffsets | RestoreState


class TaskInitializer:
    """Executes the queries of initialization. ``identity`` is this worker's name as an owner of offsets.

    ``claims`` are the metadata that it commits with offsets, by source topic; they may change.

    ``written`` says where the tasks write. While the topic ``migration`` exists no task is initialized, because the
    state is being migrated. ``processed`` returns how far the events of partitions were processed, where that is known;
    it is called for offsets that no worker committed, with a function to call when it makes progress. ``on_expired``
    receives the number of records of a partition that retention deleted before they were read.
    """

    def __init__(
        self,
        group: GroupClient,
        mailbox: Mailbox,
        state: StateLifecycle,
        *,
        identity: str,
        claims: Mapping[str, str],
        written: WrittenPartitions,
        migration: str,
        reset: Literal["earliest", "latest"],
        topics: SourceTopics,
        processed: ProcessedOffsets,
        metrics: Metrics,
        event_clock: EventClock,
        beat: Callable[[], None],
        on_expired: Callable[[TopicPartition, int], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._group = group
        self._mailbox = mailbox
        self._state = state
        self._identity = identity
        self._claims = claims
        self._written = written
        self._migration = migration
        self._reset = reset
        self._topics = topics
        self._processed = processed
        self._metrics = metrics
        self._event_clock = event_clock
        self._monotonic = event_clock.monotonic
        self._beat = beat
        self._on_expired = on_expired
        self._on_failure = on_failure
        self._queue: queue.SimpleQueue[tuple[float, Question] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="initializer", daemon=True)
        self._stopping = threading.Event()
        # librdkafka waits half a second between two attempts to fence, which must not delay the queries of other tasks.
        self._fences = ThreadPoolExecutor(1, thread_name_prefix="fence")
        self._failures = 0  # consecutive
        self._owners: dict[TaskEpoch, dict[TopicPartition, OffsetOwner | None]] = {}  # until the offsets are resolved
        self._expired_to: dict[TopicPartition, int] = {}  # the offset up to which expired records were reported
        self._beyond: dict[TopicPartition, float] = {}  # when an offset was first seen that does not fit

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask(self, question: Question) -> None:
        """Execute a query in the initializer's thread, in order of submission, once it is due."""
        after = question.after_seconds if isinstance(question, FindOwners) else 0.0
        self._queue.put((self._monotonic() + after, question))

    def fence(self, action: FenceOwner) -> None:
        """Fence a stale owner in a separate thread."""
        self._fences.submit(self._fence, action)

    def stop(self, timeout: float) -> None:
        """End the thread, within ``timeout`` seconds; tasks that are not initialized yet stay uninitialized."""
        self._stopping.set()
        self._queue.put(None)
        if self._thread.ident is not None:  # else it was never started
            self._thread.join(timeout)

    def _run(self) -> None:
        waiting: list[tuple[float, Question]] = []
        try:
            while not self._stopping.is_set():
                self._beat()
                now = self._monotonic()
                waiting += self._arrived(max(0.0, min([0.5, *(at - now for at, _ in waiting)])))
                now = self._monotonic()
                due = [question for at, question in waiting if at <= now]
                waiting = [(at, question) for at, question in waiting if at > now]
                self._answer(due)
        except BaseException as error:  # noqa: BLE001 - a thread must not end without a report
            self._on_failure(error)

    def _arrived(self, timeout: float) -> list[tuple[float, Question]]:
        arrived: list[tuple[float, Question]] = []
        try:
            entry = self._queue.get(timeout=timeout) if timeout else self._queue.get_nowait()
            while True:
                arrived += [entry] if entry is not None else []
                entry = self._queue.get_nowait()
        except queue.Empty:
            return arrived

    def _answer(self, questions: list[Question]) -> None:
        for question in questions:
            if isinstance(question, RestoreState) and self._current([question.task]):
                self._state.restore(question.task, question.offsets)
        self._try(
            [task for each in questions if isinstance(each, ResolveOffsets) for task in each.tasks], self._resolve
        )
        self._try(
            [task for each in questions if isinstance(each, FindOwners) for task in each.tasks], self._find_owners
        )

    def _try(self, tasks: list[TaskEpoch], step: Callable[[list[TaskEpoch]], None]) -> None:
        """Execute a step for the tasks whose epoch is current; post InitializationFailed if the brokers fail.

        Raises TopicsError while the state is being migrated, and OffsetsError for offsets that do not fit the topics.
        """
        if not (tasks := self._current(tasks)):
            return
        try:
            step(tasks)
        except (KafkaException, BrokerError) as error:
            why = error.args[0]
            log.warning("tasks wait to be opened: %s", why.str() if hasattr(why, "str") else why)
            self._failures += 1
            self._mailbox.post(InitializationFailed(tuple(tasks)))
        else:
            self._failures = 0

    def _current(self, tasks: Iterable[TaskEpoch]) -> list[TaskEpoch]:
        return self._mailbox.ask(lambda manager: [task for task in tasks if manager.tasks.current(task) is not None])

    @property
    def _question_seconds(self) -> float:
        return min(CALL_SECONDS, QUESTION_SECONDS * 2.0**self._failures)

    def _sources(self, tasks: Iterable[TaskEpoch]) -> dict[TaskEpoch, list[TopicPartition]]:
        return self._mailbox.ask(lambda manager: {task: manager.tasks.sources([task.task]) for task in tasks})

    def _find_owners(self, tasks: list[TaskEpoch]) -> None:
        # A migration creates its topic, then checks for members; a member checks for the topic: one detects the other.
        if self._group.exists(self._migration, self._question_seconds):
            raise TopicsError(f"topic {self._migration!r} is there: the state is being changed; start again after that")
        self._topics.check()
        sources = self._sources(tasks)
        found = self._group.offset_owners(
            [source for each in sources.values() for source in each], self._question_seconds
        )
        owners = {source: None if owner is None else owner.transactional_id for source, owner in found.items()}
        self._owners = {task: self._owners[task] for task in self._current(self._owners)}
        self._owners |= {task: {source: found[source] for source in each} for task, each in sources.items()}
        unknown = set(owners.values()) - {None, self._identity}
        stale = stale_owners(unknown, self._group.live(self._question_seconds), self._identity) if unknown else set()
        self._mailbox.post(
            OwnersFound(
                {task: frozenset(owners[source] for source in each) for task, each in sources.items()},
                frozenset(stale),
            )
        )

    def _fence(self, action: FenceOwner) -> None:
        try:
            swept = self._written.swept_for(task.task.partition for task in action.tasks)
            fence(self._group, action.owner, swept, CALL_SECONDS, output=self._written.outputs[0])
        except (KafkaException, BrokerError) as error:
            log.warning("%s cannot be fenced yet: %s", action.owner, error)
            self._mailbox.post(InitializationFailed(action.tasks, action.owner))
        except BaseException as error:  # noqa: BLE001 - a thread must not end without a report
            self._on_failure(error)
        else:
            log.info("fenced %s, which is no longer in the group", action.owner)
            self._mailbox.post(OwnerFenced(action.owner, action.tasks))

    def _resolve(self, tasks: list[TaskEpoch]) -> None:
        sources = self._sources(tasks)
        committed = self._committed(sources)
        starts, outdated = self._starts(committed)
        if waiting := tuple(task for task in tasks if task not in starts):
            self._mailbox.post(InitializationFailed(waiting))
        if starts:
            self._mailbox.post(OffsetsResolved(starts, frozenset(outdated)))

    def _committed(
        self, tasks: dict[TaskEpoch, list[TopicPartition]]
    ) -> Mapping[TaskEpoch, Mapping[TopicPartition, int]]:
        """Return the stable offsets of the tasks; omit tasks with offsets pending in a member's transaction."""
        found = self._group.committed([source for each in tasks.values() for source in each], STABLE_SECONDS)
        if found is not None:
            return {task: {source: found[source] for source in each} for task, each in tasks.items()}
        if len(tasks) == 1:
            return {}
        # One pending offset blocks all others in the same query, so query each task separately.
        alone = {task: self._group.committed(each, STABLE_ALONE_SECONDS) for task, each in tasks.items()}
        return {task: offsets for task, offsets in alone.items() if offsets is not None}

    def _starts(
        self, committed: Mapping[TaskEpoch, Mapping[TopicPartition, int]]
    ) -> tuple[dict[TaskEpoch, dict[TopicPartition, int]], set[TaskEpoch]]:
        """Return the start offsets of tasks, and the tasks of which an offset or its metadata must be claimed again.

        Omit tasks with an offset that does not fit its topic for now.
        """
        bounds = self._bounds([source for at in committed.values() for source in at])
        unclaimed = [source for task, at in committed.items() for source in at if self._owners[task][source] is None]
        processed = self._processed(unclaimed, self._beat) if unclaimed else {}
        claims = {topic: OffsetOwner.of(metadata) for topic, metadata in self._claims.items()}
        starts: dict[TaskEpoch, dict[TopicPartition, int]] = {}
        outdated: set[TaskEpoch] = set()
        for task, offsets in committed.items():
            owners = self._owners.pop(task)
            found = {
                source: start_offset(
                    offset,
                    bounds[source],
                    self._reset,
                    claimed=owners[source] is not None,
                    recreated=self._topics.recreated(source.topic, owners[source]),
                    processed=processed.get(source),
                )
                for source, offset in offsets.items()
            }
            beyond = [source for source, start in found.items() if start.offset is None]
            self._doubt(beyond, found)
            if beyond:
                continue
            for source, start in found.items():
                if start.remark:
                    log.warning("%s: %s", source, start.remark)
                self._report_expired(source, start)
                if offsets[source] >= 0 and owners[source] is None:
                    self._metrics.foreign_offsets.add(1, topic=source.topic)
                self._metrics.events_skipped.add(start.skipped, topic=source.topic)
                self._metrics.events_repeated.add(start.repeated, topic=source.topic)
            starts[task] = {source: start.offset for source, start in found.items() if start.offset is not None}
            if starts[task] != offsets or any(owners[source] != claims[source.topic] for source in offsets):
                outdated.add(task)
        return starts, outdated

    def _report_expired(self, source: TopicPartition, start: Start) -> None:
        """Report expired records once, also if the task is initialized again before it commits."""
        if start.offset is not None and start.expired:
            since = max(start.offset - start.expired, self._expired_to.get(source, 0))
            self._expired_to[source] = start.offset
            if start.offset > since:
                self._on_expired(source, start.offset - since)

    def _bounds(self, sources: list[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return the bounds of the partitions. Query the high watermark last, so that it is not the lower offset."""
        stable = self._group.bounds(sources, self._question_seconds)
        high = self._group.high_watermarks(sources, self._question_seconds)
        self._event_clock.opened(high)
        return {source: Bounds(*stable[source], high[source]) for source in sources}

    def _doubt(self, beyond: list[TopicPartition], found: dict[TopicPartition, Start]) -> None:
        """Raise OffsetsError if an offset has not fitted its topic for ``BEYOND_SECONDS``."""
        now = self._monotonic()
        self._beyond = {s: at for s, at in self._beyond.items() if s not in found} | {
            source: self._beyond.get(source, now) for source in beyond
        }
        for source in beyond:
            if now - self._beyond[source] >= BEYOND_SECONDS:
                group = self._group.group_id
                raise OffsetsError(
                    f"{source}: {found[source].remark}: offsets were set or deleted by hand or have expired, the "
                    "brokers lost records, or the topic was made anew while a worker ran. Which events are still to be "
                    f"processed is not known here: set the offsets of group {group!r} to where it must go on "
                    f"(kafka-consumer-groups --group {group} --topic {source.topic} --reset-offsets --execute with "
                    "--to-earliest, --to-latest or --to-offset), then start again"
                )
