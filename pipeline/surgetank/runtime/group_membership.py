"""Consumer group membership: a group member that subscribes and never fetches.

librdkafka sends heartbeats in its own threads, independently of Python. The assigned partitions stay paused; the
fetcher reads them through another consumer, because librdkafka pauses every partition of a consumer while one of its
rebalance callbacks is pending.

A static member (``kafka.static_membership``) keeps its partitions while it restarts. After a kill the group does not
release its instance id before its session has timed out; until then the worker joins again repeatedly.
"""

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.clock import Clock
from surgetank.errors import BrokerError, LostIdentity
from surgetank.kafka import clients
from surgetank.settings import KafkaSettings

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
AGAIN_SECONDS = 0.5
_MARK = b"CGMDv2:"  # prefix of librdkafka's serialized group metadata; the generation follows


class RebalanceListener(Protocol):
    """Callbacks for rebalances, called in the membership thread. Each may block for less than the session timeout."""

    def assigned(self, partitions: list[int]) -> None:
        """Handle the assignment of additional partitions."""
        ...

    def revoked(self, partitions: list[int]) -> None:
        """Handle a revocation: commit the open work of these partitions and return, at the latest at the deadline."""
        ...

    def lost(self, partitions: list[int]) -> None:
        """Handle lost partitions, which others may own: commit nothing; return when their open work is aborted."""
        ...


def generation(metadata: bytes) -> int:
    """Return the generation (KIP-848: member epoch) in group metadata; 0 or less: not a member. Pure.

    Raises ValueError for metadata in an unknown format.
    """
    if not metadata.startswith(_MARK):
        raise ValueError(f"group metadata of a kind that is not known: {metadata[:16]!r}")
    return int.from_bytes(metadata[len(_MARK) : len(_MARK) + 4], sys.byteorder, signed=True)


def has_code(error: KafkaError, code: int) -> bool:
    """Return whether an error has this code, or is a fatal error whose text names it. Pure."""
    return error.code() == code or (error.code() == KafkaError._FATAL and KafkaError(code).str() in error.str())


class GroupMembership:
    """Membership of a consumer group that shares the partitions of one anchor topic.

    ``tasks``: the number of tasks; ``owner`` gets no callbacks for partitions beyond it. ``advice`` is a clause that
    says how to get more.
    A static member whose name is in use retries for ``patience_seconds``, which must exceed the session timeout.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        group: str,
        topic: str,
        client_id: str,
        owner: RebalanceListener,
        tasks: int,
        advice: str,
        patience_seconds: float,
        clock: Clock,
        beat: Callable[[], None],
        on_connection_error: Callable[[KafkaError], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._kafka = kafka
        self._group = group
        self._topic = topic
        self._tasks = tasks
        self._advice = advice
        self._client_id = client_id
        self._owner = owner
        self._patience = patience_seconds
        self._clock = clock
        self._refused_at: float | None = None  # when the group first refused the name of this static member
        self._forbidden = False  # whether the user was found to lack the right to read the group
        self._beat = beat
        self._on_connection_error = on_connection_error
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
        """Return the group metadata to send with a transaction's offsets; None while this is not a member.

        The broker does not check metadata without a member id or a generation, and a KIP-848 consumer has an id before
        it has joined: such metadata is never returned. The metadata is as of the last poll: a call on the consumer from
        another thread would wait for the poll to end, and then for the next one. The broker rejects metadata older
        than its own (classic), or accepts it for partitions that did not move (KIP-848).
        """
        return self._metadata

    @property
    def member_id(self) -> str | None:
        """This member's id in the group; None while it is not a member."""
        return self._member_id

    def leave(self) -> None:
        """Leave the group asynchronously; the owned partitions are revoked first."""
        self._stopping.set()

    def stop(self, timeout: float) -> None:
        """Leave the group and end the thread; wait up to ``timeout`` seconds."""
        self.leave()
        if self._thread.ident is not None:  # else it was never started
            self._thread.join(timeout)

    def _join(self) -> Consumer:
        consumer = clients.member(
            self._kafka,
            group=self._group,
            client_id=self._client_id,
            protocol=self.protocol,
            on_error=self._on_connection_error,
        )
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
        except BaseException as error:  # noqa: BLE001 - a thread must not end without a report
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
            self._forbidden = False

    def _meet(self, error: KafkaError) -> None:
        """Handle an error: fall back to the classic protocol if the broker lacks KIP-848; raise other fatal errors."""
        if has_code(error, KafkaError.UNRELEASED_INSTANCE_ID):
            self._ask_again()
            return
        if has_code(error, KafkaError.GROUP_AUTHORIZATION_FAILED):
            self._wait_for_right(lost=error.fatal() or error.code() == KafkaError._FATAL)
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

    def _wait_for_right(self, *, lost: bool) -> None:
        """Warn once that the user may not read the group; join with a new consumer if this one is ``lost``."""
        if not self._forbidden:
            self._forbidden = True
            log.warning(
                "the right Read of group %s is missing: this worker waits until its user has it (`surgetank topics "
                "acls` lists the rights)",
                self._group,
            )
        if lost:
            self._join_again()

    def _ask_again(self) -> None:
        """Join again with a new consumer, since a refused consumer cannot be reused."""
        now = self._clock.monotonic()
        if self._refused_at is None:
            self._refused_at = now
            log.warning("the group still waits for the last worker named %s; asking again", self._client_id)
        if now - self._refused_at > self._patience:
            raise LostIdentity(self._taken)
        self._join_again()

    def _join_again(self) -> None:
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
        # Explicit offsets keep librdkafka from requesting committed offsets; paused partitions are never fetched.
        consumer.incremental_assign([KafkaTopicPartition(p.topic, p.partition, 0) for p in partitions])
        consumer.pause(partitions)
        self._look(consumer)
        numbers = self._numbers(partitions)
        if len(numbers) < len(partitions):
            beyond = sorted(each.partition for each in partitions if each.partition >= self._tasks)
            log.error(
                "nothing of partitions %s of %s is processed, all others are, because %s",
                ", ".join(map(str, beyond)),
                self._topic,
                self._advice,
            )
        if numbers:
            self._owner.assigned(numbers)

    def _revoked(self, consumer: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        self._look(consumer)  # the last commit of these partitions needs the current generation
        if numbers := self._numbers(partitions):
            self._owner.revoked(numbers)
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        self._metadata = None
        if numbers := self._numbers(partitions):
            self._owner.lost(numbers)
        consumer.incremental_unassign(partitions)

    def _numbers(self, partitions: list[KafkaTopicPartition]) -> list[int]:
        return [each.partition for each in partitions if each.partition < self._tasks]
