"""What an audit counts: lost, duplicated, unexpected, out of order."""

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.drills.audit_comparison import (
    AuditReport,
    EventBounds,
    SeenDeadLetters,
    SeenScores,
    SentEvents,
    compare,
)


@dataclass(frozen=True)
class Event:
    """One record of the event topic; without id it does not decode."""

    partition: int
    offset: int
    id: str | None
    key: bytes | None
    original: tuple[int, int] = (-1, -1)


@dataclass(frozen=True)
class Score:
    """One record of the score topic. Its own offset is its place in the list of all."""

    partition: int
    id: str | None
    key: bytes | None
    source_partition: int
    source_offset: int


def of(event: Event) -> Score:
    """The right score of an event."""
    return Score(event.partition, event.id, event.key, event.partition, event.offset)


ALL_PROCESSED = EventBounds({}, dict.fromkeys(range(3), 10**12))


def audited(
    events: list[Event],
    scores: list[Score],
    dead: list[tuple[int, int]],
    bounds: EventBounds = ALL_PROCESSED,
    filtered: Collection[Event] = (),
) -> AuditReport:
    """Lay the rows out in columns and compare."""

    def column(values: list[int]) -> np.ndarray:
        return np.array(values, dtype=np.int64)

    return compare(
        SentEvents(
            column([e.partition for e in events]),
            column([e.offset for e in events]),
            pa.array([e.id for e in events], pa.string()),
            pa.array([e.key for e in events], pa.binary()),
            np.array([e in filtered for e in events], dtype=np.bool_),
            column([e.original[0] for e in events]),
            column([e.original[1] for e in events]),
        ),
        SeenScores(
            column([s.partition for s in scores]),
            column(list(range(len(scores)))),
            pa.array([s.id for s in scores], pa.string()),
            pa.array([s.key for s in scores], pa.binary()),
            column([s.source_partition for s in scores]),
            column([s.source_offset for s in scores]),
        ),
        SeenDeadLetters(column([p for p, _ in dead]), column([o for _, o in dead])),
        bounds,
    )


def naive(events: list[Event], scores: list[Score], dead: list[tuple[int, int]]) -> tuple[int, int, int, int]:
    """Count lost, duplicates, unexpected and out of order, one record at a time."""
    at = {(event.partition, event.offset): event for event in events}
    outcomes: Counter[tuple[int, int]] = Counter()
    unexpected = late = 0
    newest: dict[tuple[int, bytes], int] = defaultdict(lambda: -1)
    seen = set()
    for score in scores:
        place = (score.source_partition, score.source_offset)
        event = at.get(place)
        if event is None or event.id is None or score != of(event):
            unexpected += 1
            continue
        outcomes[place] += 1
        if event.key is not None and place not in seen:
            late += event.offset < newest[event.partition, event.key]
            newest[event.partition, event.key] = max(newest[event.partition, event.key], event.offset)
        seen.add(place)
    for place in dead:
        if place in at:
            outcomes[place] += 1
        else:
            unexpected += 1
    lost = sum(outcomes[place] == 0 for place in at)
    return lost, sum(count > 1 for count in outcomes.values()), unexpected, late


def events_of(*, partitions: int = 3, each: int = 40) -> list[Event]:
    """Events of a few keys, every seventh without a key; offsets have gaps."""
    return [
        Event(p, 3 * i + p, f"e-{p}-{i}", None if i % 7 == 3 else f"k{p}-{i % 5}".encode())
        for i in range(each)
        for p in range(partitions)
    ]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Event], list[Score], list[tuple[int, int]]]:
    """Events with their scores and dead letters, damaged in every way that can be drawn."""
    key = st.sampled_from([None, b"", b"a", b"b"])
    events = [
        Event(p, o, draw(st.sampled_from([None, f"e{p}/{o}", "twice"])), draw(key))
        for p, o in draw(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 12)), max_size=20))
    ]
    scores, dead = [], []
    for event in events:
        if event.id is not None:
            scores += [of(event)] * draw(st.sampled_from([1, 1, 1, 1, 0, 2]))
        dead += [(event.partition, event.offset)] * draw(st.sampled_from([0, 0, 0, 1, 2]))
    number = st.integers(-1, 13)
    scores += draw(
        st.lists(
            st.builds(Score, st.integers(0, 2), st.sampled_from([None, "e0/0", "x"]), key, number, number),
            max_size=4,
        )
    )
    dead += draw(st.lists(st.tuples(number, number), max_size=3))
    dead = [(-1, -1) if min(place) < 0 else place for place in dead]
    scores = [s if min(s.source_partition, s.source_offset) >= 0 else of(Event(-1, -1, s.id, s.key)) for s in scores]
    return events, draw(st.permutations(scores)), dead


