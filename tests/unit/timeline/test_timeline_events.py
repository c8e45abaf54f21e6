"""Timeline events: encoding and decoding, invalid records, order by time; times of the command line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.errors import SettingsError
from surgetank.timeline.events import EventKind, TimelineEvent, decode, format_ranges, format_time, sort_by_time
from surgetank.timeline.time_parsing import duration_seconds, parse_time_ms

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
def test_a_decoded_event_equals_the_encoded_one(event: TimelineEvent) -> None:
    """To the millisecond, with all details, any characters and unknown kinds."""
    assert decode(event.encode()) == event


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
def test_a_record_without_an_event_raises_value_error(value: bytes | None) -> None:
    """The reader counts these errors."""
    with pytest.raises(ValueError, match=r".+"):
        decode(value)


def test_unknown_fields_are_ignored() -> None:
    """And missing details are empty."""
    later = {"at": "2026-01-05T13:00:00+01:00", "kind": "scaled", "who": "w", "what": "x", "colour": "red"}
    event = decode(json.dumps(later).encode())
    assert (event.at, event.kind, dict(event.details)) == (round(NOON * 1000), "scaled", {})


@given(st.lists(EVENTS, max_size=20))
def test_events_are_sorted_by_time_and_topic_order(events: list[TimelineEvent]) -> None:
    """The sort is stable: events of equal time keep topic order."""
    ordered = sort_by_time(events)
    assert [event.at for event in ordered] == sorted(event.at for event in events)
    for at in {event.at for event in events}:
        assert [e for e in ordered if e.at == at] == [e for e in events if e.at == at]


@given(st.sets(st.integers(0, 40)))
def test_ranges_contain_each_number_once(numbers: set[int]) -> None:
    """Consecutive numbers are a range; parsing the ranges gives the same numbers."""
    named: list[int] = []
    for part in filter(None, format_ranges(numbers).split(", ")):
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(numbers)


def test_a_long_sentence_is_cut() -> None:
    """The log has the complete reason."""
    assert len(TimelineEvent(0, EventKind.WORKER_FAILED, "w", "x" * 10_000).encode()) < 3_000


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
def test_times_are_parsed(text: str, expected: str) -> None:
    """A duration ago, a time of today or yesterday, a date with time; UTC without an offset."""
    assert format_time(parse_time_ms(text, NOON)) == expected


@pytest.mark.parametrize("text", ["", "soon", "25:00", "1 fortnight", "-1h", "2026-13-01"])
def test_an_invalid_time_is_refused_with_examples(text: str) -> None:
    """The error repeats the text and shows valid forms."""
    with pytest.raises(SettingsError, match="write"):
        parse_time_ms(text, NOON)
    with pytest.raises(SettingsError, match="15m, 1h"):
        duration_seconds(text)
