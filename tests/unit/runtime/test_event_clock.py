"""surgetank.runtime.event_clock: the age of events is right, whatever the clock of the worker says."""

import logging

import numpy as np
import pytest

from surgetank.records import PartitionRecords, TopicPartition, large_binary
from surgetank.runtime.event_clock import SAMPLES, EventClock
from surgetank.telemetry.metrics import Metrics

SOURCE = TopicPartition("events", 0)
DAY = 86_400.0
TRUE = 1_800_000_000.0  # seconds since the epoch at monotonic time 1,000


class WrongClock:
    """A clock that is ``wrong`` seconds ahead of the true time."""

    def __init__(self, wrong: float) -> None:
        self.at = 1_000.0
        self.wrong = wrong

    def monotonic(self) -> float:
        """Return the time since an unknown start."""
        return self.at

    def now(self) -> float:
        """Return the wrong time."""
        return self.true + self.wrong

    @property
    def true(self) -> float:
        """The right time, by which events are stamped."""
        return TRUE + self.at - 1_000.0


def read(clock: EventClock, stamped: float, offset: int) -> None:
    """Have one event read that was stamped at this time."""
    none = large_binary([None])
    offsets, stamps = np.array([offset]), np.array([round(stamped * 1000)])
    clock.fetched([PartitionRecords(SOURCE, offset + 1, offsets, stamps, none, none)])


def read_new(clock: EventClock, wrong: WrongClock, events: int, first: int = 100) -> None:
    """Have events read half a second after they arrived."""
    for number in range(events):
        wrong.at += 1.0
        read(clock, wrong.true - 0.5, first + number)


def gauge(metrics: Metrics) -> float:
    """Return the difference that the metrics show."""
    for line in metrics.expose()[0].decode().splitlines():
        if line.startswith("surgetank_clock_difference_seconds "):
            return float(line.split()[1])
    return 0.0


@pytest.mark.parametrize("wrong", [0.0, 3.0, -3.0, DAY, -DAY, 365 * DAY, 100.0, -100.0])
def test_the_clock_of_a_worker_is_wrong(wrong: float, caplog: pytest.LogCaptureFixture) -> None:
    """From the first event on ages are right to the tolerance; the difference is told once, and in a metric."""
    source, metrics = WrongClock(wrong), Metrics()
    clock = EventClock(source, metrics)
    clock.opened({SOURCE: 100})
    with caplog.at_level(logging.INFO):
        for number in range(2 * SAMPLES):
            read_new(clock, source, 1, 100 + number)
            age = clock.now() - (source.true - 0.5)
            assert -3.0 <= age <= 3.5
            assert (abs(wrong) < 10) or age < 1.0
    assert len(caplog.records) == (abs(wrong) > 10)
    assert gauge(metrics) == pytest.approx(wrong if abs(wrong) > 10 else 0.0, abs=1.0)
    if wrong > 10:
        assert "ahead of" in caplog.text
    elif wrong < -10:
        assert "behind" in caplog.text


@pytest.mark.parametrize("jump", [DAY, -DAY, 50.0, -50.0])
def test_the_clock_of_a_worker_jumps_and_is_set_right(jump: float, caplog: pytest.LogCaptureFixture) -> None:
    """Hours after the start too; ages stay right at once, and once it is right again that is told."""
    source, metrics = WrongClock(0.0), Metrics()
    clock = EventClock(source, metrics)
    clock.opened({SOURCE: 100})
    read_new(clock, source, SAMPLES)
    source.at += 5 * DAY
    with caplog.at_level(logging.INFO):
        for number, wrong in enumerate((0.0, jump, 0.0)):
            source.wrong = wrong
            assert abs(clock.now() - source.true) < 1.0
            read_new(clock, source, SAMPLES, 1_000 * (number + 1))
            assert abs(clock.now() - source.true) < 1.0
            assert gauge(metrics) == pytest.approx(wrong, abs=1.0)
    assert len(caplog.records) == 2
    assert "agrees" in caplog.text


