"""Restores the state of tasks from their changelogs, several at a time, through a consumer that is in no group.

A changelog is read until the read_committed position reaches the *high watermark* as of the read of the committed
offsets, which is after all records that belong to them. Positions come from end-of-partition events, because the
last records may be markers or removed by compaction.

The table version is checked at the end: rows of another version stay in the log until compaction removes them, and
are ignored if every such key was written again later. The same holds for rows that include events at or after the
start offsets.

An interrupted restore continues: rows and positions are written atomically, and the task's source positions are
written last, so a store without them, or with old ones, is never treated as complete.
"""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.clock import Clock
from surgetank.errors import StateClosed, StateCorrupt, StateMismatch
from surgetank.kafka import clients
from surgetank.records import TaskEpoch, TopicPartition
from surgetank.runtime.included_offsets import included
from surgetank.runtime.poll_result import by_partition, split_poll_result
from surgetank.runtime.restore_plan import rest, restore_plan
from surgetank.settings import KafkaSettings
from surgetank.state.changelog import ChangelogReader
from surgetank.state.state_manager import StateManager
from surgetank.state.store import Store
from surgetank.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

CALL_SECONDS = 5.0
POLL_SECONDS = 0.05
ROWS = 4096  # per write, which holds the GIL for some milliseconds
FETCH_BYTES = 4 << 20  # per partition and fetch response; librdkafka's default of 1 MiB is consumed too quickly
AGAIN_SECONDS = 0.5
TELL_SECONDS = 5.0


@dataclass(slots=True)
class _Part:
    """A changelog partition that is being read: the next offset and the target offset.

    ``whole``: whether it is read from its first offset.
    """

    table: str
    position: int
    target: int
    whole: bool
    reading: ChangelogReader


@dataclass(slots=True)
class _Job:
    """A task that is being restored. ``starts`` are its start offsets by source partition."""

    task_epoch: TaskEpoch
    starts: dict[TopicPartition, int]
    since: float
    not_before: float = 0.0
    store: Store | None = None
    parts: dict[TopicPartition, _Part] = field(default_factory=dict)
    done: list[_Part] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    records: int = 0