@settings(deadline=None, max_examples=400)
@given(histories())
def test_the_counts_are_those_of_a_naive_audit(
    history: tuple[list[Event], list[Score], list[tuple[int, int]]],
) -> None:
    """Whatever happened, the columns count what a reading of one record at a time counts."""
    report = audited(*history)
    events, scores, dead = history
    assert (report.lost, report.duplicates, report.unexpected, report.out_of_order) == naive(*history)
    assert (report.events, report.scores, report.dead_letters) == (len(events), len(scores), len(dead))
    assert report.ok == (naive(*history) == (0, 0, 0, 0))


@settings(deadline=None, max_examples=200)
@given(histories(), st.dictionaries(st.integers(0, 2), st.integers(0, 14)), st.integers(0, 14))
def test_an_event_without_outcome_is_lost_only_if_it_was_processed(
    history: tuple[list[Event], list[Score], list[tuple[int, int]]], committed: dict[int, int], first: int
) -> None:
    """It waits behind the committed offset and the last outcome of its partition.

    An outcome of a deleted event is expired, not unexpected.
    """
    events, scores, dead = history
    events = [event for event in events if event.offset >= first]
    report = audited(events, scores, dead, EventBounds(dict.fromkeys(range(3), first), committed))
    without, duplicates, unexpected, _ = naive(events, scores, dead)
    right = {(e.partition, e.offset) for e in events if e.id is not None and of(e) in scores}
    limits = dict(committed)
    for partition, offset in right | ({(e.partition, e.offset) for e in events} & set(dead)):
        limits[partition] = max(limits.get(partition, 0), offset + 1)
    waiting = {(e.partition, e.offset) for e in events if e.offset >= limits.get(e.partition, 0)}
    done = audited([e for e in events if (e.partition, e.offset) not in waiting], scores, dead)
    places = [(s.source_partition, s.source_offset) for s in scores] + dead
    expired = sum(partition in range(3) and 0 <= offset < first for partition, offset in places)
    assert report.lost == done.lost
    assert report.lost + report.waiting == without
    assert (report.expired, report.unexpected) == (expired, unexpected - expired)
    assert report.duplicates == duplicates
    assert report.ok == (report.correct and not report.waiting)


def test_an_event_before_the_last_outcome_is_lost_also_without_a_committed_offset() -> None:
    """The offsets of a group expire some days after its workers have stopped; they do not make a loss to a wait."""
    events = events_of(partitions=1)
    scores = [of(event) for event in events[:30] if event is not events[7]]

    report = audited(events, scores, [], EventBounds({}, {}))

    assert (report.lost, report.waiting) == (1, len(events) - 30)
    assert not report.correct


def test_exactly_once_is_clean() -> None:
    """Each event as one score or one dead letter, in order: nothing to report."""
    events = events_of()
    report = audited(events, [of(e) for e in events[:-5]], [(e.partition, e.offset) for e in events[-5:]])
    assert report.ok
    assert report.examples == {}
    assert (report.events, report.scores, report.dead_letters) == (120, 115, 5)


def test_an_event_without_outcome_is_lost_and_named() -> None:
    """A lost event is counted, and its position and id are given."""
    events = events_of()
    report = audited(events, [of(e) for e in events if e != events[50]], [])
    assert (report.lost, report.ok) == (1, False)
    assert report.examples == {"lost": [f"[{events[50].partition}]@{events[50].offset} {events[50].id}"]}


def test_a_score_and_a_dead_letter_of_one_event_are_a_duplicate() -> None:
    """Exactly one outcome means one of both, not one of each."""
    events = events_of()
    report = audited(events, [of(e) for e in events], [(events[3].partition, events[3].offset)])
    assert (report.lost, report.duplicates, report.unexpected, report.out_of_order) == (0, 1, 0, 0)


def test_a_replayed_stretch_is_duplicates_but_not_disorder() -> None:
    """Scores that come a second time are counted once as duplicates; the first ones were in order."""
    events = events_of()
    scores = [of(e) for e in events]
    report = audited(events, scores + scores[10:20], [])
    assert (report.lost, report.duplicates, report.unexpected, report.out_of_order) == (0, 10, 0, 0)