def test_a_suspended_machine_is_no_wrong_clock() -> None:
    """Its monotonic clock stands still meanwhile, and the other does not: the next events show which is right."""
    source = WrongClock(0.0)
    clock = EventClock(source, Metrics())
    clock.opened({SOURCE: 100})
    read_new(clock, source, SAMPLES)
    later = 3_600.0
    source.wrong += later  # as seen from the monotonic clock
    for number in range(SAMPLES):
        source.at += 1.0
        read(clock, source.now() - 0.5, 1_000 + number)
    assert abs(clock.now() - source.now()) < 1.0


@pytest.mark.parametrize("age", [DAY, 30 * DAY])
def test_a_backlog_is_as_old_as_it_is(age: float) -> None:
    """Events from before the start may be that old; nothing is corrected, with new events between them neither."""
    source = WrongClock(0.0)
    clock = EventClock(source, Metrics())
    clock.opened({SOURCE: 100})
    for offset in range(99):
        read(clock, source.true - age, offset)
        assert clock.now() == source.now()
    read_new(clock, source, SAMPLES)
    assert clock.now() == source.now()


@pytest.mark.parametrize("wrong", [DAY, -DAY])
def test_a_producer_with_a_wrong_clock_is_no_majority(wrong: float, caplog: pytest.LogCaptureFixture) -> None:
    """A third of the events with wrong timestamps tells nothing of this worker's clock."""
    source = WrongClock(0.0)
    clock = EventClock(source, Metrics())
    clock.opened({SOURCE: 100})
    for number in range(100):
        read_new(clock, source, 2, 100 + 3 * number)
        read(clock, source.true + wrong, 102 + 3 * number)
        assert clock.now() == source.now()
    assert not caplog.records


@pytest.mark.parametrize("age", [DAY, 60.0])
def test_events_are_late_or_replayed(age: float, caplog: pytest.LogCaptureFixture) -> None:
    """They are as old as they seem, also if they are most of the new events: one young event shows that."""
    source, metrics = WrongClock(0.0), Metrics()
    clock = EventClock(source, metrics)
    clock.opened({SOURCE: 100})
    read_new(clock, source, 1)
    for offset in range(101, 101 + 2 * SAMPLES):
        read(clock, source.true - age, offset)
        assert clock.now() == source.now()
    assert gauge(metrics) == 0.0
    assert not caplog.records


def test_late_events_that_come_first_are_no_wrong_clock_for_long(caplog: pytest.LogCaptureFixture) -> None:
    """The first young event corrects that at once."""
    source, metrics = WrongClock(0.0), Metrics()
    clock = EventClock(source, metrics)
    clock.opened({SOURCE: 100})
    with caplog.at_level(logging.INFO):
        for offset in range(100, 100 + SAMPLES):
            read(clock, source.true - DAY, offset)
        read_new(clock, source, 1, 100 + SAMPLES)
    assert clock.now() == source.now()
    assert gauge(metrics) == 0.0
    assert "agrees" in caplog.text


def test_late_events_do_not_raise_the_difference_of_a_clock_that_is_ahead() -> None:
    """The youngest events tell it."""
    source = WrongClock(DAY)
    clock = EventClock(source, Metrics())
    clock.opened({SOURCE: 100})
    for number in range(SAMPLES):
        read(clock, source.true - (0.5 if number % 3 == 0 else 7_200.0), 100 + number)
        assert abs(clock.now() - source.true) < 1.0


def test_a_clock_that_is_ahead_stays_known_after_its_events_could_have_waited_that_long() -> None:
    """Long after the opening, events are not older than the opening any more, but not young either."""
    source = WrongClock(100.0)
    clock = EventClock(source, Metrics())
    clock.opened({SOURCE: 100})
    read_new(clock, source, 10 * SAMPLES)
    assert abs(clock.now() - source.true) < 1.0


def appended(clock: EventClock, source: WrongClock, *, seconds: float = 0.1) -> None:
    """Have a record appended by a broker, whose clock is right, and acknowledged after ``seconds``."""
    sent = source.monotonic()
    source.at += seconds
    clock.appended(sent, round((source.true - seconds / 2) * 1000))


