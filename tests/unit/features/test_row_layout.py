"""surgetank.features.row_layout: what a row holds follows from the declaration, whatever its order."""

import dataclasses
import json
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank import Events
from surgetank.errors import TopologyError
from surgetank.features.aggregate_kinds import Accumulator, AggregateKind
from surgetank.features.row_layout import AggregateSpec, RingWindow, RowLayout, migrate
from surgetank.features.tables import Table, TableState, hours, table_states
from tests.support.feature_histories import Event, Online, histories, tables

anytime = settings(deadline=None)  # tests share their machine

WINDOW = RingWindow(12, 3)
MS = timedelta(milliseconds=1)


def layout(*measures: AggregateSpec, ttl_ms: int | None = None, fed_by: str = "") -> RowLayout:
    """Return the layout of some measures."""
    return RowLayout(measures, ttl_ms, fed_by)


@pytest.mark.parametrize(
    ("measures", "width"),
    [
        ([AggregateSpec(AggregateKind.SECONDS_SINCE_LAST)], 1),
        ([AggregateSpec(AggregateKind.LAST, "a"), AggregateSpec(AggregateKind.LAST, "b")], 1 + 2 * 2),
        ([AggregateSpec(AggregateKind.COUNT, None, WINDOW)], 1 + 6),
        ([AggregateSpec(AggregateKind.SUM, "a", WINDOW), AggregateSpec(AggregateKind.MEAN, "a", WINDOW)], 1 + 6 * 2),
        ([AggregateSpec(AggregateKind.MEAN, "a", WINDOW), AggregateSpec(AggregateKind.STD, "a", WINDOW)], 1 + 6 * 4),
        (
            [AggregateSpec(AggregateKind.SUM, "a", WINDOW), AggregateSpec(AggregateKind.SUM, "a", RingWindow(12, 4))],
            1 + 6 + 8,
        ),
        ([AggregateSpec(AggregateKind.MIN, "a", WINDOW), AggregateSpec(AggregateKind.MAX, "b", WINDOW)], 1 + 6 * 2),
    ],
)
def test_a_ring_holds_what_its_statistics_need(measures: list[AggregateSpec], width: int) -> None:
    """Statistics of one window share a ring and its parts; another number of buckets is another ring."""
    assert layout(*measures).width == width


@pytest.mark.parametrize("kind", AggregateKind)
def test_an_aggregate_without_the_window_that_its_kind_reads_is_refused(kind: AggregateKind) -> None:
    """No kind without a way to read a ring gets one, and no kind that reads a ring goes without."""
    window = WINDOW if kind.ring is None else None
    with pytest.raises(TopologyError, match=rf"kind {kind.name.lower()} (takes no|needs a) window"):
        layout(AggregateSpec(kind, "a", window))


def test_only_sums_depend_on_the_order_of_their_terms() -> None:
    """The offline comparison and the state check allow a tolerance for these kinds alone."""
    assert [kind for kind in AggregateKind if not kind.exact] == [
        AggregateKind.SUM,
        AggregateKind.MEAN,
        AggregateKind.STD,
    ]


@anytime
@given(tables(), st.data())
def test_the_order_of_declaration_does_not_matter(memory: TableState, data: st.DataObject) -> None:
    """The same statistics in another order have the same row and the same fingerprint."""
    (other,) = table_states(data.draw(st.permutations(memory.aggregates)))
    assert other.layout.cells == memory.layout.cells
    assert other.layout.fingerprint() == memory.layout.fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        layout(AggregateSpec(AggregateKind.MEAN, "a", WINDOW)),
        layout(AggregateSpec(AggregateKind.SUM, "b", WINDOW)),
        layout(AggregateSpec(AggregateKind.SUM, "a", RingWindow(12, 4))),
        layout(AggregateSpec(AggregateKind.SUM, "a", RingWindow(24, 6))),
        layout(AggregateSpec(AggregateKind.SUM, "a", WINDOW), AggregateSpec(AggregateKind.LAST, "a")),
        layout(AggregateSpec(AggregateKind.SUM, "a", WINDOW), ttl_ms=100),
        layout(AggregateSpec(AggregateKind.SUM, "a", WINDOW), fed_by="others"),
    ],
    ids=["part", "value", "buckets", "span", "more", "memory", "fed by"],
)
def test_every_difference_changes_the_fingerprint(other: RowLayout) -> None:
    """Rows that could mean something else have another fingerprint."""
    assert other.fingerprint() != layout(AggregateSpec(AggregateKind.SUM, "a", WINDOW)).fingerprint()


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    """It is kept with the state, so another process must find the same."""
    code = (
        "from surgetank.features.row_layout import *; "
        "std = AggregateSpec(AggregateKind.STD, 'a', RingWindow(12, 3)); "
        "print(RowLayout((std, AggregateSpec(AggregateKind.LAST, 'b')), 100, 'x').fingerprint())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = layout(
        AggregateSpec(AggregateKind.STD, "a", WINDOW), AggregateSpec(AggregateKind.LAST, "b"), ttl_ms=100, fed_by="x"
    )
    assert other.stdout.strip() == ours.fingerprint()


