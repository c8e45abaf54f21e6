"""Reads whole topics, all partitions, without a group: for audits, tables of scores and measurements."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from confluent_kafka import IsolationLevel, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import OffsetSpec, TopicMetadata

from surgetank.clock import SystemClock
from surgetank.errors import BrokerError, TopicsError
from surgetank.kafka import clients
from surgetank.kafka.clients import Admin
from surgetank.kafka.columnar.interface import BatchConsumer
from surgetank.kafka.columnar.results import PartitionError
from surgetank.kafka.columnar.select import batch_consumer
from surgetank.kafka.group_members import members_of_existing
from surgetank.kafka.retry import retry_until_available
from surgetank.records import PartitionRecords, RecordBatch, TopicPartition
from surgetank.settings import KafkaSettings

BYTES_MAX = 64 * 1024 * 1024  # of the records of one read
_ANSWER_SECONDS = 10.0
_SILENCE_STEP_SECONDS = 0.5
_SILENCE_SECONDS = 60.0
# The broker named as leader may not know that yet, for a new topic, after a restart, or after another broker died; one
# that has just become leader may not know the end yet.
_MOVING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
}
_MOVING_STEP_SECONDS = 0.1
_MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}
_NEW_TOPIC_SECONDS = 2.0

Offsets = dict[TopicPartition, int]
Where = Literal["earliest", "latest"] | int  # a number: the first record at or after that time, in ms since the epoch


class TopicReader:
    """Reads committed records of topics, each partition in order, from the start, a time, or from now on.

    With offsets by partition as ``start``, only those partitions are read. ``consumer`` makes the client from its
    options. Close it, or use it as a context manager. Raises BrokerError if no broker answers, TopicsError if a topic
    is missing.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Sequence[str],
        *,
        start: Where | Offsets = "earliest",
        consumer: Callable[[Mapping[str, Any]], BatchConsumer] = batch_consumer,
    ) -> None:
        # End-of-partition events are enabled, because only they give the position after trailing markers. A position
        # that no longer exists is an error: skipping records silently would falsify an audit. An empty fetch returns
        # soon, because it may delay another partition that has records.
        self._consumer = consumer(
            clients.reader_options(kafka, enable_partition_eof=True, auto_offset_reset="error", fetch_wait_max_ms=50)
        )
        # A consumer answers requests only between its fetches, half a second apart when no records arrive.
        self._admin = clients.admin(kafka)
        self._bootstrap = kafka.bootstrap
        try:
            if isinstance(start, Mapping):
                self._position = dict(start)
            else:
                self._position = offsets(self._admin, partitions(self._admin, topics, kafka.bootstrap), start)
            self._number = {source: number for number, source in enumerate(self._position)}
            self.starts: Offsets = dict(self._position)  # the first offset that was read of each partition
            self._consumer.assign(self._position)
        except BaseException:
            self._consumer.close()
            raise

    def read(self, rows: int = 10_000, timeout: float = 0.5) -> RecordBatch:
        """Wait up to ``timeout`` seconds for a first record; return it with the records that are already available.

        Returns at most ``rows`` records, of any partitions; none if nothing arrived. Each partition is in order.
        ``sources`` of the result are all partitions that are read. Raises BrokerError or TopicsError if Kafka reports
        that a partition cannot be read. After any exception, as KeyboardInterrupt, records may have been read that
        were not returned: close the reader.
        """
        polled = self._consumer.poll(timeout, rows_max=rows, bytes_max=BYTES_MAX)
        for error in polled.errors:
            raise_if_unreadable(self._bootstrap, error)
        for records in polled.records:
            self._position[records.source] = max(self._position[records.source], records.next_offset)
        return self._batch([records for records in polled.records if len(records)])

    def catch_up(self, ends: Offsets | None = None) -> Iterator[RecordBatch]:
        """Read up to ``ends``, or to the current end of each partition; the batches may contain later records too.

        Raises BrokerError if Kafka stops answering before that.
        """
        ends, silent = self.ends() if ends is None else ends, 0.0
        while not self.reached(ends):
            records = self.read(timeout=_SILENCE_STEP_SECONDS)
            silent = 0.0 if len(records) else silent + _SILENCE_STEP_SECONDS
            if silent > _SILENCE_SECONDS:
                raise BrokerError(f"{self._bootstrap} gives no more records, and the end is not reached")
            if len(records):
                yield records

    def ends(self) -> Offsets:
        """Return the current end of each partition for a reader of committed records: its last stable offset."""
        return offsets(self._admin, tuple(self._number), "latest")

    def held_back(self) -> int:
        """Return the number of records behind open transactions, which a reader of committed records cannot read."""
        # High watermarks first: records that arrive meanwhile must not seem to be behind an open transaction.
        high = _listed(self._admin, tuple(self._number), OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
        return sum(max(0, high[source] - stable) for source, stable in self.ends().items())

    def reached(self, ends: Offsets) -> bool:
        """Return whether everything before those offsets was read."""
        return all(self._position[source] >= end for source, end in ends.items())

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _batch(self, found: list[PartitionRecords]) -> RecordBatch:
        records = RecordBatch.of_partitions(found)
        number = np.array([self._number[each] for each in records.sources], dtype=np.int32)
        return replace(records, sources=tuple(self._number), source=number[records.source])


def raise_if_unreadable(bootstrap: str, error: PartitionError) -> None:
    """Raise unless the client repairs the error by itself, as a lost connection, or it concerns no partition.

    BrokerError, or TopicsError if the topic was deleted.
    """
    topic, partition = error.source
    where = f"{topic}[{partition}] at {bootstrap}"
    if error.error.code() in _MISSING:
        raise TopicsError(f"{where}: the topic was deleted while it was read")
    if topic and partition >= 0:
        raise BrokerError(f"{where} cannot be read: {error.error.str()}")


def partitions(admin: Admin, topics: Sequence[str], bootstrap: str) -> tuple[TopicPartition, ...]:
    """Return all partitions of the topics.

    Raises BrokerError if no broker answers, TopicsError if a topic is missing.
    """
    found = []
    for topic in topics:
        metadata = _described(admin, topic, bootstrap)
        if metadata.error is not None and metadata.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise TopicsError(
                f"{bootstrap}: this user may not describe topic {topic!r}; grant it Describe and Read, to send Write "
                "(`surgetank topics acls` lists the rights)"
            )
        if metadata.error is not None or not metadata.partitions:
            raise TopicsError(f"{bootstrap} has no topic {topic!r}; create it with: surgetank topics apply")
        found += [TopicPartition(topic, partition) for partition in sorted(metadata.partitions)]
    return tuple(found)


def _described(admin: Admin, topic: str, bootstrap: str) -> TopicMetadata:
    """Return what the brokers say of a topic; look again if it is missing, which a broker may say of a new topic."""
    pause, attempts = threading.Event(), round(_NEW_TOPIC_SECONDS / _MOVING_STEP_SECONDS)
    while True:
        try:
            metadata: TopicMetadata = admin.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic]
        except KafkaException as error:
            raise admin.failure(f"{bootstrap} does not describe topic {topic!r}", error) from None
        attempts -= 1
        if metadata.error is None or metadata.error.code() not in _MISSING or attempts <= 0:
            return metadata
        pause.wait(_MOVING_STEP_SECONDS)