@pytest.mark.parametrize("wrong", [DAY, -DAY, 100.0, -100.0])
def test_the_clock_is_wrong_while_a_backlog_is_read(wrong: float, caplog: pytest.LogCaptureFixture) -> None:
    """By the time of the brokers: events of a backlog may be as old as they seem."""
    source, metrics = WrongClock(wrong), Metrics()
    clock = EventClock(source, metrics)
    clock.opened({SOURCE: 100})
    with caplog.at_level(logging.INFO):
        appended(clock, source)
        for offset in range(99):
            read(clock, source.true - 7_200.0, offset)
            assert abs(clock.now() - source.true) < 1.0
    assert len(caplog.records) == 1
    assert "of the brokers" in caplog.text
    assert gauge(metrics) == pytest.approx(wrong, abs=1.0)


def test_a_stream_is_always_late(caplog: pytest.LogCaptureFixture) -> None:
    """The time of the brokers shows that; without it the clock seems to be ahead."""
    source, metrics = WrongClock(0.0), Metrics()
    clock = EventClock(source, metrics)
    clock.opened({SOURCE: 100})
    appended(clock, source)
    for offset in range(100, 100 + 2 * SAMPLES):
        source.at += 1.0
        read(clock, source.true - 120.0, offset)
        assert clock.now() == source.now()
    assert gauge(metrics) == 0.0
    assert not caplog.records


def test_a_record_that_waited_for_the_brokers_is_no_evidence() -> None:
    """Its time may be that of an attempt before the last one."""
    source = WrongClock(0.0)
    clock = EventClock(source, Metrics())
    appended(clock, source, seconds=60.0)
    assert clock.now() == source.now()


def test_a_suspended_machine_is_no_wrong_clock_by_the_brokers() -> None:
    """What was known from the brokers is an estimate after the jump: one young event corrects it."""
    source = WrongClock(0.0)
    clock = EventClock(source, Metrics())
    clock.opened({SOURCE: 100})
    appended(clock, source)
    read_new(clock, source, SAMPLES)
    later = 3_600.0
    source.wrong += later  # as seen from the monotonic clock
    source.at += 1.0
    read(clock, source.now() - 0.5, 1_000)
    assert abs(clock.now() - source.now()) < 1.0


@pytest.mark.parametrize("jump", [DAY, -DAY, 50.0, -50.0, 5.0])
def test_the_clock_jumps_after_the_brokers_showed_that_it_was_right(jump: float) -> None:
    """Ages stay right at once."""
    source = WrongClock(0.0)
    clock = EventClock(source, Metrics())
    clock.opened({SOURCE: 100})
    appended(clock, source)
    read_new(clock, source, SAMPLES)
    source.wrong = jump
    assert abs(clock.now() - source.true) < (1.0 if abs(jump) > 10 else 5.5)
    appended(clock, source)
    assert abs(clock.now() - source.true) < (1.0 if abs(jump) > 10 else 5.5)


def test_brokers_with_a_wrong_clock_are_outvoted_by_the_events() -> None:
    """If the events would come from the future: their producers and this worker agree."""
    source = WrongClock(0.0)
    clock = EventClock(source, Metrics())
    clock.opened({SOURCE: 100})
    clock.appended(source.monotonic(), round((source.true - DAY) * 1000))
    read_new(clock, source, SAMPLES)
    assert clock.now() == source.now()


def test_producers_with_wrong_clocks_take_turns_and_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The metric always shows the last difference; the log says it five times a minute at most."""
    wrong, metrics = WrongClock(0.0), Metrics()
    clock = EventClock(wrong, metrics)
    with caplog.at_level(logging.INFO):
        for number in range(4_000):
            wrong.at += 0.03
            read(clock, wrong.true + DAY * (number // 40), number)
    assert 5 < len(caplog.records) <= 15  # in 2 minutes
    assert gauge(metrics) == pytest.approx(-99 * DAY, abs=DAY)

    wrong.at += 60.0
    caplog.clear()
    with caplog.at_level(logging.INFO):
        read_new(clock, wrong, SAMPLES, 4_000)
    assert "agrees" in caplog.records[-1].message
