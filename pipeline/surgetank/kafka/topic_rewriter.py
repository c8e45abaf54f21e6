"""Writes to many partitions in transactions of any size, for commands."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.errors import BrokerError
from surgetank.kafka import clients
from surgetank.kafka.offset_owner import OffsetOwner
from surgetank.records import Headers, TopicPartition
from surgetank.settings import KafkaSettings

TRANSACTION_SECONDS_MAX = 15 * 60.0  # as long as brokers allow by default
_CALL_SECONDS = 60.0
_FLUSH_SECONDS = 600.0
_ROOM_SECONDS = 0.1
_AGAIN = "run the command again, which repeats what was not written"


class TopicRewriter:
    """One transactional producer for one thread. It fences any earlier producer with the same ``identity``.

    ``what`` names what is written, in error messages. ``group`` is the consumer group whose offsets a transaction may
    contain. ``permit`` is called before each commit; an error from it aborts the transaction. A transaction lasts
    ``seconds`` at most. ``batch_bytes`` is the size of a batch of records that every topic takes, uncompressed;
    ``compressing`` is that of ``clients.transactional``. Raises BrokerError if the brokers reject a request.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        identity: str,
        what: str,
        *,
        group: str | None = None,
        permit: Callable[[], None] = lambda: None,
        seconds: float = TRANSACTION_SECONDS_MAX,
        batch_bytes: int = clients.BATCH_BYTES,
        compressing: bool = False,
    ) -> None:
        self._what = what
        self._permit = permit
        self._owner = OffsetOwner(identity)
        self._group = None if group is None else clients.reader(kafka, group_id=group)
        self._failed: KafkaError | None = None
        self._timeout_ms = round(seconds * 1000)
        self._producer = clients.transactional(
            kafka,
            transactional_id=identity,
            transaction_timeout_ms=self._timeout_ms,
            linger_ms=5,
            batch_size=batch_bytes,
            compressing=compressing,
        )
        with self._broker_errors("begin"):
            self._producer.init_transactions(_CALL_SECONDS)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the records put inside the context; abort if it raises."""
        with self._broker_errors("begin"):
            self._producer.begin_transaction()
        try:
            yield
            self._flush()
            self._permit()
            with self._broker_errors("commit"):
                self._producer.commit_transaction(_CALL_SECONDS)
        except BaseException:
            self._abort()
            raise

    def put(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        """Write a record. Blocks while the producer's queue is full."""
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=self._delivered, headers=list(headers))
            except BufferError:
                self._producer.poll(_ROOM_SECONDS)
            except KafkaException as error:
                raise self._broken("write", error) from None
            else:
                self._producer.poll(0)
                return

    def offsets(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit offsets of the group with the transaction. Only for partitions without a committed offset.

        They have an owner, so that no worker takes them for offsets that another application set.
        """
        mark = self._owner.metadata()
        first = [KafkaTopicPartition(*source, offset, mark) for source, offset in positions.items()]
        if first:
            assert self._group is not None, "offsets need a group"
            with self._broker_errors("write offsets"):
                metadata = self._group.consumer_group_metadata()
                self._producer.send_offsets_to_transaction(first, metadata, _CALL_SECONDS)

    def close(self) -> None:
        """Close the consumer that knows the group. The producer ends with its last reference."""
        if self._group is not None:
            self._group.close()

    def _flush(self) -> None:
        with self._broker_errors("write"):
            left = self._producer.flush(_FLUSH_SECONDS)
        if left or self._failed is not None:
            why = self._failed.str() if self._failed is not None else f"{left} records got no answer"
            raise BrokerError(f"{self._what} was not written: {why}; {_AGAIN}")

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        self._failed = self._failed or error

    def _abort(self) -> None:
        try:
            self._producer.abort_transaction(_CALL_SECONDS)
        except KafkaException:  # the next producer with this identity aborts the open transaction
            return

    @contextmanager
    def _broker_errors(self, step: str) -> Iterator[None]:
        """Raise BrokerError for a KafkaException in a step."""
        try:
            yield
        except KafkaException as error:
            raise self._broken(step, error) from None

    def _broken(self, step: str, error: KafkaException) -> BrokerError:
        reason = error.args[0]
        if reason.code() == KafkaError._FENCED:
            return BrokerError(
                f"{self._what} is written by a command that was started later, or the transaction took longer than "
                f"{self._timeout_ms / 1000:g} s; this one ends"
            )
        if reason.code() == KafkaError.INVALID_TRANSACTION_TIMEOUT:
            return BrokerError(f"the brokers' transaction.max.timeout.ms must be {self._timeout_ms} or more for this")
        return BrokerError(f"{self._what} was not written ({step}): {reason.str()}; {_AGAIN}")
