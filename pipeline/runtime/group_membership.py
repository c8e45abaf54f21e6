"""Who owns which partition: a group member that subscribes and never fetches.

librdkafka heartbeats in its own threads, whatever Python does. What this consumer is assigned stays paused; the
fetcher reads it through another consumer, because librdkafka pauses every partition of a consumer while one of its
rebalance callbacks is pending.

A static member (``kafka.static_membership``) keeps its partitions while it is away. After a kill the group does not
give its name away before its session has ended: it asks again until then.
"""

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from pipeline.clock import Clock
from pipeline.errors import BrokerError, LostIdentity
from pipeline.kafka import clients
from pipeline.settings import KafkaSettings

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
AGAIN_SECONDS = 0.5
_MARK = b"CGMDv2:"  # how librdkafka begins to write group metadata down; the generation follows


class RebalanceListener(Protocol):
    """Who is told of rebalances, in the membership's thread. Each call may block, below the session timeout."""

    def gained(self, partitions: list[int]) -> None:
        """Own these partitions also."""
        ...

    def revoked(self, partitions: list[int]) -> None:
        """Give these up: commit what is open and return, or return at the deadline."""
        ...

    def lost(self, partitions: list[int]) -> None:
        """Another may own these already: commit nothing of them; return when what was open is aborted."""
        ...


def generation(metadata: bytes) -> int:
    """Return the generation (KIP-848: the member epoch) that group metadata names; not above 0: no member. Pure."""
    if not metadata.startswith(_MARK):
        raise ValueError(f"group metadata of a kind that is not known: {metadata[:16]!r}")
    return int.from_bytes(metadata[len(_MARK) : len(_MARK) + 4], sys.byteorder, signed=True)


def has_code(error: KafkaError, code: int) -> bool:
    """Whether an error is of this code. librdkafka tells of a fatal one by another code, and in words. Pure."""
    return error.code() == code or (error.code() == KafkaError._FATAL and KafkaError(code).str() in error.str())


class GroupMembership:
    """Membership of a consumer group that shares the partitions of one anchor topic.

    ``tasks``: how many there can be, None for any number; the owner never hears of partitions beyond.
    A static member whose name is taken asks for it for ``patience_seconds``: more than a session takes to end.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        group: str,
        topic: str,
        client_id: str,
        owner: RebalanceListener,
        tasks: int | None,
        patience_seconds: float,
        clock: Clock,
        beat: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._kafka = kafka
        self._group = group
        self._topic = topic
        self._tasks = tasks
        self._client_id = client_id
        self._owner = owner
        self._patience = patience_seconds
        self._clock = clock
        self._refused_at: float | None = None  # since when the group does not give the name of this static member
        self._beat = beat
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._consumer: Consumer | None = None
        self._metadata: Any | None = None
        self._member_id: str | None = None
        self.protocol = "classic" if kafka.group_protocol == "classic" else "consumer"
        self._thread = threading.Thread(target=self._run, name="membership", daemon=True)

    def start(self) -> None:
        """Join the group."""
        self._consumer = self._join()
        self._thread.start()

    def metadata(self) -> Any | None:
        """Return the group metadata that a transaction's offsets must carry; None while this is no member.

        Metadata without a member id or a generation skips every check of the broker, and a KIP-848 consumer has an id
        before it has joined: such metadata is never given out. It is as of the last poll: a call on the consumer from
        another thread would wait for the poll to end, and then for the next one. One that is older than the broker's
        is refused (classic) or good for partitions that stayed (KIP-848).
        """
        return self._metadata

    @property
    def member_id(self) -> str | None:
        """This member's id in the group; None while it is no member."""
        return self._member_id

    def leave(self) -> None:
        """Leave the group soon; what is owned is revoked on the way."""
        self._stopping.set()

    def stop(self, timeout: float) -> None:
        """Leave the group, and end the thread."""
        self.leave()
        if self._thread.ident is not None:  # else it was never started
            self._thread.join(timeout)

    def _join(self) -> Consumer:
        consumer = clients.member(self._kafka, group=self._group, client_id=self._client_id, protocol=self.protocol)
        consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        return consumer

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._beat()
                assert self._consumer is not None
                message = self._consumer.poll(POLL_SECONDS)
                self._look(self._consumer)
                error = message.error() if message is not None else None
                if error is not None:
                    self._meet(error)
        except BaseException as error:  # noqa: BLE001 - a thread must not die in silence
            self._on_failure(error)
        finally:
            if self._consumer is not None:
                self._consumer.close()

    def _look(self, consumer: Consumer) -> None:
        self._member_id = consumer.memberid() or None
        metadata = consumer.consumer_group_metadata()
        self._metadata = metadata if self._member_id and generation(metadata) > 0 else None
        if self._metadata is not None:
            self._refused_at = None

    def _meet(self, error: KafkaError) -> None:
        """Fall back to the classic protocol where the broker has no other; anything else that is fatal is raised."""
        if has_code(error, KafkaError.UNRELEASED_INSTANCE_ID):
            self._ask_again()
            return
        if has_code(error, KafkaError.FENCED_INSTANCE_ID):
            raise LostIdentity(self._taken)
        unsupported = has_code(error, KafkaError.UNSUPPORTED_VERSION) or has_code(
            error, KafkaError._UNSUPPORTED_FEATURE
        )
        if unsupported and self.protocol == "consumer":
            if self._kafka.group_protocol == "consumer":
                raise BrokerError(
                    "the broker does not have the 'consumer' group protocol (KIP-848); set kafka.group_protocol to "
                    "'auto' or 'classic'"
                )
            assert self._consumer is not None
            self._consumer.close()
            self.protocol = "classic"
            self._consumer = self._join()
        elif error.fatal() or error.code() == KafkaError._FATAL:
            raise KafkaException(error)

    def _ask_again(self) -> None:
        """Ask for the name again, by a new consumer: one that was refused is of no use any more."""
        now = self._clock.monotonic()
        if self._refused_at is None:
            self._refused_at = now
            log.warning("the group still waits for the last worker named %s; asking again", self._client_id)
        if now - self._refused_at > self._patience:
            raise LostIdentity(self._taken)
        assert self._consumer is not None
        self._consumer.close()
        self._stopping.wait(AGAIN_SECONDS)
        self._consumer = self._join()

    @property
    def _taken(self) -> str:
        return (
            f"another live worker is named {self._client_id!r}, and kafka.static_membership is set; give each worker "
            "its own worker.name"
        )

    def _assigned(self, consumer: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        # Explicit offsets keep librdkafka from asking for committed ones; paused, it never fetches.
        consumer.incremental_assign([KafkaTopicPartition(p.topic, p.partition, 0) for p in partitions])
        consumer.pause(partitions)
        self._look(consumer)
        numbers = self._numbers(partitions)
        if len(numbers) < len(partitions):
            log.error(
                "%s has partitions that there is no state for: nothing of them is processed. Let the others run empty, "
                "stop the workers and run `surgetank state reshard`",
                self._topic,
            )
        if numbers:
            self._owner.gained(numbers)

    def _revoked(self, consumer: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        self._look(consumer)  # what is committed now, for the last time, needs the present generation
        if numbers := self._numbers(partitions):
            self._owner.revoked(numbers)
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        self._metadata = None
        if numbers := self._numbers(partitions):
            self._owner.lost(numbers)
        consumer.incremental_unassign(partitions)

    def _numbers(self, partitions: list[KafkaTopicPartition]) -> list[int]:
        numbers = [p.partition for p in partitions]
        return numbers if self._tasks is None else [number for number in numbers if number < self._tasks]