def offsets(admin: Admin, sources: Sequence[TopicPartition], which: Where) -> Offsets:
    """Return for each partition the first offset, the first offset at or after a time, or the last stable offset.

    Raises BrokerError if the broker does not answer.
    """
    if not sources:
        return {}
    if isinstance(which, int):
        found = _listed(admin, sources, OffsetSpec.for_timestamp(which))
        ends = _listed(admin, sources, OffsetSpec.latest())
        return {source: offset if offset >= 0 else ends[source] for source, offset in found.items()}  # -1: no record
    return _listed(admin, sources, OffsetSpec.earliest() if which == "earliest" else OffsetSpec.latest())


def _listed(
    admin: Admin,
    sources: Sequence[TopicPartition],
    spec: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
) -> Offsets:
    pause, attempt = threading.Event(), 0
    while True:
        answers = admin.list_offsets(
            {KafkaTopicPartition(*source): spec for source in sources},
            isolation_level=isolation,
            request_timeout=_ANSWER_SECONDS,
        )
        try:
            return {TopicPartition(tp.topic, tp.partition): answer.result().offset for tp, answer in answers.items()}
        except KafkaException as error:
            attempt += 1
            if error.args[0].code() not in _MOVING or attempt * _MOVING_STEP_SECONDS > _ANSWER_SECONDS:
                raise admin.failure(f"the offsets of topic {sources[0].topic!r} are not known", error) from None
            pause.wait(_MOVING_STEP_SECONDS)


class CommittedOffsets:
    """The committed offsets of a group, read through a consumer: for callers that poll while brokers fail.

    librdkafka's admin client cannot do that reliably (ops/decisions/0002). Raises BrokerError, TopicsError.
    """

    def __init__(self, kafka: KafkaSettings, group: str, *topics: str) -> None:
        self._bootstrap = kafka.bootstrap
        self._group = group
        self._admin = clients.admin(kafka)
        self.sources = partitions(self._admin, topics, kafka.bootstrap)
        self._consumer = clients.reader(kafka, group_id=group, isolation_level="read_uncommitted")

    def committed(self, timeout: float) -> Offsets:
        """Return the offset of each partition that has one. Raises KafkaException if Kafka does not answer in time."""
        found = self._consumer.committed([KafkaTopicPartition(*source) for source in self.sources], timeout)
        return {
            TopicPartition(tp.topic, tp.partition): tp.offset for tp in found if tp.error is None and tp.offset >= 0
        }

    def required(self) -> Offsets:
        """Return the same as ``committed``. Raises BrokerError if Kafka does not answer within some seconds.

        The first coordinator of a new cluster refuses requests for a moment.
        """

        def ask() -> Offsets:
            try:
                return self.committed(_ANSWER_SECONDS)
            except KafkaException as error:
                raise self._refusal(error) from None

        return retry_until_available(ask, SystemClock(), _ANSWER_SECONDS)

    def _refusal(self, error: KafkaException) -> BrokerError:
        """Return the error to raise: the missing right if there is one, because the consumer itself only times out."""
        what = f"{self._bootstrap} does not return committed offsets"
        try:
            members_of_existing(self._admin, self._group, _ANSWER_SECONDS)
        except KafkaException as cause:
            if cause.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                return self._admin.failure(f"{what} of group {self._group!r}", cause)
        return BrokerError(f"{what}: {error.args[0].str()}")

    def total(self, timeout: float) -> int | None:
        """Return the sum of the committed offsets, where none counts as 0; None if Kafka does not answer in time."""
        try:
            return sum(self.committed(timeout).values())
        except KafkaException:
            return None
