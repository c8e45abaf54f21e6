"""The lag metrics of a worker: exact while it held the records, absent while offsets are unknown."""

import math
from typing import Any

import pytest

from surgetank.lag.rules import LagStatus
from surgetank.lag.seconds import LagMethod
from surgetank.lag.worker_lag import WorkerLag
from surgetank.records import TopicPartition
from surgetank.telemetry.health import Health
from surgetank.telemetry.kinds import LabelValue
from surgetank.telemetry.metrics import Metrics
from tests.unit.lag.clocks import SetClock

A, B = TopicPartition("flights.boarding", 0), TopicPartition("flights.boarding", 1)
Positions = dict[TopicPartition, tuple[int, tuple[int, int] | None]]


class Worker:
    """A worker whose offsets and held records are set by the test."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.clock = SetClock()
        self.held: Positions = {}
        self.health = Health(self.clock, ("tasks",))
        self.health.set("tasks", True)
        self.lag = WorkerLag(self.metrics, self.health, self.clock)
        self.metrics.refresh = lambda: self.lag.refresh(self.held)

    def seconds(self, source: TopicPartition = A) -> tuple[float, LagMethod] | None:
        """Return the lag in seconds on the metrics page now, and its method."""
        self.metrics.expose()
        labels: dict[str, LabelValue] = {"topic": source.topic, "partition": source.partition}
        value, how = self.metrics.lag_seconds.value(**labels), self.metrics.lag_seconds_how.value(**labels)
        return None if value is None or how is None else (value, LagMethod(int(how)))

    def status(self, source: TopicPartition = A) -> LagStatus | None:
        """Return the status in the metrics."""
        value = self.metrics.lag_status.value(topic=source.topic, partition=source.partition)
        return None if value is None else LagStatus(int(value))


@pytest.fixture
def worker() -> Worker:
    """Return a worker after one evaluation without lag."""
    worker = Worker()
    worker.held = {A: (100, None), B: (7, None)}
    worker.lag.look([A, B], {A: 100, B: 7}, {}, worker.held)
    return worker


def about(seconds: float) -> Any:
    """Return a matcher of an age of ``seconds`` from a record, within a millisecond."""
    return pytest.approx(seconds, abs=0.001), LagMethod.RECORD


def test_the_age_is_computed_at_the_scrape(worker: Worker) -> None:
    """It grows between two evaluations, and falls as soon as the record is committed."""
    worker.held[A] = (100, (100, worker.clock.ms(ago=1.5)))
    assert worker.seconds() == about(1.5)
    worker.clock.at += 4
    assert worker.seconds() == about(5.5)
    worker.held[A] = (101, None)
    assert worker.seconds() == (0, LagMethod.NO_LAG)
    assert worker.seconds(B) == (0, LagMethod.NO_LAG)


def test_the_arrival_of_unfetched_records_is_interpolated(worker: Worker) -> None:
    """The worker held none of the records: their arrival is between two evaluations."""
    worker.clock.at += 2
    worker.lag.look([A, B], {A: 120, B: 7}, {}, worker.held)
    worker.clock.at += 10
    assert worker.seconds() == (12, LagMethod.INTERPOLATED)


def test_without_brokers_only_the_age_of_held_records_is_known(worker: Worker) -> None:
    """No status and no rates; unknown is not zero."""
    worker.clock.at += 2
    worker.held[B] = (7, (7, worker.clock.ms(ago=3)))
    worker.lag.look([A, B], {}, {}, worker.held)
    assert worker.seconds(A) is None
    assert worker.seconds(B) == about(3)
    assert worker.status(A) is None
    assert worker.metrics.drain_seconds.family().samples == []


def test_a_task_that_is_reopened_keeps_its_offsets(worker: Worker) -> None:
    """Its oldest record ages while it opens; after half a minute it stalls."""
    worker.held[A] = (100, (100, worker.clock.ms(ago=1)))
    worker.lag.look([A, B], {A: 130, B: 7}, {}, worker.held)
    worker.clock.at += 2
    worker.lag.look([A, B], {A: 130, B: 7}, {}, worker.held)
    del worker.held[A]
    for _ in range(20):
        worker.clock.at += 2
        worker.lag.look([A, B], {A: 130, B: 7}, {}, worker.held)
    assert worker.seconds() == about(43)
    assert worker.status() is LagStatus.STALL
    assert worker.status(B) is LagStatus.OK


def test_a_task_that_was_never_open_has_no_series() -> None:
    """The committed offset of a new partition is unknown before the task is open."""
    worker = Worker()
    worker.lag.look([A], {A: 1000}, {}, worker.held)
    assert worker.seconds() is None
    assert worker.status() is None


def test_revoked_partitions_are_removed_with_their_history(worker: Worker) -> None:
    """A partition that comes back starts without history."""
    worker.lag.forget([A])
    assert worker.seconds() is None
    assert worker.status() is None
    assert worker.status(B) is LagStatus.OK
    worker.held[A] = (40, (40, worker.clock.ms(ago=2)))
    worker.lag.look([A, B], {A: 100, B: 7}, {}, worker.held)
    assert worker.status() is LagStatus.OK  # no rewind: another worker owned it meanwhile


def test_rates_and_drain_time_are_exported(worker: Worker) -> None:
    """Arrival, processing and drain time; infinite while the lag grows."""
    for end, committed in ((200, 100), (300, 220)):
        worker.clock.at += 10
        worker.held[A] = (committed, (committed, worker.clock.ms(ago=1)))
        worker.lag.look([A, B], {A: end, B: 7}, {}, worker.held)
    labels: dict[str, LabelValue] = {"topic": A.topic, "partition": 0}
    assert worker.metrics.arrival_records_per_second.value(**labels) == 10
    assert worker.metrics.processing_records_per_second.value(**labels) == 6
    assert worker.metrics.drain_seconds.value(**labels) == math.inf
    assert worker.metrics.drain_seconds.value(topic=B.topic, partition=1) == 0


def test_a_timestamp_of_a_wrong_producer_clock_is_rejected(worker: Worker) -> None:
    """The record arrived between two evaluations, so its timestamp is out of bounds."""
    worker.clock.at += 2
    worker.held[A] = (100, (100, worker.clock.ms(ago=5 * 3600)))
    worker.lag.look([A, B], {A: 101, B: 7}, {}, worker.held)
    worker.clock.at += 3
    assert worker.seconds() == (5, LagMethod.BOUNDED)
    worker.held[A] = (100, (100, worker.clock.ms(ago=-5 * 3600)))
    assert worker.seconds() == (5, LagMethod.BOUNDED)


def test_an_open_transaction_of_a_producer_is_told(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """As records and seconds, not as lag; one warning after a minute; gone when the transaction ends."""
    labels: dict[str, LabelValue] = {"topic": A.topic, "partition": A.partition}
    records, seconds = worker.metrics.open_transaction_records, worker.metrics.open_transaction_seconds
    for _ in range(40):
        worker.clock.at += 2
        assert worker.lag.unchanged({A: 100, B: 8}) == [A]
        worker.lag.look([A, B], {A: 100, B: 7}, {A: 130}, worker.held)
    assert (records.value(**labels), seconds.value(**labels)) == (30, 78)
    assert worker.seconds() == (0, LagMethod.NO_LAG)
    assert caplog.text.count("behind an open transaction") == 1
    assert "flights.boarding[0]: 30 records have waited for 60 s" in caplog.text
    worker.clock.at += 2
    worker.lag.look([A, B], {A: 131, B: 7}, {}, worker.held)
    assert records.value(**labels) is seconds.value(**labels) is None


def test_finished_events_wait_behind_an_open_transaction(worker: Worker) -> None:
    """``/ready`` stays 200, since other partitions are scored and no restart helps, and names it while it lasts."""
    for _ in range(32):
        worker.clock.at += 2
        worker.lag.look([A, B], {A: 100, B: 7}, {A: 130}, worker.held)
    ready, body = worker.health.ready()
    assert (ready, body["ready"], body["failing"]) == (True, True, [])
    assert [each["name"] for each in body["warnings"]] == ["transactions"]
    assert "flights.boarding[0]: 30 records have waited for 62 s" in body["warnings"][0]["why"]
    worker.clock.at += 2
    worker.lag.look([A, B], {A: 131, B: 7}, {}, worker.held)
    assert worker.health.ready() == (True, {"ready": True, "failing": []})


def test_a_change_of_the_wall_clock_changes_no_status(worker: Worker) -> None:
    """The wall clock jumps back an hour: no status changes and no age is negative."""
    worker.held[A] = (100, (100, worker.clock.ms(ago=1)))
    worker.clock.wall -= 3600
    for _ in range(5):
        worker.clock.at += 2
        worker.lag.look([A, B], {A: 101, B: 7}, {}, worker.held)
    found = worker.seconds()
    assert found is not None
    assert 8 <= found[0] <= 12
    assert found[1] is LagMethod.BOUNDED
    assert worker.status() is LagStatus.OK
