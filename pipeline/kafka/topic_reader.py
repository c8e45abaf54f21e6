"""Reads whole topics, all partitions, in no group: for audits, tables of scores and measurements."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Self

import numpy as np
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.errors import BrokerError, TopicsError
from pipeline.kafka import clients
from pipeline.records import Headers, RecordBatch, TopicPartition, large_binary
from pipeline.settings import KafkaSettings

_ANSWER_SECONDS = 10.0
_SILENCE_STEP_SECONDS = 0.5
_SILENCE_SECONDS = 60.0
# A broker that is named as leader may not know it yet: of a topic just made, or after another broker died.
_MOVING = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
_MOVING_STEP_SECONDS = 0.1

Offsets = dict[TopicPartition, int]
Where = Literal["earliest", "latest"] | int  # a number: the first record of that time, in ms since the epoch


class TopicReader:
    """Reads committed records of some topics, each partition in its order, from the start, a time, or from now on.

    With offsets by partition as ``start``, only those partitions are read.
    Close it, or use it as a context.
    Raises BrokerError if no broker answers, TopicsError if a topic is missing.
    """

    def __init__(self, kafka: KafkaSettings, topics: Sequence[str], *, start: Where | Offsets = "earliest") -> None:
        # Ends of partitions are reported: the position after trailing markers is known in no other way.
        # A position that is no longer there is an error: skipping records unseen would make a false audit.
        # A fetch that finds nothing is answered soon: it may hold up another partition that has something.
        self._consumer = clients.reader(
            kafka, enable_partition_eof=True, auto_offset_reset="error", fetch_wait_max_ms=50
        )
        # A consumer answers questions only between its fetches, half a second apart when nothing comes.
        self._admin = clients.admin(kafka)
        self._bootstrap = kafka.bootstrap
        try:
            if isinstance(start, Mapping):
                self._position = dict(start)
            else:
                self._position = offsets(self._admin, partitions(self._admin, topics, kafka.bootstrap), start)
            self._sources = tuple(self._position)
        except BaseException:
            self._consumer.close()
            raise
        self._consumer.assign([KafkaTopicPartition(*source, offset) for source, offset in self._position.items()])

    @property
    def sources(self) -> tuple[TopicPartition, ...]:
        """All partitions that are read."""
        return self._sources

    def read(self, rows: int = 10_000, timeout: float = 0.5) -> RecordBatch:
        """Wait up to ``timeout`` seconds for a first record; return it and those that are here already.

        At most ``rows`` records, of any partitions; none if nothing came.
        Raises BrokerError or TopicsError if Kafka says that a partition cannot be read.
        """
        first = self._consumer.poll(timeout)
        if first is None:
            return self._records([])
        return self._records([first, *self._consumer.consume(rows - 1, 0)])

    def catch_up(self, ends: Offsets | None = None) -> Iterator[RecordBatch]:
        """Read up to ``ends``, or to where each partition ends now, and what came along with that.

        Raises BrokerError if Kafka falls silent before that.
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
        """Return where each partition ends now for a reader of committed records: its last stable offset."""
        return offsets(self._admin, self._sources, "latest")

    def reached(self, ends: Offsets) -> bool:
        """Return whether everything before those ends was read."""
        return all(self._position[source] >= end for source, end in ends.items())

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _records(self, messages: list[Message]) -> RecordBatch:
        records = [message for message in messages if not self._is_notice(message)]
        index = {source: number for number, source in enumerate(self._sources)}
        where = [index[message.topic(), message.partition()] for message in records]  # type: ignore[index]
        places = [message.offset() for message in records]
        self._position.update({self._sources[i]: place + 1 for i, place in zip(where, places, strict=True)})
        for message in messages:
            if message.error() is not None:  # an end lies behind the records that were read before it
                source = TopicPartition(message.topic(), message.partition())
                self._position[source] = max(self._position[source], message.offset())

        def headers_of(row: int) -> Headers:
            return records[row].headers() or ()

        return RecordBatch(
            sources=self._sources,
            source=np.array(where, dtype=np.int32),
            offsets=np.array(places, dtype=np.int64),
            arrived_ms=np.array([message.timestamp()[1] for message in records], dtype=np.int64),
            keys=large_binary([message.key() for message in records]),
            values=large_binary([message.value() for message in records]),
            headers_of=headers_of,
        )

    def _is_notice(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            return True
        where = f"{message.topic()}[{message.partition()}] at {self._bootstrap}"
        if error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:
            raise TopicsError(f"{where}: the topic was deleted while it was read")
        raise BrokerError(f"{where} cannot be read: {error.str()}")


def partitions(admin: AdminClient, topics: Sequence[str], bootstrap: str) -> tuple[TopicPartition, ...]:
    """Return all partitions of the topics.

    Raises BrokerError if no broker answers, TopicsError if a topic is missing.
    """
    found = []
    for topic in topics:
        try:
            metadata = admin.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic]
        except KafkaException as error:
            why = error.args[0].str()
            raise BrokerError(f"no broker answers at {bootstrap} ({why}); is Kafka running?") from None
        if metadata.error is not None or not metadata.partitions:
            raise TopicsError(f"{bootstrap} has no topic {topic!r}; create it with: surgetank topics apply")
        found += [TopicPartition(topic, partition) for partition in sorted(metadata.partitions)]
    return tuple(found)


def offsets(admin: AdminClient, sources: Sequence[TopicPartition], which: Where) -> Offsets:
    """Return the first offset of each partition, the first of a time, or its end for readers of committed records.

    Raises BrokerError if the broker does not say.
    """
    if not sources:
        return {}
    if isinstance(which, int):
        found = _listed(admin, sources, OffsetSpec.for_timestamp(which))
        ends = _listed(admin, sources, OffsetSpec.latest())
        return {source: offset if offset >= 0 else ends[source] for source, offset in found.items()}  # -1: none is
    return _listed(admin, sources, OffsetSpec.earliest() if which == "earliest" else OffsetSpec.latest())


def _listed(admin: AdminClient, sources: Sequence[TopicPartition], spec: OffsetSpec) -> Offsets:
    pause, attempt = threading.Event(), 0
    while True:
        answers = admin.list_offsets(
            {KafkaTopicPartition(*source): spec for source in sources},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_ANSWER_SECONDS,
        )
        try:
            return {TopicPartition(tp.topic, tp.partition): answer.result().offset for tp, answer in answers.items()}
        except KafkaException as error:
            attempt += 1
            if error.args[0].code() not in _MOVING or attempt * _MOVING_STEP_SECONDS > _ANSWER_SECONDS:
                why = error.args[0].str()
                raise BrokerError(f"the offsets of topic {sources[0].topic!r} are not known: {why}") from None
            pause.wait(_MOVING_STEP_SECONDS)


class CommittedOffsets:
    """What a group has committed, asked of a consumer: for what goes on asking while brokers die.

    librdkafka's admin client does not bear that (ops/decisions/0002). Raises BrokerError, TopicsError.
    """

    def __init__(self, kafka: KafkaSettings, group: str, *topics: str) -> None:
        self._sources = partitions(clients.admin(kafka), topics, kafka.bootstrap)
        self._consumer = clients.reader(kafka, group_id=group, isolation_level="read_uncommitted")

    def total(self, timeout: float) -> int | None:
        """Return the sum of the committed offsets, none counting as 0; None if Kafka does not say in time."""
        try:
            found = self._consumer.committed([KafkaTopicPartition(*source) for source in self._sources], timeout)
        except KafkaException:
            return None
        total: int = sum(max(0, partition.offset) for partition in found)
        return total