def test_two_scores_of_a_key_that_changed_places_are_one_out_of_order() -> None:
    """Order is promised within a key: swapping two of one key counts one, across keys none."""
    events = [Event(0, o, f"e{o}", key) for o, key in enumerate([b"a", b"b", b"a", b"b"])]
    a1, b1, a2, b2 = (of(e) for e in events)
    assert audited(events, [a2, b1, a1, b2], []).out_of_order == 1
    assert audited(events, [b1, a1, b2, a2], []).out_of_order == 0


def test_a_re_keyed_event_has_its_copy_as_its_only_outcome() -> None:
    """The copy is an event with a score of its own; its id is not repeated by the producer."""
    original, copy = Event(0, 7, "e", b"x"), Event(2, 4, "e", b"k", original=(0, 7))

    report = audited([original, copy], [of(copy)], [])

    assert report.ok
    assert (report.events, report.scores, report.rekeyed, report.repeated_ids) == (2, 1, 1, 0)
    twice = audited([original, copy], [of(copy), of(original)], [])
    assert twice.duplicates == 1, "scored where it had the wrong key, too"
    again = audited([original, copy, Event(2, 5, "e", b"k", original=(0, 7))], [of(copy)], [(2, 5)])
    assert (again.duplicates, again.rekeyed) == (1, 1)
    assert audited([original], [], []).lost == 1


def test_a_copy_of_an_event_that_was_not_read_is_an_event_like_others() -> None:
    """The original was deleted, or came after its partition was read."""
    copy = Event(2, 4, "e", b"k", original=(0, 7))
    report = audited([copy], [of(copy)], [])
    assert report.ok
    assert report.rekeyed == 0


def test_events_without_a_key_promise_no_order() -> None:
    """Null keys belong to nobody; their scores may stand in any order."""
    events = [Event(0, o, f"e{o}", None) for o in range(3)]
    assert audited(events, [of(e) for e in reversed(events)], []).ok


def test_a_score_under_another_id_settles_nothing() -> None:
    """A score at the right position with a wrong id, key or place is unexpected, and its event is lost."""
    events = events_of(partitions=2, each=4)
    right = [of(e) for e in events]
    first = right[0]
    for wrong in (
        Score(first.partition, "other", first.key, first.source_partition, first.source_offset),
        Score(first.partition, first.id, b"other", first.source_partition, first.source_offset),
        Score(1 - first.partition, first.id, first.key, first.source_partition, first.source_offset),
    ):
        report = audited(events, [wrong, *right[1:]], [])
        assert (report.lost, report.unexpected, report.duplicates) == (1, 1, 0)


def test_what_does_not_decode_is_matched_by_position() -> None:
    """A poisoned event has no id; its dead letter settles it, a score cannot."""
    poison = Event(0, 7, None, b"k")
    assert audited([poison], [], [(0, 7)]).ok
    assert audited([poison], [], [(0, 7)]).undecodable == 1
    assert audited([poison], [Score(0, "made-up", b"k", 0, 7)], []).lost == 1


def test_an_id_sent_twice_is_two_events() -> None:
    """A producer that repeats an id sent two events; both need an outcome, and the repetition is told."""
    events = [Event(0, 0, "same", b"k"), Event(0, 1, "same", b"k")]
    report = audited(events, [of(e) for e in events], [])
    assert report.ok
    assert report.repeated_ids == 1
    assert audited(events, [of(events[0])], []).lost == 1


def test_nothing_sent_and_nothing_seen_is_clean() -> None:
    """Empty topics are no fault; an outcome without any event is."""
    assert audited([], [], []).ok
    assert audited([], [Score(0, "x", None, 0, 0)], [(0, 1)]).unexpected == 2


def test_a_filtered_event_needs_no_outcome() -> None:
    """It is counted as filtered once it is processed; a score of it is unexpected, and a dead letter settles it."""
    events = events_of(partitions=1, each=4)
    left_out, rest = events[1], [of(e) for e in events if e is not events[1]]

    report = audited(events, rest, [], filtered=[left_out])
    assert report.ok
    assert (report.filtered, report.scores, report.undecodable) == (1, 3, 0)

    report = audited(events, [of(e) for e in events], [], filtered=[left_out])
    assert (report.ok, report.unexpected, report.lost, report.filtered) == (False, 1, 0, 1)

    assert audited(events, rest, [(left_out.partition, left_out.offset)], filtered=[left_out]).filtered == 0
    assert audited(events, rest[1:], [], filtered=[left_out]).lost == 1

    report = audited([left_out], [], [], EventBounds({}, {}), filtered=[left_out])
    assert (report.waiting, report.filtered, report.lost) == (1, 0, 0)
