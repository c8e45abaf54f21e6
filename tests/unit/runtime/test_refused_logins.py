"""Refusals of a worker's connections: what is kept, warned about and forgotten."""

import logging

import pytest
from confluent_kafka import KafkaError

from surgetank.clock import SystemClock
from surgetank.runtime.refused_logins import KEPT_SECONDS, RefusedLogins


class SteppedClock(SystemClock):
    """A clock that stands still until it is stepped."""

    def __init__(self) -> None:
        self._at = 100.0

    def monotonic(self) -> float:
        """Return the set time."""
        return self._at

    def step(self, seconds: float) -> None:
        """Advance."""
        self._at += seconds


WRONG_PASSWORD = KafkaError(KafkaError._AUTHENTICATION, "sasl_ssl://a:1/1: SASL authentication error: Invalid username")


def test_a_refusal_is_kept_until_a_broker_answers(caplog: pytest.LogCaptureFixture) -> None:
    """With the option to correct; it is warned about once until then, however often it is repeated."""
    refused = RefusedLogins("a:1", SteppedClock())
    assert refused.current(answered=False) is None
    for _ in range(3):
        refused.met(WRONG_PASSWORD)
    assert "correct sasl.username and sasl.password" in (refused.current(answered=False) or "")
    assert refused.current(answered=True) is None
    assert refused.current(answered=False) is None
    refused.met(WRONG_PASSWORD)
    assert len(caplog.records) == 2
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_refusal_that_is_not_repeated_is_forgotten() -> None:
    """A worker without partitions asks brokers nothing that would show that they answer."""
    clock = SteppedClock()
    refused = RefusedLogins("a:1", clock)
    refused.met(WRONG_PASSWORD)
    clock.step(KEPT_SECONDS - 1)
    assert refused.current(answered=False) is not None
    clock.step(2)
    assert refused.current(answered=False) is None


def test_a_broker_that_is_away_is_no_refusal() -> None:
    """Such errors pass by themselves."""
    refused = RefusedLogins("a:1", SteppedClock())
    refused.met(KafkaError(KafkaError._TRANSPORT, "Connect to a:1 failed: Connection refused"))
    assert refused.current(answered=False) is None
