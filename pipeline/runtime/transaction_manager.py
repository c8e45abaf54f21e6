"""The transactions of a worker: scores, dead letters, changelogs and source offsets of all its tasks, all or nothing.

Everything here runs in one thread (a Lane). Producing goes on while the next batch is computed; committing waits for
the brokers without holding anybody else up.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from pipeline.clock import Clock
from pipeline.errors import BrokerError, LostIdentity
from pipeline.kafka import clients
from pipeline.records import OutputPartition, OutputRecords, TaskEpoch, TopicPartition
from pipeline.runtime.batch_output import BatchOutput, CommittedOffsets, OpenTransaction
from pipeline.runtime.commit_policy import commit_time, linger_seconds
from pipeline.runtime.fencing import owner_metadata
from pipeline.runtime.hanging_transactions import end_hanging_transactions
from pipeline.runtime.output_refusals import RefusalCounter
from pipeline.runtime.task_registry import TaskBatch, TaskRegistry
from pipeline.settings import KafkaSettings
from pipeline.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.05  # before a task goes on after an abort; doubled with each further one, up to
AGAIN_SECONDS_MAX = 5.0  # this: what fails for good must not spin
COMMIT_SECONDS = 10.0  # flushing included; longer than that, the broker has aborted it by itself
FLUSH_SECONDS = 0.1  # for answers that are as good as there: a transaction that must be aborted sends nothing more
OFFSETS_SECONDS = 3.0  # a coordinator that lives answers in milliseconds; one that died keeps its caller waiting
CALL_SECONDS = 5.0  # any other blocking call to librdkafka


def is_retriable(error: KafkaError) -> bool:
    """Whether a failed transactional call may simply be made again: nothing is lost and nothing is decided. Pure."""
    if error.fatal() or error.txn_requires_abort():
        return False
    return bool(error.retriable()) or error.code() in {KafkaError._TIMED_OUT, KafkaError._TRANSPORT}


class _Failed(BrokerError):  # noqa: N818 - internal control flow
    """The transaction cannot be committed. Out of here it gets only from ``prepare``, when a worker starts."""

    def __init__(self, step: str, error: KafkaError | None = None) -> None:
        super().__init__(f"{step}: {error.str() if error is not None else 'the tasks moved'}")
        self.error = error
        # To produce after the fence says only that something was fatal.
        self.fenced = error is not None and error.code() in {KafkaError._FENCED, KafkaError._FATAL}


class TransactionManager:
    """One transactional producer and its open transaction. Call everything in the lane's thread.

    ``metadata`` gives the group metadata, or None while this worker is no member. ``rewound`` is called with the tasks
    that must be opened again after an abort, and the seconds to wait before that. ``namesake_lives`` tells whether
    another live member has this worker's id. ``keep`` is given what was just committed: the offsets, the last write to
    the tables of each task, and how far its changelogs go; it brings the state to the disk. Events come from the topic
    ``events``, facts from all others.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        transactional_id: str,
        address: str,
        interval_seconds: float,
        ledger: TaskRegistry,
        metadata: Callable[[], Any | None],
        rewound: Callable[[list[TaskEpoch], float], None],
        has_duplicate_member: Callable[[], bool],
        keep: Callable[[CommittedOffsets, Mapping[TaskEpoch, int], Mapping[OutputPartition, int]], None],
        events: str,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._kafka = kafka
        self._id = transactional_id
        self._claim = owner_metadata(transactional_id, address)
        self._interval = interval_seconds
        self._ledger = ledger
        self._metadata = metadata
        self._rewound = rewound
        self._has_duplicate_member = has_duplicate_member
        self._keep = keep
        self._events = events
        self._clock = clock
        self._metrics = metrics
        self._producer: Producer | None = None
        self._open: OpenTransaction | None = None
        self._last_commit_at = 0.0
        self._last: set[OutputPartition] = set()  # what the last committed transaction wrote to
        self._unswept: set[OutputPartition] = set()  # what may hold records of a transaction without an end
        self._swept: set[OutputPartition] = set()  # what does not, since the last time that a transaction was given up
        self._aborts = 0  # since the last commit of any score
        self._refusals = RefusalCounter()

    def prepare(self) -> None:
        """Make the producer; whatever a predecessor of this name left open is aborted. May block for seconds.

        Raises BrokerError if the brokers refuse it.
        """
        while self._producer is None:
            self._make()

    def settle(self, mine: set[OutputPartition], others: set[OutputPartition], group: Any) -> bool:
        """End whatever this name has open, or may have left without an end in partitions that were ``mine``.

        False: not yet. In ``others`` somebody else wrote last. ``group`` is the metadata of the group without a member.
        """
        if not self.commit():
            return False
        try:
            self._make()
            unswept = self._unswept | (mine - self._swept)
            if self._producer is not None and unswept:
                end_hanging_transactions(self._producer, unswept, group, CALL_SECONDS)
                self._unswept, self._swept = set(), self._swept | unswept
            self._swept |= others
        except KafkaException as error:
            self._give_up(_Failed("sweep", error.args[0]))
        except BrokerError as error:
            log.warning("%s", error)
            self._close_in_background()
        return self._producer is not None

    def _make(self) -> None:
        """Make the producer, if there is none; there is still none if the brokers did not answer in time."""
        if self._producer is not None:
            return
        producer = clients.transactional(self._kafka, transactional_id=self._id)
        try:
            producer.init_transactions(CALL_SECONDS)
        except KafkaException as error:
            if not is_retriable(error.args[0]):
                raise _Failed("init_transactions", error.args[0]) from None
            log.warning("init_transactions: %s; again", error.args[0].str())
        else:
            self._producer = producer

    def emit(self, work: TaskBatch, emission: BatchOutput | None) -> bool:
        """Put the outputs of a work into the open transaction; False if they were thrown away as stale.

        None: the work came to nothing that may count, and its tasks go back.
        """
        try:
            if emission is not None:
                if self._ledger.current(work):
                    self._put(work, emission)
                if self._ledger.finish(work):
                    return True
            self._give_up(_Failed("emit"))
        except _Failed as failure:
            self._give_up(failure)
        return False

    def claim(self, starts: dict[TaskEpoch, dict[TopicPartition, int]]) -> bool:
        """Commit the start offsets of tasks in this worker's name, with whatever is open; False if that failed."""
        try:
            self._begin().claims |= starts
        except _Failed as failure:
            self._give_up(failure)
            return False
        return self.commit()

    def refresh(self) -> bool:
        """Commit again what is committed, so that it does not grow old: see ``Runtime``."""
        return self.commit() and (not (standing := self._ledger.standing()) or self.claim(standing))

    def due(self, *, flooded: bool) -> float | None:
        """Return the seconds until the open transaction must be committed; None if none is open."""
        if self._open is None:
            return None
        at = commit_time(
            opened_at=self._open.since,
            last_commit_at=self._last_commit_at,
            interval_seconds=self._interval,
            flooded=flooded,
        )
        return at - self._clock.monotonic()

    def patience(self, waiting_rows: int) -> float:
        """Return how many seconds the next batch may gather for. From any thread."""
        return linger_seconds(
            now=self._clock.monotonic(),
            last_commit_at=self._last_commit_at,
            interval_seconds=self._interval,
            waiting_rows=waiting_rows,
        )

    def commit(self) -> bool:
        """Commit what is open; False if it had to be aborted. Nothing open: True."""
        if self._open is None:
            return True
        opened = self._open
        self._last_commit_at = started = self._clock.monotonic()
        try:
            commitment = self._send_offsets(opened)
            self._call("commit_transaction", lambda: self._live.commit_transaction(COMMIT_SECONDS))
        except _Failed as failure:
            self._give_up(failure)
            return False
        self._open = None
        self._last = opened.touched
        self._keep(commitment, opened.writes, opened.reached)
        self._ledger.committed(commitment)
        self._refusals.committed(task for task, _ in commitment)
        self._tell(opened, started)
        return True

    def abort(self, why: str) -> None:
        """Abort what is open and send the tasks with outstanding work back."""
        self._give_up(_Failed(why))

    @property
    def _live(self) -> Producer:
        assert self._producer is not None
        return self._producer

    def _begin(self) -> OpenTransaction:
        if self._open is None:
            if self._producer is None:
                raise _Failed("begin_transaction before a new producer")
            try:
                self._live.begin_transaction()
            except KafkaException as error:
                raise _Failed("begin_transaction", error.args[0]) from None
            self._open = OpenTransaction(since=self._clock.monotonic())
        return self._open

    def _put(self, work: TaskBatch, emission: BatchOutput) -> None:
        opened = self._begin()
        started = self._clock.monotonic()
        opened.task_epochs |= {(piece.task, piece.epoch) for piece in work.slices}
        for outgoing in emission.outgoing:
            opened.touched |= {(outgoing.topic, partition) for partition in set(outgoing.partitions)}
            self._produce(outgoing)
        for burst in emission.changes.bursts:
            self._produce_burst(burst, opened)
        opened.writes |= emission.changes.writes
        self._metrics.stage_seconds.observe(self._clock.monotonic() - started, stage="emit")
        opened.arrived_ms.append(emission.arrived_ms)
        for piece in work.slices:
            for run in piece.runs:
                opened.scored[run.source.topic] = opened.scored.get(run.source.topic, 0) + len(run)

    def _produce(self, out: OutputRecords) -> None:
        rows = zip(out.values, out.keys, out.partitions, strict=True)
        produce, topic = self._live.produce, out.topic
        try:
            if out.headers is None:  # a call with positional arguments costs two thirds of one with keywords
                for value, key, partition in rows:
                    try:
                        produce(topic, value, key, partition)
                    except BufferError:
                        self._produce_patiently(topic, value, key, partition)
            else:
                for (value, key, partition), headers in zip(rows, out.headers, strict=True):
                    self._produce_patiently(topic, value, key, partition, headers=headers)
            self._live.poll(0)
        except KafkaException as error:  # a poll too tells of a fatal one
            raise _Failed("produce", error.args[0]) from None

    def _produce_burst(self, burst: OutputRecords, opened: OpenTransaction) -> None:
        """Produce what one partition of a changelog is given, and have it noted where its last record comes to lie."""
        output = (burst.topic, burst.partitions[0])
        opened.touched.add(output)

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                opened.reached[output] = (message.offset() or 0) + 1

        head = OutputRecords(burst.topic, burst.partitions[:-1], burst.keys[:-1], burst.values[:-1])
        self._produce(head)
        try:
            self._produce_patiently(
                burst.topic, burst.values[-1], burst.keys[-1], burst.partitions[-1], on_delivery=delivered
            )
        except KafkaException as error:
            raise _Failed("produce", error.args[0]) from None

    def _produce_patiently(self, *record: Any, **more: Any) -> None:
        """Produce a record; while the queue is full, since the brokers are slower than we are, wait for deliveries."""
        while True:
            try:
                self._live.produce(*record, **more)
            except BufferError:
                self._live.poll(0.01)
            else:
                return

    def _send_offsets(self, opened: OpenTransaction) -> dict[TaskEpoch, dict[TopicPartition, int]]:
        # Ownership and generation are taken together, under the lock that the rebalance callbacks take: the broker
        # checks the generation, but not who owns which partition.
        with self._ledger.lock:
            if not all(self._ledger.is_current(task_epoch) for task_epoch in opened.task_epochs):
                raise _Failed("send_offsets")
            commitment = self._ledger.commitment()
            claims = {
                task_epoch: offsets
                for task_epoch, offsets in opened.claims.items()
                if self._ledger.is_current(task_epoch)
            }
            metadata = self._metadata()
        if metadata is None:
            raise _Failed("send_offsets without membership")
        offsets = [
            KafkaTopicPartition(source.topic, source.partition, offset, self._claim)
            for covered in (*claims.values(), *commitment.values())
            for source, offset in covered.items()
        ]
        if offsets:
            self._call(
                "send_offsets",
                lambda: self._live.send_offsets_to_transaction(offsets, metadata, OFFSETS_SECONDS),
            )
        return commitment

    def _call(self, step: str, call: Callable[[], None]) -> None:
        """Make a transactional call once: a time-out too ends the transaction.

        librdkafka allows to make it again, but after an outage such a call has been seen to hang for good. Nothing is
        lost by giving up: what became of the transaction, the stable committed offsets tell afterwards.
        """
        try:
            call()
        except KafkaException as error:
            raise _Failed(step, error.args[0]) from None

    def _give_up(self, failure: _Failed) -> None:
        """Abort what is open, and send the tasks back to their committed offsets.

        Unless nothing of it can be left anywhere, the producer is thrown away too: a record that it sent, and that is
        still on its way or waits to be sent again, could otherwise arrive in the next transaction of the same epoch
        and be committed with it, beside the copy that is made anew (what KIP-890 mends for clients that speak it).
        ``init_transactions`` of the next producer raises the epoch, and the brokers refuse what is older.
        Raises OutputRefused where the brokers have refused the same again and again.
        """
        opened, self._open = self._open, None
        if opened is not None:
            log.warning("transaction aborted: %s", failure)
            self._metrics.transactions.add(1, outcome="fenced" if failure.fenced else "aborted")
            self._metrics.transaction_seconds.observe(self._clock.monotonic() - opened.since)
            if self._ended(failure):
                self._unswept |= self._last - opened.touched
            else:
                self._unswept |= self._last | opened.touched
                self._close_in_background()
        elif failure.error is not None:
            self._close_in_background()
        if failure.fenced and self._has_duplicate_member():
            raise LostIdentity(
                f"another live worker is named {self._id!r}; give each worker its own worker.name, or leave it unset"
            )
        if opened is not None and failure.error is not None:
            standing = {
                task_epoch[0]: at
                for task_epoch, at in self._ledger.standing().items()
                if task_epoch in opened.task_epochs
            }
            self._refusals.check(failure.error.code(), str(failure), standing)
        pause = min(AGAIN_SECONDS_MAX, AGAIN_SECONDS * 2**self._aborts) if self._aborts else 0.0
        self._aborts += 1
        self._rewound(self._ledger.rewind(), pause)

    def _ended(self, failure: _Failed) -> bool:
        """Abort; return whether that is all, since every record was answered for and the cluster is well.

        So it is when the group has moved on, as it does at each rebalance of the classic protocol.
        """
        if failure.error is not None and is_retriable(failure.error):
            return False  # the next producer's init would come sooner, and an abort after a time-out was seen to hang
        moved = failure.error is None or failure.error.code() == KafkaError.ILLEGAL_GENERATION
        try:
            answered = moved and int(self._live.flush(FLUSH_SECONDS)) == 0
            self._live.abort_transaction(CALL_SECONDS)
        except KafkaException as error:
            log.debug("abort_transaction: %s", error.args[0].str())
            return False
        return answered

    def _close_in_background(self) -> None:
        """Throw the producer away. To destroy one whose brokers are away may take its time: not in this thread."""
        if self._producer is None:
            return
        grave, self._producer = [self._producer], None
        self._swept = set()
        threading.Thread(target=grave.clear, name="grave", daemon=True).start()
        self._metrics.producer_restarts.add(1)

    def _tell(self, opened: OpenTransaction, started: float) -> None:
        now = self._clock.monotonic()
        if opened.scored:
            self._aborts = 0
        self._metrics.transactions.add(1, outcome="committed")
        self._metrics.transaction_seconds.observe(now - opened.since)
        self._metrics.stage_seconds.observe(now - started, stage="commit")
        for topic, rows in opened.scored.items():
            counter = self._metrics.events_scored if topic == self._events else self._metrics.facts_applied
            counter.add(rows, topic=topic)
        if opened.arrived_ms:
            arrived = np.concatenate(opened.arrived_ms)
            self._metrics.end_to_end_seconds.observe_many(self._clock.now() - arrived / 1000.0)
