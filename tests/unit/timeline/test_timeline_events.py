"""Events of a timeline: what is written is read, what is no event is refused, and order is by time."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.timeline.events import EventKind, TimelineEvent, decoded, in_order, listed, moment
from pipeline.timeline.time_parsing import moment_ms, span_seconds

TEXT = st.text(max_size=50)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
EVENTS = st.builds(
    TimelineEvent,
    at=st.integers(0, 4_000_000_000_000),
    kind=st.sampled_from(EventKind) | TEXT,
    who=TEXT,
    what=TEXT,
    details=st.dictionaries(TEXT, JSON, max_size=4),
)
NOON = 1_767_614_400.0  # 2026-01-05 12:00 UTC, a Monday


@given(EVENTS)
def test_what_is_written_is_read(event: TimelineEvent) -> None:
    """To the millisecond, with all details, whatever signs they hold; kinds that are not known too."""
    assert decoded(event.encoded()) == event


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\0\xff",
        b"[]",
        b"[" * 100_000,
        b"{}",
        b'{"at": "yesterday", "kind": "deploy", "who": "w", "what": "x"}',
        b'{"at": "2026-01-05T12:00:00Z", "kind": "deploy", "who": 7, "what": "x"}',
        b'{"at": 5, "kind": "deploy", "who": "w", "what": "x"}',
    ],
)
def test_what_is_no_event_is_refused(value: bytes | None) -> None:
    """By a ValueError, which a reader counts."""
    with pytest.raises(ValueError, match=r".+"):
        decoded(value)


def test_a_reader_takes_what_a_later_writer_adds() -> None:
    """Fields that are not known, and no details, are no reason to lose an event."""
    later = {"at": "2026-01-05T13:00:00+01:00", "kind": "scaled", "who": "w", "what": "x", "colour": "red"}
    event = decoded(json.dumps(later).encode())
    assert (event.at, event.kind, dict(event.details)) == (round(NOON * 1000), "scaled", {})


@given(st.lists(EVENTS, max_size=20))
def test_events_come_by_time_and_those_of_one_time_as_they_lie(events: list[TimelineEvent]) -> None:
    """A stable order: the topic's among equals."""
    ordered = in_order(events)
    assert [event.at for event in ordered] == sorted(event.at for event in events)
    for at in {event.at for event in events}:
        assert [e for e in ordered if e.at == at] == [e for e in events if e.at == at]


@given(st.sets(st.integers(0, 40)))
def test_a_list_of_numbers_names_each_once(numbers: set[int]) -> None:
    """Runs are written as ranges; read back they are the same numbers."""
    named: list[int] = []
    for part in filter(None, listed(numbers).split(", ")):
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(numbers)


def test_a_long_reason_is_cut_for_people() -> None:
    """The sentence has a bound; the log has the whole."""
    assert len(TimelineEvent(0, EventKind.WORKER_FAILED, "w", "x" * 10_000).encoded()) < 3_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-01-05T12:00:00.000Z"),
        ("90s", "2026-01-05T11:58:30.000Z"),
        ("1h", "2026-01-05T11:00:00.000Z"),
        ("2d", "2026-01-03T12:00:00.000Z"),
        ("11:30", "2026-01-05T11:30:00.000Z"),
        ("12:30", "2026-01-04T12:30:00.000Z"),
        ("2026-01-02T08:00", "2026-01-02T08:00:00.000Z"),
        ("2026-01-02T08:00+02:00", "2026-01-02T06:00:00.000Z"),
        ("2026-01-02", "2026-01-02T00:00:00.000Z"),
    ],
)
def test_times_as_people_write_them(text: str, expected: str) -> None:
    """Ago, of today or yesterday, or in full; UTC unless it says otherwise."""
    assert moment(moment_ms(text, NOON)) == expected


@pytest.mark.parametrize("text", ["", "soon", "25:00", "1 fortnight", "-1h", "2026-13-01"])
def test_what_is_no_time_is_refused_with_the_ways_to_write_one(text: str) -> None:
    """The message repeats what was written and shows what can be."""
    with pytest.raises(SettingsError, match="write"):
        moment_ms(text, NOON)
    with pytest.raises(SettingsError, match="15m, 1h"):
        span_seconds(text)
