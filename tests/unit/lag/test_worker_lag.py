"""What a worker tells of its own partitions: exact while it holds the records, nothing where it does not know."""

import math
from typing import Any

import pytest

from pipeline.lag.rules import LagStatus
from pipeline.lag.seconds import LagMethod
from pipeline.lag.worker_lag import WorkerLag
from pipeline.records import TopicPartition
from pipeline.telemetry.kinds import LabelValue
from pipeline.telemetry.metrics import Metrics
from tests.unit.lag.clocks import SetClock

A, B = TopicPartition("flights.boarding", 0), TopicPartition("flights.boarding", 1)
Standings = dict[TopicPartition, tuple[int, tuple[int, int] | None]]


class Worker:
    """A worker's view: what it holds is set by the test."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.clock = SetClock()
        self.holds: Standings = {}
        self.lag = WorkerLag(self.metrics, self.clock, lambda: self.holds)
        self.metrics.refresh = self.lag.refresh

    def seconds(self, source: TopicPartition = A) -> tuple[float, LagMethod] | None:
        """Return what a scraper is told now."""
        self.metrics.expose()
        labels: dict[str, LabelValue] = {"topic": source.topic, "partition": source.partition}
        value, how = self.metrics.lag_seconds.value(**labels), self.metrics.lag_seconds_how.value(**labels)
        return None if value is None or how is None else (value, LagMethod(int(how)))

    def status(self, source: TopicPartition = A) -> LagStatus | None:
        """Return the status that is told."""
        value = self.metrics.lag_status.value(topic=source.topic, partition=source.partition)
        return None if value is None else LagStatus(int(value))


@pytest.fixture
def worker() -> Worker:
    """Return a worker that has looked once, with nothing to do."""
    worker = Worker()
    worker.holds = {A: (100, None), B: (7, None)}
    worker.lag.look([A, B], {A: 100, B: 7})
    return worker


def about(seconds: float) -> Any:
    """Return what equals an age of so many seconds that was read from a record, to a millisecond."""
    return pytest.approx(seconds, abs=0.001), LagMethod.RECORD


def test_the_age_is_that_of_the_oldest_record_at_the_moment_it_is_asked(worker: Worker) -> None:
    """It grows between two looks, and falls as soon as the record is committed."""
    worker.holds[A] = (100, (100, worker.clock.ms(ago=1.5)))
    assert worker.seconds() == about(1.5)
    worker.clock.at += 4
    assert worker.seconds() == about(5.5)
    worker.holds[A] = (101, None)
    assert worker.seconds() == (0, LagMethod.NO_LAG)
    assert worker.seconds(B) == (0, LagMethod.NO_LAG)


def test_what_was_not_fetched_is_interpolated(worker: Worker) -> None:
    """Records are there and the worker holds none of them: their arrival lies between two looks."""
    worker.clock.at += 2
    worker.lag.look([A, B], {A: 120, B: 7})
    worker.clock.at += 10
    assert worker.seconds() == (12, LagMethod.INTERPOLATED)


def test_without_brokers_nothing_is_told_but_what_is_held(worker: Worker) -> None:
    """Unknown is not zero: no status and no rates; the age of a record in hand is known all the same."""
    worker.clock.at += 2
    worker.holds[B] = (7, (7, worker.clock.ms(ago=3)))
    worker.lag.look([A, B], {})
    assert worker.seconds(A) is None
    assert worker.seconds(B) == about(3)
    assert worker.status(A) is None
    assert worker.metrics.drain_seconds.family().samples == []


def test_a_task_that_is_opened_anew_stands_where_it_stood(worker: Worker) -> None:
    """Its oldest record grows older while it opens; after half a minute it stalls."""
    worker.holds[A] = (100, (100, worker.clock.ms(ago=1)))
    worker.lag.look([A, B], {A: 130, B: 7})
    worker.clock.at += 2
    worker.lag.look([A, B], {A: 130, B: 7})
    del worker.holds[A]
    for _ in range(20):
        worker.clock.at += 2
        worker.lag.look([A, B], {A: 130, B: 7})
    assert worker.seconds() == about(43)
    assert worker.status() is LagStatus.STALL
    assert worker.status(B) is LagStatus.OK


def test_a_task_that_was_never_open_is_not_known() -> None:
    """What a new partition has committed is not known before it is open: no series."""
    worker = Worker()
    worker.lag.look([A], {A: 1000})
    assert worker.seconds() is None
    assert worker.status() is None


def test_given_up_partitions_vanish_and_come_back_fresh(worker: Worker) -> None:
    """Nothing is told of a partition of others, nor remembered of it."""
    worker.lag.forget([A])
    assert worker.seconds() is None
    assert worker.status() is None
    assert worker.status(B) is LagStatus.OK
    worker.holds[A] = (40, (40, worker.clock.ms(ago=2)))
    worker.lag.look([A, B], {A: 100, B: 7})
    assert worker.status() is LagStatus.OK  # it did not go back: another worker had it meanwhile


def test_rates_and_drain_are_told(worker: Worker) -> None:
    """Arrival, processing and the time until the lag is gone; infinite when it grows."""
    for end, committed in ((200, 100), (300, 220)):
        worker.clock.at += 10
        worker.holds[A] = (committed, (committed, worker.clock.ms(ago=1)))
        worker.lag.look([A, B], {A: end, B: 7})
    labels: dict[str, LabelValue] = {"topic": A.topic, "partition": 0}
    assert worker.metrics.arrival_records_per_second.value(**labels) == 10
    assert worker.metrics.processing_records_per_second.value(**labels) == 6
    assert worker.metrics.drain_seconds.value(**labels) == math.inf
    assert worker.metrics.drain_seconds.value(topic=B.topic, partition=1) == 0


def test_a_producer_whose_clock_is_hours_off_is_noticed(worker: Worker) -> None:
    """The record came between two looks, whatever it says of itself."""
    worker.clock.at += 2
    worker.holds[A] = (100, (100, worker.clock.ms(ago=5 * 3600)))
    worker.lag.look([A, B], {A: 101, B: 7})
    worker.clock.at += 3
    assert worker.seconds() == (5, LagMethod.BOUNDED)
    worker.holds[A] = (100, (100, worker.clock.ms(ago=-5 * 3600)))
    assert worker.seconds() == (5, LagMethod.BOUNDED)


def test_a_wall_clock_that_is_set_does_not_move_the_rules(worker: Worker) -> None:
    """The machine's clock jumps back an hour: no status changes, no age is negative."""
    worker.holds[A] = (100, (100, worker.clock.ms(ago=1)))
    worker.clock.wall -= 3600
    for _ in range(5):
        worker.clock.at += 2
        worker.lag.look([A, B], {A: 101, B: 7})
    found = worker.seconds()
    assert found is not None
    assert 8 <= found[0] <= 12
    assert found[1] is LagMethod.BOUNDED
    assert worker.status() is LagStatus.OK
