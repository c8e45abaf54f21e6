"""Records that are good to have are in nobody's way, whatever the brokers do."""

import threading
from collections import Counter
from concurrent.futures import Future

import pytest

from surgetank.kafka import best_effort_producer
from surgetank.kafka.best_effort_producer import PENDING_MAX, BestEffortProducer
from surgetank.kafka.local.broker import free_ports
from surgetank.settings import KafkaSettings


class Outcomes:
    """Counts outcomes, from any thread."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self._changed = threading.Condition()

    def __call__(self, outcome: str) -> None:
        """Count one."""
        with self._changed:
            self.counted[outcome] += 1
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        """Wait until so many have ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.counted.total() >= count, 30), self.counted


def test_without_a_broker_everything_is_lost_and_nothing_waits() -> None:
    """Sending returns, closing returns, and each record is counted once: also those that no queue has room for."""
    outcomes = Outcomes()
    sender = BestEffortProducer(KafkaSettings(bootstrap=f"127.0.0.1:{free_ports(1)}"), client_id="c", ended=outcomes)
    for number in range(3 * PENDING_MAX):
        sender.send("t", b"x", number)
    sender.close()
    sender.send("t", b"too late", 0)
    outcomes.wait(3 * PENDING_MAX + 1)
    assert outcomes.counted == {"lost": 3 * PENDING_MAX + 1}


def test_settings_that_no_client_takes_lose_records_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once."""
    outcomes = Outcomes()
    kafka = KafkaSettings(client={"security.protocol": "nonsense"})
    sender = BestEffortProducer(kafka, client_id="c", ended=outcomes)
    for _ in range(3):
        sender.send("t", b"x", 0)
    outcomes.wait(3)
    sender.close()
    assert outcomes.counted == {"lost": 3}
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_what_was_never_used_starts_no_thread() -> None:
    """A process that tells nothing connects to nothing."""
    before = threading.active_count()
    sender = BestEffortProducer(KafkaSettings(), client_id="c", ended=lambda _: None)
    assert threading.active_count() == before
    sender.close()


@pytest.mark.parametrize(("result", "told"), [(1_800_000_000_000, [1_800_000_000_000]), (None, [])])
def test_the_time_of_the_broker_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, result: int | None, told: list[int]
) -> None:
    """If the topic has it; otherwise the time of the record is that of its producer."""

    class Written:
        """Writes each record at once."""

        def send(self, topic: str, value: bytes, at_ms: int) -> "Future[int | None]":
            """Return a future that has ended."""
            future: Future[int | None] = Future()
            future.set_result(result)
            return future

    monkeypatch.setattr(best_effort_producer, "ConfirmedProducer", lambda *_, **__: Written())
    outcomes, times = Outcomes(), list[int]()
    BestEffortProducer(KafkaSettings(), client_id="c", ended=outcomes).send("t", b"x", 0, times.append)
    assert outcomes.counted == {"written": 1}
    assert times == told
