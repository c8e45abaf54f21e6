"""What a worker does when its group refuses it: the offsets of a transaction, or the protocol."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from surgetank.clock import SystemClock
from surgetank.errors import BrokerError
from surgetank.kafka import clients
from surgetank.runtime.group_membership import GroupMembership
from surgetank.runtime.transaction_manager import is_retriable, permits_same_producer
from surgetank.settings import KafkaSettings


@pytest.mark.parametrize("code", [KafkaError.ILLEGAL_GENERATION, KafkaError.STALE_MEMBER_EPOCH])
def test_another_generation_of_the_group_keeps_the_producer(code: int) -> None:
    """Brokers name it by the version of the response: both codes are the same refusal, and no call is repeated."""
    error = KafkaError(code, txn_requires_abort=True)
    assert permits_same_producer(error)
    assert not is_retriable(error)


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError._FENCED,
        KafkaError._TIMED_OUT,
    ],
)
def test_a_worker_that_is_no_member_any_more_makes_a_new_producer(code: int) -> None:
    """Another worker may have fenced it, so the next transaction begins with a new producer epoch."""
    assert not permits_same_producer(KafkaError(code, txn_requires_abort=True))


def test_tasks_that_moved_keep_the_producer() -> None:
    """Nothing was refused."""
    assert permits_same_producer(None)


class _Refusing:
    """A consumer whose first poll returns an error; a later one ends the test's membership."""

    def __init__(self, error: KafkaError | None, leave: Callable[[], None]) -> None:
        self._error = error
        self._leave = leave
        self.closed = False

    def subscribe(self, *_: object, **__: object) -> None:
        pass

    def poll(self, _: float) -> Any:
        if self._error is None:
            self._leave()
            return None
        error, self._error = self._error, None
        return type("Message", (), {"error": lambda self: error})()

    def memberid(self) -> str:
        return ""

    def consumer_group_metadata(self) -> bytes:
        return b"CGMDv2:" + bytes(4)

    def close(self) -> None:
        self.closed = True


class _Asked:
    """An admin client that answers a request for the settings of a group with an error; None: with settings."""

    def __init__(self, error: KafkaError | None) -> None:
        self._error = error

    def describe_configs(self, resources: list[Any], **_: object) -> dict[Any, Future[object]]:
        answer: Future[object] = Future()
        if self._error is None:
            answer.set_result({})
        else:
            answer.set_exception(KafkaException(self._error))
        return {resources[0]: answer}

    def failure(self, what: str, error: KafkaException) -> BrokerError:
        return BrokerError(f"{what}: {error}")


class _Hasty(SystemClock):
    """A minute passes with each look at it."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += 60.0
        return self._now


def _joined(
    monkeypatch: pytest.MonkeyPatch,
    chosen: str,
    refusal: KafkaError,
    asked: KafkaError | None = None,
    clock: SystemClock | None = None,
) -> tuple[list[str], list[BaseException]]:
    """Run a membership with the chosen protocol; return the protocols it joined with, and its failures.

    The brokers refuse a member of the protocol ``consumer``, and answer as ``asked`` when they are asked for it.
    """
    protocols: list[str] = []
    failures: list[BaseException] = []

    def member(*_: object, protocol: str, **__: object) -> _Refusing:
        protocols.append(protocol)
        return _Refusing(refusal if protocol == "consumer" else None, membership.leave)

    def failed(error: BaseException) -> None:
        failures.append(error)
        membership.leave()

    monkeypatch.setattr(clients, "member", member)
    monkeypatch.setattr(clients, "admin", lambda _: _Asked(asked))
    membership = GroupMembership(
        KafkaSettings.model_validate({"group_protocol": chosen}),
        group="group",
        topic="events",
        client_id="me",
        owner=None,  # type: ignore[arg-type] # it is assigned nothing
        tasks=1,
        advice="",
        patience_seconds=1,
        clock=clock or SystemClock(),
        beat=lambda: None,
        on_connection_error=lambda _: None,
        on_failure=failed,
    )
    try:
        membership.start()
    except BrokerError as error:
        failures.append(error)
    membership.stop(30)
    return protocols, failures


REFUSED = KafkaError(KafkaError.UNSUPPORTED_VERSION, fatal=True)


@pytest.mark.parametrize(
    "code", [KafkaError.INVALID_REQUEST, KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE]
)
def test_brokers_without_the_protocol_consumer(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Kafka before 4.0, where a member would wait silently: ``auto`` joins with the classic protocol, the only member.

    A worker that must use ``consumer`` ends before it joins, with the setting to change.
    """
    asked = KafkaError(code)
    assert _joined(monkeypatch, "auto", REFUSED, asked) == (["classic"], [])
    assert _joined(monkeypatch, "classic", REFUSED, asked) == (["classic"], [])
    protocols, (failure,) = _joined(monkeypatch, "consumer", REFUSED, asked)
    assert protocols == []
    assert isinstance(failure, BrokerError)
    assert "set kafka.group_protocol to 'auto' or 'classic'" in str(failure)


@pytest.mark.parametrize("asked", [None, KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)])
@pytest.mark.parametrize("code", [KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE])
def test_the_protocol_consumer_is_switched_off(
    monkeypatch: pytest.MonkeyPatch, code: int, asked: KafkaError | None
) -> None:
    """Kafka 4 with ``group.version`` 0: the broker refuses the member, which joins again with the classic protocol."""
    refusal = KafkaError(code, fatal=True)
    assert _joined(monkeypatch, "auto", refusal, asked) == (["consumer", "classic"], [])
    protocols, (failure,) = _joined(monkeypatch, "consumer", refusal, asked)
    assert protocols == ["consumer"]
    assert isinstance(failure, BrokerError)


def test_no_broker_tells_its_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is concluded from a timeout: it is asked again, and the worker does not join by chance."""
    protocols, failures = _joined(monkeypatch, "auto", REFUSED, KafkaError(KafkaError._TIMED_OUT), _Hasty())
    assert (protocols, [type(failure) for failure in failures]) == ([], [BrokerError])


def test_another_fatal_refusal_of_the_group_is_no_missing_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the worker instead of a change of the protocol."""
    protocols, (failure,) = _joined(monkeypatch, "auto", KafkaError(KafkaError.INVALID_REQUEST, fatal=True))
    assert protocols == ["consumer"]
    assert isinstance(failure, KafkaException)