def test_the_fingerprint_is_the_one_that_existing_state_was_written_with() -> None:
    """A change of the fingerprint would make workers discard all existing state."""
    kinds = (AggregateKind.STD, AggregateKind.MIN, AggregateKind.LAST)
    std, smallest, last = (AggregateSpec(kind, "a", None if kind is AggregateKind.LAST else WINDOW) for kind in kinds)
    count = AggregateSpec(AggregateKind.COUNT, None, RingWindow(24, 6))
    found = layout(std, smallest, last, count, ttl_ms=100, fed_by="x").fingerprint()
    assert found == "154e9e222ebc5c84a62fb070764961cb862a3b1db584b88c0511f9c3b52b7bef"


def test_the_fingerprint_does_not_change_between_releases() -> None:
    """Stores and changelogs of all releases hold it: another one for the same rows would void them."""
    windowed = [kind for kind in AggregateKind if kind < AggregateKind.LAST]
    every = layout(
        *(AggregateSpec(kind, None if kind is AggregateKind.COUNT else "a", WINDOW) for kind in windowed),
        AggregateSpec(AggregateKind.LAST, "b"),
        AggregateSpec(AggregateKind.SECONDS_SINCE_LAST),
        ttl_ms=100,
        fed_by="x",
    )
    assert {cell.accumulator for cell in every.cells} == {None, *Accumulator}
    assert every.fingerprint() == "711fcd0add459200a384ed9a83f4527a2e2290864d2cdf5c7e00e61acb822433"


def test_the_fingerprint_of_a_declared_table_does_not_change_between_releases() -> None:
    """What feeds a table is in it: the events of the pipeline, or facts by topic, schema, key and time."""
    facts = Events("departures", schema="departure", key="tailnum", time="departed_at")
    (own,) = table_states([Table("planes").count(window=hours(1))])
    (fed,) = table_states([Table("planes", facts=facts).count(window=hours(1))])
    assert own.layout.fingerprint() == "17f725615fc3b980be74e323dedc555f9d525e013d17b189b2002a90cb7be00e"
    assert fed.layout.fingerprint() == "ed002a2560293c6b8633ebb064e84205336012c8f4581dd4a3364a7a31045edd"


@anytime
@given(tables(), histories(), st.data())
def test_migrated_rows_are_those_of_the_new_declaration(
    memory: TableState, events: list[Event], data: st.DataObject
) -> None:
    """Rows carried over to fewer statistics equal, bit for bit, those that these would have had from the start."""
    fewer = data.draw(st.lists(st.sampled_from(memory.aggregates), min_size=1, unique=True))
    (wanted,) = table_states(fewer)
    old, new = Online(memory), Online(wanted)
    old.take(events)
    new.take(events)
    for key, row in old.rows.items():
        migrated = migrate(memory.layout, wanted.layout, row.reshape(1, -1))
        if migrated is None:
            assert memory.layout.retention_ms is not None  # what was forgotten cannot be carried over
            assert wanted.layout.retention_ms is None or wanted.layout.retention_ms > memory.layout.retention_ms
        else:
            np.testing.assert_array_equal(migrated[0], new.rows[key])
            assert migrated.flags.c_contiguous


SUM = AggregateSpec(AggregateKind.SUM, "a", WINDOW)
OLD = layout(SUM, AggregateSpec(AggregateKind.LAST, "a"))


