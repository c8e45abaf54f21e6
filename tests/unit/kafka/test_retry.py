"""Questions to Kafka that are asked again while nobody answers."""

import logging

import pytest

from surgetank.errors import BrokerError, TopicsError
from surgetank.kafka import retry
from surgetank.kafka.retry import retry_until_available, wait_until


class Ticking:
    """A clock that goes on by a second with each look."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self.seconds

    def monotonic(self) -> float:
        """Return the next second."""
        self.seconds += 1
        return self.seconds


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "AGAIN_SECONDS", 0.0)


def asked(errors: list[Exception]) -> str:
    """Raise the errors one after the other, then answer."""
    if errors:
        raise errors.pop(0)
    return "answer"


def test_it_asks_until_there_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """A controller that is away for a while ends no worker, and each refusal is logged."""
    errors: list[Exception] = [BrokerError("no controller")] * 3

    with caplog.at_level(logging.WARNING):
        assert retry_until_available(lambda: asked(errors), Ticking(), seconds=10) == "answer"

    assert caplog.text.count("no controller") == 3


def test_it_gives_up_when_the_time_is_over() -> None:
    """Where no broker is at all, the last error is told, and nothing is asked for ever."""
    errors: list[Exception] = [BrokerError(f"attempt {number}") for number in range(100)]

    with pytest.raises(BrokerError, match="attempt 9"):
        retry_until_available(lambda: asked(errors), Ticking(), seconds=10)


def test_what_is_wrong_is_said_at_once() -> None:
    """A topic that is missing will not come by asking."""
    errors: list[Exception] = [TopicsError("topic is missing"), TopicsError("asked twice")]

    with pytest.raises(TopicsError, match="is missing"):
        retry_until_available(lambda: asked(errors), Ticking(), seconds=10)


@pytest.mark.parametrize(("met_at", "met", "checks"), [(1, True, 1), (3, True, 3), (9, False, 5)])
def test_a_condition_is_checked_until_it_is_met_or_the_time_is_over(met_at: int, met: bool, checks: int) -> None:
    """It is checked at once, then at each interval, and not again after it was met."""
    calls: list[None] = []

    def condition() -> bool:
        calls.append(None)
        return len(calls) >= met_at

    assert wait_until(condition, seconds=0.005, every=0.001) is met
    assert len(calls) == checks
