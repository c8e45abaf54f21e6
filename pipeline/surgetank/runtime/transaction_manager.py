"""The transactions of a worker: scores, dead letters, changelogs and source offsets of all its tasks, atomically.

Everything here runs in one thread (a SerialExecutor): it executes the transaction actions of the task manager and
posts their results. Producing overlaps with computing the next batch, and a commit blocks no other thread while it
waits for the brokers.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.clock import Clock
from surgetank.errors import BrokerError
from surgetank.kafka import clients
from surgetank.kafka.columnar.interface import BatchProducer
from surgetank.kafka.columnar.produce_all import Delivered, produce_all
from surgetank.kafka.columnar.select import batch_producer
from surgetank.kafka.group_client import GroupClient
from surgetank.kafka.refusal_causes import causes_of_refusal
from surgetank.records import BatchOutput, OutputPartition, OutputRecords
from surgetank.runtime.batch_timer import BatchTimer
from surgetank.runtime.group_membership import GroupMembership
from surgetank.runtime.hanging_transactions import end_hanging_transactions
from surgetank.runtime.mailbox import Mailbox
from surgetank.runtime.open_transaction import OpenTransaction
from surgetank.runtime.output_refusals import RefusalCounter
from surgetank.runtime.record_queues import RecordQueues
from surgetank.runtime.state_lifecycle import StateLifecycle
from surgetank.runtime.task_actions import CommitTransaction, SendOffsets
from surgetank.runtime.task_batch import TaskBatch
from surgetank.runtime.task_events import BatchProduced, CommitReady, TransactionAborted, TransactionCommitted
from surgetank.settings import KafkaSettings
from surgetank.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

COMMIT_SECONDS = 10.0  # including the flush; after a longer time the broker has aborted the transaction
FLUSH_SECONDS = 0.1  # for acknowledgements that are due: a transaction that must be aborted sends no more records
OFFSETS_SECONDS = 3.0  # a live coordinator answers in milliseconds; a dead one blocks the caller for this time
CALL_SECONDS = 5.0  # any other blocking call to librdkafka
# The group has another generation than the offsets of this member. The code is the second one in a response of version
# 6 or later (Kafka 4.4, KIP-1319), the first one in those of older versions.
_OTHER_GENERATION = frozenset({KafkaError.ILLEGAL_GENERATION, KafkaError.STALE_MEMBER_EPOCH})


def is_retriable(error: KafkaError) -> bool:
    """Return whether a failed transactional call may be retried, because the transaction is still intact. Pure."""
    if error.fatal() or error.txn_requires_abort():
        return False
    return bool(error.retriable()) or error.code() in {KafkaError._TIMED_OUT, KafkaError._TRANSPORT}


def permits_same_producer(error: KafkaError | None) -> bool:
    """Return whether the producer can be used again after an abort, if all its records were acknowledged. Pure.

    This is the case if the tasks moved (None), or if the group generation has changed, as at each rebalance of the
    classic protocol. Who is no longer a member (UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH) may have been fenced.
    """
    return error is None or error.code() in _OTHER_GENERATION


class _Failed(BrokerError):  # noqa: N818 - internal control flow
    """The transaction cannot be committed. Only ``prepare``, at the start of a worker, raises it to its caller."""

    def __init__(self, step: str, error: KafkaError | None = None) -> None:
        super().__init__(f"{step}: {error.str() if error is not None else 'the tasks moved'}")
        self.error = error
        # Producing after being fenced reports only a generic fatal error.
        self.fenced = error is not None and error.code() in {KafkaError._FENCED, KafkaError._FATAL}


class TransactionManager:
    """One transactional producer and its open transaction. Call everything in one thread.

    ``membership`` supplies the group metadata for the offsets, ``group`` finds duplicate members. ``state`` is written
    to the disk after each commit. ``claims`` are the metadata of committed offsets by source topic; they may change.
    Records are compressed, except those of the topics ``uncompressed``. Events come from the topic ``events``, facts
    from all others; ``scores`` is the topic of the scores. ``timer`` is told when batches are committed.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        mailbox: Mailbox,
        *,
        transactional_id: str,
        claims: Mapping[str, str],
        batch_bytes_max: int,
        uncompressed: Collection[str],
        membership: GroupMembership,
        group: GroupClient,
        records: RecordQueues,
        state: StateLifecycle,
        events: str,
        scores: str,
        timer: BatchTimer,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._kafka = kafka
        self._mailbox = mailbox
        self._id = transactional_id
        self._claims = claims
        self._batch_bytes_max = batch_bytes_max
        self._uncompressed = uncompressed
        self._membership = membership
        self._group = group
        self._records = records
        self._state = state
        self._events = events
        self._scores = scores
        self._timer = timer
        self._clock = clock
        self._metrics = metrics
        self._producer: Producer | None = None
        self._batches: BatchProducer | None = None  # appends to the producer's queue
        self._open: OpenTransaction | None = None
        self._waiting: list[tuple[TaskBatch, BatchOutput]] = []  # outputs of the transaction that are not yet produced
        self._last: set[OutputPartition] = set()  # partitions of the last committed transaction
        self._unswept: set[OutputPartition] = set()  # partitions that may hold records of a hanging transaction
        self._swept: set[OutputPartition] = set()  # partitions known to hold none; emptied with the producer
        self._refusals = RefusalCounter()

    def prepare(self) -> None:
        """Create the producer, which aborts the open transaction of a predecessor. May block for seconds.

        Raises BrokerError if the brokers reject it.
        """
        while self._producer is None:
            self._make()

    def settle(self, mine: set[OutputPartition], others: set[OutputPartition]) -> bool:
        """Commit or abort the open transaction, and end hanging transactions of this name in partitions ``mine``.

        Return False if that must be retried. In ``others`` another worker wrote last.
        """
        if not self.commit():
            return False
        try:
            self._make()
            unswept = self._unswept | (mine - self._swept)
            if self._producer is not None and unswept:
                end_hanging_transactions(self._producer, unswept, self._group.group, CALL_SECONDS, output=self._scores)
                self._unswept, self._swept = set(), self._swept | unswept
            self._swept |= others
        except KafkaException as error:
            self._give_up(_Failed("sweep", error.args[0]))
        except BrokerError as error:
            log.warning("%s", error)
            self._close_in_background()
        return self._producer is not None

    def _make(self) -> None:
        """Create the producer if there is none; leave it None if the brokers do not answer in time."""
        if self._producer is not None:
            return
        producer = clients.transactional(
            self._kafka,
            transactional_id=self._id,
            batch_size=min(clients.BATCH_BYTES, self._batch_bytes_max),
            compressing=True,
        )
        try:
            producer.init_transactions(CALL_SECONDS)
        except KafkaException as error:
            if not is_retriable(error.args[0]):
                raise _Failed("init_transactions", error.args[0]) from None
            log.warning("init_transactions: %s; again", error.args[0].str())
        else:
            self._producer = producer
            self._batches = batch_producer(producer, self._id, self._uncompressed, clients.uncompressed(self._kafka))

    def produce(self, batch: TaskBatch, output: BatchOutput) -> None:
        """Take the outputs of a batch into the transaction; skip a batch that may no longer be committed.

        They are produced now, or by the commit if that follows at once.
        """
        if not self._mailbox.ask(lambda manager: manager.can_produce(batch.number)):
            return
        self._waiting.append((batch, output))
        actions = self._mailbox.post(BatchProduced(batch.number, self._records.ready_rows, self._state.full))
        if any(isinstance(action, CommitTransaction) for action in actions):
            return
        try:
            self._put_waiting(self._begin())
        except _Failed as failure:
            self._give_up(failure)

    def commit(self) -> bool:
        """Commit the offsets that the task manager returns; return False if the transaction was aborted instead.

        Ownership and generation are read together, under the lock of the rebalance callbacks: the broker checks the
        generation, but not which member owns which partition.

        In a new transaction the offsets are sent before the first record. The brokers refuse every request until they
        have ended the previous transaction; librdkafka repeats a refused request for offsets after ``retry.backoff.ms``
        (2 ms), but one for the partitions of records always after 20 ms.
        """
        started = self._clock.monotonic()
        actions, metadata = self._mailbox.post_and_read(CommitReady(), self._membership.metadata)
        sending = next((action for action in actions if isinstance(action, SendOffsets)), None)
        if sending is None:
            if self._open is not None or self._waiting:
                self._give_up(_Failed("send_offsets"))
                return False
            return True
        try:
            if self._open is not None:
                self._put_waiting(self._open)
            opened = self._begin()
            opened.tasks |= set(sending.offsets)
            self._send_offsets(sending, metadata)
            self._put_waiting(opened)
            self._call("commit_transaction", lambda: self._live.commit_transaction(COMMIT_SECONDS))
        except _Failed as failure:
            self._give_up(failure)
            return False
        self._open = None
        self._last = opened.touched
        self._state.commit(sending.offsets, opened.writes, opened.reached)
        self._mailbox.post(TransactionCommitted(sending.transaction))
        self._refusals.committed(each.task for each in sending.offsets)
        self._report(opened, started)
        for on_committed in opened.on_committed:
            on_committed()
        return True

    def abort(self, reason: str) -> None:
        """Abort the open transaction, if the task manager still wants an abort."""
        if self._mailbox.ask(lambda manager: manager.wants_abort):
            self._give_up(_Failed(reason))

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

    def _put_waiting(self, opened: OpenTransaction) -> None:
        """Produce the outputs that wait."""
        while self._waiting:
            self._put(opened, *self._waiting.pop(0))

    def _put(self, opened: OpenTransaction, batch: TaskBatch, output: BatchOutput) -> None:
        opened.tasks |= {records.key for records in batch.tasks}
        opened.batches.append(batch.number)
        started = self._clock.monotonic()
        for outgoing in output.outgoing:
            written = np.flatnonzero(np.bincount(outgoing.partitions))
            opened.touched |= {(outgoing.topic, partition) for partition in written.tolist()}
            self._produce(outgoing)
        for changed in output.changes.changelog_records:
            self._produce_changelog(changed, opened)
        opened.writes |= output.changes.writes
        self._metrics.stage_seconds.observe(self._clock.monotonic() - started, stage="emit")
        opened.arrived_ms.append(output.arrived_ms)
        if output.on_committed is not None:
            opened.on_committed.append(output.on_committed)
        for topic, rows in batch.rows_by_topic().items():
            opened.scored[topic] = opened.scored.get(topic, 0) + rows - output.rekeyed.get(topic, 0)
        for topic, rows in output.rekeyed.items():
            opened.rekeyed[topic] = opened.rekeyed.get(topic, 0) + rows

    def _produce(self, out: OutputRecords, delivered: Delivered | None = None) -> None:
        assert self._batches is not None
        try:
            produce_all(self._live, self._batches, out, delivered)
        except KafkaException as error:
            raise _Failed("produce", error.args[0]) from None

    def _produce_changelog(self, records: OutputRecords, opened: OpenTransaction) -> None:
        """Produce records to one changelog partition, and store the offset after the last one in ``opened``."""
        output = (records.topic, int(records.partitions[0]))
        opened.touched.add(output)

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                opened.reached[output] = (message.offset() or 0) + 1

        self._produce(records, delivered)

    def _send_offsets(self, sending: SendOffsets, metadata: Any | None) -> None:
        if metadata is None:
            raise _Failed("send_offsets without membership")
        offsets = [
            KafkaTopicPartition(source.topic, source.partition, offset, self._claims[source.topic])
            for covered in (*sending.claims.values(), *sending.offsets.values())
            for source, offset in covered.items()
        ]
        self._call("send_offsets", lambda: self._live.send_offsets_to_transaction(offsets, metadata, OFFSETS_SECONDS))

    def _call(self, step: str, call: Callable[[], None]) -> None:
        """Make a transactional call once; raise _Failed on any error, including a timeout.

        librdkafka allows a retry, but after an outage a retried call was observed to hang forever. Giving up loses no
        data: the stable committed offsets show the outcome of the transaction afterwards.
        """
        try:
            call()
        except KafkaException as error:
            raise _Failed(step, error.args[0]) from None

    def _give_up(self, failure: _Failed) -> None:
        """Abort the open transaction, and post TransactionAborted: the tasks return to their committed offsets.

        The producer is replaced unless all its records were acknowledged: a record that is still in transit or waits
        for a retry could otherwise arrive in the next transaction of the same producer epoch and be committed with it,
        in addition to its reprocessed copy (fixed by KIP-890 for clients that support it). ``init_transactions`` of
        the next producer increases the producer epoch, and the brokers reject records of older epochs.
        Raises OutputRefused if the brokers have repeatedly rejected the same outputs.
        """
        opened, self._open = self._open, None
        self._waiting.clear()
        self._timer.aborted()
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
        if opened is not None and failure.error is not None:
            committed = self._mailbox.ask(lambda manager: manager.tasks.committed(opened.tasks))
            code, topics = failure.error.code(), {topic for topic, _ in opened.touched}
            self._refusals.check(code, str(failure), committed, lambda: causes_of_refusal(self._kafka, code, topics))
        self._mailbox.post(TransactionAborted(failure.fenced and self._has_duplicate_member()))

    def _has_duplicate_member(self) -> bool:
        try:
            return self._group.duplicate_members(self._id, self._membership.member_id, CALL_SECONDS)
        except KafkaException:
            return False

    def _ended(self, failure: _Failed) -> bool:
        """Abort; return whether the producer can be kept, because all its records were acknowledged."""
        if failure.error is not None and is_retriable(failure.error):
            return False  # init_transactions of a new producer is faster; an abort after a timeout was observed to hang
        try:
            answered = permits_same_producer(failure.error) and int(self._live.flush(FLUSH_SECONDS)) == 0
            self._live.abort_transaction(CALL_SECONDS)
        except KafkaException as error:
            log.debug("abort_transaction: %s", error.args[0].str())
            return False
        return answered

    def _close_in_background(self) -> None:
        """Destroy the producer in another thread, since that may block for long while the brokers are unreachable."""
        if self._producer is None:
            return
        closing: list[object] = [self._producer, self._batches]
        self._producer = self._batches = None
        self._swept = set()
        threading.Thread(target=closing.clear, name="producer-closing", daemon=True).start()
        self._metrics.producer_restarts.add(1)

    def _report(self, opened: OpenTransaction, started: float) -> None:
        now = self._clock.monotonic()
        self._metrics.transactions.add(1, outcome="committed")
        self._metrics.transaction_seconds.observe(now - opened.since)
        self._metrics.stage_seconds.observe(now - started, stage="commit")
        self._timer.committed(opened.batches, now - started)
        for topic, rows in opened.scored.items():
            counter = self._metrics.events_scored if topic == self._events else self._metrics.facts_applied
            counter.add(rows, topic=topic)
        for topic, rows in opened.rekeyed.items():
            self._metrics.events_rekeyed.add(rows, topic=topic)
        if opened.arrived_ms:
            arrived = np.concatenate(opened.arrived_ms)
            self._metrics.end_to_end_seconds.observe_many(self._clock.now() - arrived / 1000.0)