@pytest.mark.parametrize(
    "new",
    [
        layout(SUM, AggregateSpec(AggregateKind.LAST, "b")),
        layout(AggregateSpec(AggregateKind.MEAN, "a", WINDOW)),
        layout(AggregateSpec(AggregateKind.SUM, "a", RingWindow(12, 6))),
        layout(AggregateSpec(AggregateKind.SUM, "a", RingWindow(24, 6))),
        layout(SUM, fed_by="others"),
    ],
    ids=["last value", "part", "buckets", "span", "fed by"],
)
def test_what_was_not_kept_must_be_rebuilt(new: RowLayout) -> None:
    """Where something new is wanted, or the events are others, nothing is carried over."""
    assert migrate(OLD, new, OLD.rows(2)) is None


def test_what_was_forgotten_sooner_must_be_rebuilt() -> None:
    """Rows of a table with a shorter memory lack keys that the new one would have kept; the other way round is fine."""
    short, long = (dataclasses.replace(OLD, ttl_ms=ms) for ms in (100, 200))
    assert migrate(short, long, short.rows(1)) is None
    assert migrate(short, OLD, short.rows(1)) is None
    assert migrate(OLD, short, OLD.rows(1)) is not None
    assert migrate(long, short, long.rows(1)) is not None


def test_expiry_is_by_event_time() -> None:
    """A row expires once twice the longest window has passed since its greatest event time; a fresh one always is."""
    memory = table_states([Table("t").sum("a", window=12 * MS, buckets=3), Table("t").count(window=6 * MS, buckets=2)])[
        0
    ]
    online = Online(memory)
    online.take([Event("k", 1000), Event("k", 900)])
    rows = np.concatenate([online.rows["k"].reshape(1, -1), memory.layout.rows(1)])
    np.testing.assert_array_equal(memory.layout.expired(rows, 1024), [False, True])
    np.testing.assert_array_equal(memory.layout.expired(rows, 1025), [True, True])


def test_a_last_value_is_kept_until_it_may_be_forgotten() -> None:
    """Without ``forget_after`` a table of last values forgets nobody; with it, whoever was not seen for so long."""
    table = Table("t", ttl=hours(1))
    for memory, expires in (
        (table_states([Table("t").last("a")])[0], False),
        (table_states([Table("t").seconds_since_last(), Table("t").count(window=hours(6))])[0], False),
        (table_states([table.last("a")])[0], True),
    ):
        online = Online(memory)
        online.take([Event("k", 0, 1.0)])
        (expired,) = memory.layout.expired(online.rows["k"].reshape(1, -1), 3_600_001)
        assert expired == expires


def test_memory_shorter_than_the_rings_is_refused() -> None:
    """A table cannot forget a key whose ring late events may still add to."""
    RowLayout((AggregateSpec(AggregateKind.COUNT, None, WINDOW),), 24)
    with pytest.raises(TopologyError, match=r"ttl is 23ms, less than 2 x the longest window .*; set it to 24ms"):
        RowLayout((AggregateSpec(AggregateKind.COUNT, None, WINDOW),), 23)


@pytest.mark.parametrize(("span", "buckets"), [(10, 3), (0, 1), (-12, 12), (12, 0), (5, 12)])
def test_a_window_is_divided_evenly(span: int, buckets: int) -> None:
    """A bucket is one or more whole milliseconds; anything else is refused, with what to do."""
    with pytest.raises(TopologyError, match="choose buckets="):
        RingWindow(span, buckets)


def test_a_row_can_be_read_by_people() -> None:
    """Named, a row shows last values with their times, and the buckets that hold something with theirs, as JSON."""
    table = Table("t", Events("facts", schema="fact", key="k", time="at"))
    (memory,) = table_states([table.last("a"), table.mean("a", window=12 * MS, buckets=3)])
    online = Online(memory)
    online.take([Event("k", -3, 2.5), Event("k", 1, None), Event("k", 9, 4.0), Event("k", 10, 6.0)])
    named = memory.layout.describe(online.rows["k"])
    assert json.loads(json.dumps(named)) == {
        "seen_ms": 10,
        "last": {"a": {"time_ms": 10, "value": 6}},
        "windows": {
            "12ms/3": [
                {"from_ms": -4, "count(a)": 1, "sum(a)": 2.5},
                {"from_ms": 8, "count(a)": 2, "sum(a)": 10},
            ]
        },
    }
    empty = memory.layout.describe(memory.layout.rows(1)[0])
    assert empty == {"seen_ms": None, "last": {"a": {"time_ms": None, "value": None}}, "windows": {"12ms/3": []}}