class ChangelogRestorer:
    """Restores the state of tasks to their committed offsets, in a separate thread.

    ``wanted`` returns whether a task epoch still waits for its state; ``restored`` is called in this thread when the
    state is complete, ``moved`` after progress. ``running`` returns the running part of the tasks, see ``rest``.
    ``committed`` returns stable committed offsets by partition within a timeout in seconds; None while any is unstable.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        state_manager: StateManager,
        *,
        client_id: str,
        share: float,
        committed: Callable[[list[TopicPartition], float], dict[TopicPartition, int] | None],
        wanted: Callable[[TaskEpoch], bool],
        moved: Callable[[TaskEpoch], None],
        restored: Callable[[TaskEpoch, dict[TopicPartition, int]], None],
        running: Callable[[], float],
        clock: Clock,
        metrics: Metrics,
        beat: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._make: Callable[[], Consumer] = lambda: clients.reader(
            kafka,
            group_id="surgetank-restorer",
            client_id=f"{client_id}-restorer",
            enable_partition_eof=True,
            auto_offset_reset="error",
            fetch_queue_backoff_ms=5,
            fetch_error_backoff_ms=100,
            fetch_wait_max_ms=100,
            fetch_message_max_bytes=FETCH_BYTES,
        )
        self._ask: Callable[[], Consumer] = lambda: clients.reader(
            kafka, group_id="surgetank-restorer", isolation_level="read_uncommitted"
        )
        self._state_manager = state_manager
        self._tables = {topic: table for table, topic in state_manager.spec.changelogs.items()}
        self._share = share
        self._committed = committed
        self._wanted = wanted
        self._moved = moved
        self._restored = restored
        self._running = running
        self._clock = clock
        self._metrics = metrics
        self._beat = beat
        self._on_failure = on_failure
        self._arriving: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting: list[_Job] = []
        self._jobs: dict[TaskEpoch, _Job] = {}
        self._consumer: Consumer | None = None
        self._asked: Consumer | None = None
        self._told_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="restorer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def restore(self, task_epoch: TaskEpoch, starts: dict[TopicPartition, int]) -> None:
        """Restore the state of a task to these committed offsets."""
        self._arriving.put(_Job(task_epoch, starts, self._clock.monotonic()))

    def stop(self, timeout: float) -> None:
        """End the thread, within ``timeout`` seconds; an unfinished restore can continue later."""
        self._stopping.set()
        self._arriving.put(None)
        if self._thread.ident is not None:  # else it was never started
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._beat()
                self._arrived(0.0 if self._jobs else POLL_SECONDS if self._waiting else 0.5)
                self._forsake()
                self._begin_due()
                if self._jobs:
                    self._advance()
        except BaseException as error:  # noqa: BLE001 - a thread must not end without a report
            self._on_failure(error)
        finally:
            for consumer in (self._consumer, self._asked):
                if consumer is not None:
                    consumer.close()

    def _arrived(self, timeout: float) -> None:
        try:
            job = self._arriving.get(timeout=timeout) if timeout else self._arriving.get_nowait()
            while True:
                self._waiting += [job] if job is not None else []
                job = self._arriving.get_nowait()
        except queue.Empty:
            return

    def _forsake(self) -> None:
        """Cancel the jobs of task epochs that have ended."""
        self._waiting = [job for job in self._waiting if self._wanted(job.task_epoch)]
        for job in [job for job in self._jobs.values() if not self._wanted(job.task_epoch)]:
            self._leave(job)

    def _begin_due(self) -> None:
        now = self._clock.monotonic()
        due = [job for job in self._waiting if job.not_before <= now]
        for job in due:
            self._beat()
            self._waiting.remove(job)
            if not self._wanted(job.task_epoch):
                continue
            try:
                self._begin(job)
            except StateClosed:
                log.debug("%s was given up before it was restored", job.task_epoch[0])
            except StateCorrupt as error:
                self._state_manager.mark_corrupted(job.task_epoch[0].partition, str(error))
                self._again(job, str(error))
            except KafkaException as error:
                self._again(job, error.args[0].str())

    def _begin(self, job: _Job) -> None:
        store = self._still(job, self._state_manager.open(job.task_epoch))
        bounds = self._bounds(job.task_epoch[0].partition)
        starts = {source.topic: at for source, at in job.starts.items()}
        found = restore_plan(store.positions(), store.restoring(), starts, bounds)
        if found.drop is not None:
            store = self._still(job, self._state_manager.renew(job.task_epoch, found.drop))
        store.begin_restore(starts)
        job.store = store
        job.ends = {topic: max(high, 0) for topic, (_, high) in bounds.items()}
        job.parts = {
            TopicPartition(topic, job.task_epoch[0].partition): self._part(topic, start, bounds[topic], starts)
            for topic, start in found.start.items()
        }
        self._jobs[job.task_epoch] = job
        if not job.parts:
            self._finish(job)
            return
        if self._consumer is None:
            self._consumer = self._make()
        self._consumer.incremental_assign(
            [KafkaTopicPartition(*source, part.position) for source, part in job.parts.items()]
        )

    def _part(self, topic: str, start: int, bounds: tuple[int, int], starts: dict[str, int]) -> _Part:
        table, (low, high) = self._tables[topic], bounds
        spec = self._state_manager.spec
        return _Part(table, start, high, start <= low, ChangelogReader(spec.serdes[table], starts[spec.sources[table]]))

    def _still(self, job: _Job, store: Store) -> Store:
        """Return the store. Raises StateClosed if the task was revoked before the store was open."""
        if not self._wanted(job.task_epoch):
            self._state_manager.close([job.task_epoch[0]])
            raise StateClosed(f"task {job.task_epoch[0]} was given up while its store was opened")
        return store

    def _bounds(self, partition: int) -> dict[str, tuple[int, int]]:
        """Return the first offset and the high watermark of the changelogs of a task."""
        if self._asked is None:
            self._asked = self._ask()
        try:
            return {
                topic: self._asked.get_watermark_offsets(
                    KafkaTopicPartition(topic, partition), CALL_SECONDS, cached=False
                )
                for topic in self._tables
            }
        except KafkaException:
            clients.close_in_background(self._asked)  # a consumer with a failed query is replaced (ops/decisions/0002)
            self._asked = None
            raise

    def _advance(self) -> None:
        assert self._consumer is not None
        first = self._consumer.poll(POLL_SECONDS)
        if first is not None:
            started = self._clock.monotonic()
            self._take([first, *self._consumer.consume(ROWS - 1, 0)])
            spent = self._clock.monotonic() - started
            self._stopping.wait(rest(spent, self._share, self._running()))
        self._tell()

    def _take(self, messages: list[Message]) -> None:
        jobs = {source: job for job in self._jobs.values() for source in job.parts}
        for source, records in by_partition(messages, one_topic=False):
            job = jobs.get(source)
            if job is None or job.task_epoch not in self._jobs:
                continue
            try:
                self._apply(job, source, records)
            except StateClosed:
                self._leave(job)
            except StateCorrupt as error:
                self._state_manager.mark_corrupted(job.task_epoch[0].partition, str(error))
                self._again(job, str(error))

    def _apply(self, job: _Job, source: TopicPartition, messages: list[Message]) -> None:
        part, store = job.parts.get(source), job.store
        if part is None or store is None:
            return
        records, end, troubles = split_poll_result(messages)
        if troubles:
            self._again(job, f"{source} cannot be read on: {troubles[0].str()}")
            return
        if records:
            part.position = records[-1].offset() + 1
        part.position = max(part.position, end or 0)
        keys, values = list(map(Message.key, records)), list(map(Message.value, records))
        try:
            changes = part.reading.take(keys, values, source.topic)
        except StateCorrupt as error:  # reading it again would fail again
            raise self._refused(part, str(error)) from None
        unfit = part.reading.unfit(self._state_manager.spec.fingerprints[part.table])
        # Later records may replace rows that do not match; until then the store does not advance its position.
        store.write({part.table: changes}, {} if unfit or part.reading.ahead else {source.topic: part.position})
        job.records += len(records)
        self._metrics.restore_records.add(len(records))
        self._moved(job.task_epoch)
        if part.position >= part.target:
            if unfit:
                raise self._refused(part, f"changelog {source.topic} {unfit}")
            job.ends[source.topic] = part.position
            self._unassign([source])
            job.done.append(job.parts.pop(source))
            if not job.parts:
                self._finish(job)

    def _refused(self, part: _Part, why: str) -> StateMismatch:
        pipeline = self._state_manager.spec.pipeline
        return StateMismatch(
            f"table {part.table!r} cannot be restored: {why}. Stop the workers "
            f"and run `surgetank state rebuild {pipeline}`, which keeps what is known of keys (--dry-run says how); or "
            f"declare the table as before, or begin anew: `surgetank state reset {pipeline}`"
        )

    def _finish(self, job: _Job) -> None:
        """Write the positions that the store includes, and report the task as restored."""
        assert job.store is not None
        del self._jobs[job.task_epoch]
        if later := self._later(job, job.store):
            self._judge(job, later)
            return
        job.store.write({}, {source.topic: at for source, at in job.starts.items()} | job.ends)
        seconds = self._clock.monotonic() - job.since
        self._metrics.restore_seconds.observe(seconds)
        if job.records:
            log.info(
                "task %s: %d records restored in %.1f s (%.0f a second)",
                *(job.task_epoch[0], job.records, seconds, job.records / max(seconds, 1e-3)),
            )
        if self._state_manager.install(job.task_epoch):
            self._restored(job.task_epoch, job.starts)

    def _later(self, job: _Job, store: Store) -> dict[TopicPartition, int]:
        """Return, by source with rows beyond the task's start offset, the offset after their last event."""
        spec, partition = self._state_manager.spec, job.task_epoch[0].partition
        found: dict[TopicPartition, int] = {}
        for part in job.done:
            if part.reading.ahead:
                source = TopicPartition(spec.sources[part.table], partition)
                grown = part.reading.grown
                ours = spec.unmoved_keys(grown, partition) if grown is not None else lambda _: True
                end = included(store, part.table, spec.serdes[part.table], job.starts[source], ours, self._beat)
                if end is not None:
                    found[source] = max(end, found.get(source, 0))
        return found

    def _judge(self, job: _Job, later: dict[TopicPartition, int]) -> None:
        """Raise StateMismatch if the rows include events that would be read again, or restart the restore."""
        if not all(part.whole for part in job.done):  # earlier records may hold the partition history of the offsets
            self._state_manager.renew(job.task_epoch, "rows include events that are to be read again")
            self._again(job, "its changelogs are read whole")
            return
        try:
            committed = self._committed(list(job.starts), CALL_SECONDS)
        except KafkaException as error:
            self._again(job, error.args[0].str())
            return
        if committed is None or any(committed[source] > at for source, at in job.starts.items()):
            self._again(job, "another worker has gone on with it")
            return
        said = ", ".join(f"{source} up to {end}, but starts at {job.starts[source]}" for source, end in later.items())
        raise StateMismatch(
            f"the state of task {job.task_epoch[0]} includes events of {said}: the committed offsets were set back, or "
            "the topic was made anew. Events would count twice. Set the offsets forward again; or stop the workers and "
            f"run `surgetank state rebuild {job.task_epoch[0].pipeline} --from-events`, which computes the state from "
            f"the events before the offsets; or delete the state: `surgetank state reset {job.task_epoch[0].pipeline}`"
        )

    def _again(self, job: _Job, why: str) -> None:
        log.warning("task %s: restoring begins again: %s", job.task_epoch[0], why)
        self._leave(job)
        again = _Job(job.task_epoch, job.starts, job.since, self._clock.monotonic() + AGAIN_SECONDS)
        self._waiting.append(again)

    def _leave(self, job: _Job) -> None:
        self._jobs.pop(job.task_epoch, None)
        self._unassign(list(job.parts))
        self._metrics.restore_remaining_records.set(self._left())

    def _unassign(self, sources: list[TopicPartition]) -> None:
        if sources and self._consumer is not None:
            self._consumer.incremental_unassign([KafkaTopicPartition(*source) for source in sources])

    def _tell(self) -> None:
        now, left = self._clock.monotonic(), self._left()
        self._metrics.restore_remaining_records.set(left)
        if self._jobs and now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            done = sum(job.records for job in self._jobs.values())
            since = now - min(job.since for job in self._jobs.values())
            log.info(
                "restoring %d tasks: %d records done, %d offsets left, %.0f records a second",
                *(len(self._jobs), done, left, done / max(since, 1e-3)),
            )

    def _left(self) -> int:
        """Return the number of offsets that are still to be read."""
        return sum(max(0, part.target - part.position) for job in self._jobs.values() for part in job.parts.values())
