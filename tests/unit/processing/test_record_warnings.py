"""Odd records are told in the log: at once, with an example, and not once per record."""

import logging

import numpy as np
import pyarrow as pa
import pytest

from surgetank.codec import base
from surgetank.features.windows import plausible
from surgetank.processing.event_sequence import EventSequence
from surgetank.processing.record_warnings import PAUSE_SECONDS, RecordWarnings, probable_unit
from surgetank.records import Bools, DeadLetter, DecodedBatch, Int64s, RecordBatch, TopicPartition, large_binary

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000


class StoppedClock:
    """A clock that stands until it is set."""

    seconds = 100.0

    def now(self) -> float:
        """Return the time since the epoch."""
        return self.seconds

    def monotonic(self) -> float:
        """Return the monotonic time."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.seconds += seconds


def is_plausible(times: Int64s, arrived: Int64s) -> Bools:
    """Return which times are at most a day from the arrival."""
    return plausible(times, arrived, DAY_MS, DAY_MS)


def records(n: int) -> RecordBatch:
    """Return records of two topics, in turn, with offsets from 70 on."""
    return RecordBatch(
        (TopicPartition("flights", 2), TopicPartition("facts", 2)),
        np.arange(n, dtype=np.int32) % 2,
        np.arange(70, 70 + n),
        np.full(n, NOW_MS),
        large_binary([None] * n),
        large_binary([None] * n),
    )


@pytest.fixture
def clock() -> StoppedClock:
    """Return a clock."""
    return StoppedClock()


@pytest.fixture
def warnings(clock: StoppedClock, caplog: pytest.LogCaptureFixture) -> RecordWarnings:
    """Return the warnings under test."""
    caplog.set_level(logging.INFO)
    return RecordWarnings(clock)


def dead(rows: range, message: str = "schema id 7") -> list[DeadLetter]:
    """Return dead letters of an unknown schema."""
    return [DeadLetter(row, base.UNKNOWN_SCHEMA, message) for row in rows]


def test_a_worker_has_old_schemas(
    warnings: RecordWarnings, clock: StoppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """One line at once and one a minute later, each with all records since the last and the last one's position."""
    for _ in range(10):
        warnings.dead_lettered(records(100), dead(range(0, 100, 2)))
    clock.sleep(PAUSE_SECONDS)
    warnings.dead_lettered(records(100), dead(range(1)))

    assert caplog.messages == [
        "50 records of flights dead-lettered (decode, unknown_schema), the last at flights[2] offset 168: schema id 7",
        "451 records of flights dead-lettered (decode, unknown_schema), the last at flights[2] offset 70: schema id 7",
    ]


def test_each_topic_and_reason_has_lines_of_its_own(warnings: RecordWarnings, caplog: pytest.LogCaptureFixture) -> None:
    """A flood of one fault hides no other."""
    null = DeadLetter(4, base.NULL_VALUE, "the value is null")
    warnings.dead_lettered(records(10), [*dead(range(3)), null])
    warnings.dead_lettered(records(10), [*dead(range(3)), null])
    warnings.dead_lettered(records(10), [])

    assert [message.split(" dead-lettered")[0] for message in caplog.messages] == [
        "2 records of flights",
        "1 record of facts",
        "1 record of flights",
    ]


def test_bytes_of_a_record_cannot_forge_a_log_line(warnings: RecordWarnings, caplog: pytest.LogCaptureFixture) -> None:
    """Line breaks, terminal codes and lone surrogates of a message are escaped, and it is cut."""
    warnings.dead_lettered(records(1), dead(range(1), "a\nERROR \x1b[2J\ud800" + "x" * 1_000))

    (message,) = caplog.messages
    assert message.isprintable()
    assert r"a\nERROR \x1b[2J\ud800xxx" in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("time", "field", "unit"),
    [
        (NOW_MS // 1000, "ms", "seconds"),
        (NOW_MS * 1000, "ms", "microseconds"),
        (NOW_MS * 10**6, "ms", "nanoseconds"),
        (NOW_MS // 10**6, "us", "seconds"),
        (NOW_MS // 1000, "us", "milliseconds"),
        (NOW_MS * 1000, "us", "nanoseconds"),
        (NOW_MS * 1000, "s", "milliseconds"),
        (NOW_MS // 10**6, "ns", "milliseconds"),
        (NOW_MS + 366 * DAY_MS, "ms", None),
        (NOW_MS + 366 * DAY_MS, "us", None),
        (0, "ms", None),
        (2**63 - 1, "ms", None),
        (-(2**63), "ms", None),
    ],
)
def test_the_unit_of_a_time_is_guessed(time: int, field: str, unit: str | None) -> None:
    """If the number in the field fits in another unit, that is what the producer wrote."""
    assert probable_unit(time, field, NOW_MS, is_plausible) == unit


@pytest.mark.parametrize(
    ("field", "units"), [("ms", "seconds, not milliseconds"), ("us", "milliseconds, not microseconds")]
)
def test_implausible_times_are_told_with_an_example(
    warnings: RecordWarnings, caplog: pytest.LogCaptureFixture, field: str, units: str
) -> None:
    """The line names the position, both times and the unit that fits."""
    rows = np.arange(0, 10, 2)
    warnings.implausible_times(records(10), rows, np.full(5, NOW_MS // 1000), field, is_plausible)
    warnings.implausible_times(records(10), rows[:0], rows[:0], field, is_plausible)
    warnings.implausible_times(records(10), rows, np.full(5, NOW_MS // 1000), field, is_plausible)

    (message,) = caplog.messages
    assert message == (
        "5 records of flights with an event time too far from the arrival, which update no state; the last at "
        "flights[2] offset 78 has 1970-01-20 16:13:20.000Z and arrived at 2023-11-14 22:13:20.000Z; "
        f"it fits if the number is in {units}"
    )


def test_the_unit_of_a_sequence_is_that_of_the_field_that_updates() -> None:
    """The field of the events, or that of the facts if these update the table."""
    events, facts = (
        DecodedBatch(
            records(2),
            np.array([row]),
            pa.RecordBatch.from_pydict({"t": pa.array([NOW_MS], pa.timestamp(unit, "UTC"))}),
        )
        for row, unit in ((0, "ms"), (1, "us"))
    )

    assert EventSequence(records(2), [], events, "t", None, is_plausible).time_unit == "ms"
    assert EventSequence(records(2), [], events, "t", (facts, "t"), is_plausible).time_unit == "us"
