"""Merging recorded events and playing them lap after lap."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.declaration import Events
from surgetank.drills.recording import Recording
from surgetank.errors import TopologyError

LAP = timedelta(seconds=10)
instants = st.lists(st.integers(0, 10_000), max_size=30)


def table(letter: str, times: list[int]) -> pa.Table:
    """Events named by letter and row; every third has no key."""
    return pa.table(
        {
            "event_id": pa.array([f"{letter}{i}" for i in range(len(times))], pa.string()),
            "key": pa.array([None if i % 3 == 2 else f"k{i % 4}" for i in range(len(times))], pa.string()),
            "at": pa.array(times, pa.timestamp("ms", tz="UTC")),
        }
    )


def recording_of(*times: list[int]) -> Recording:
    """One kind of events, named a, b and so on, per list of times."""
    parts = [
        (Events(f"t.{name}", schema=name, key="key", time="at"), table(name, part))
        for name, part in zip("abc", times, strict=False)
    ]
    return Recording.merge(parts, lap=LAP)


def encode(events: Events, batch: pa.RecordBatch) -> list[bytes]:
    """A readable stand-in for the wire format: schema, id, key and time."""
    return [
        f"{events.schema}|{row['event_id']}|{row['key']}|{round(row['at'].timestamp() * 1000)}".encode()
        for row in batch.to_pylist()
    ]


def naive(*times: list[int], count: int) -> list[tuple[int, str, bytes | None, bytes, int]]:
    """What is to be sent, one event at a time: kind, schema, key, value, time."""
    rows = sorted((at, kind, i) for kind, part in enumerate(times) for i, at in enumerate(part))
    sent = []
    for number in range(count):
        lap, place = divmod(number, len(rows))
        at, kind, i = rows[place]
        name, moved = "abc"[kind], at + lap * 10_000
        key = None if i % 3 == 2 else f"k{i % 4}"
        suffix = f"~{lap + 1}" if lap else ""
        value = f"{name}|{name}{i}{suffix}|{key}|{moved}".encode()
        sent.append((kind, name, key.encode() if key else None, value, moved))
    return sent


@settings(deadline=None)  # the machine may be busy
@given(instants, instants, st.integers(1, 80), st.integers(1, 20))
def test_chunks_are_the_naive_merge_lap_after_lap(one: list[int], other: list[int], count: int, rows: int) -> None:
    """Whatever the sizes of chunks, the events are those of a merge done one at a time, lap after lap."""
    if not one and not other:
        return
    recording = recording_of(one, other)
    expected = naive(one, other, count=count)
    chunks = list(recording.chunks(encode, count=count, rows=rows))
    assert [len(chunk) <= rows for chunk in chunks] == [True] * len(chunks)
    assert [chunk.first for chunk in chunks] == list(np.cumsum([0, *(len(chunk) for chunk in chunks)])[:-1])
    got = [
        (kind, recording.events[kind].schema, key, value, time)
        for chunk in chunks
        for kind, key, value, time in zip(
            chunk.kind.tolist(), chunk.keys, chunk.values, chunk.time_ms.tolist(), strict=True
        )
    ]
    assert got == expected
    assert recording.times(0, count).tolist() == [time for *_, time in expected]
    assert len({value.split(b"|")[1] for _, _, _, value, _ in got}) == count


def test_events_can_start_at_any_number() -> None:
    """From there on they are those of the whole, in the next lap too."""
    recording = recording_of([1, 4, 6, 9], [3])
    whole = [value for chunk in recording.chunks(encode, count=12) for value in chunk.values]
    for first in range(12):
        chunks = list(recording.chunks(encode, count=12, rows=3, first=first))
        assert chunks[0].first == first
        assert [value for chunk in chunks for value in chunk.values] == whole[first:]


def test_one_kind_alone_can_be_played() -> None:
    """A kind is named by its schema or its topic; an unknown one is refused with those that there are."""
    recording = recording_of([5, 1], [3])
    for name in ("a", "t.a"):
        alone = recording.only(name)
        assert alone.topics == ("t.a",)
        assert alone.time_ms.tolist() == [1, 5]
    with pytest.raises(ValueError, match="it has: a, b"):
        recording.only("z")
    assert recording.of({"topic-of-nobody", *recording.topics}).times(0, len(recording)).tolist() == (
        recording.times(0, len(recording)).tolist()
    )
    assert recording.of(recording.topics[:1]).topics == recording.topics[:1]


def test_topics_can_be_exchanged() -> None:
    """The same events can be sent to other topics; those not named stay."""
    assert recording_of([1], [2]).to({"t.a": "elsewhere"}).topics == ("elsewhere", "t.b")


def test_laps_that_would_overlap_are_refused() -> None:
    """A lap must be at least as long as the recording, or the order of time would break."""
    with pytest.raises(ValueError, match="overlap"):
        recording_of([0, 10_001])
    assert len(recording_of([0, 10_000])) == 2


def test_times_in_whole_numbers_move_with_their_lap() -> None:
    """They are in their declared unit, and the recording is ordered by them."""
    events = Events("t.a", schema="a", key="key", time="at", time_units={"at": "us"})
    whole = table("a", [7, 5]).set_column(2, "at", pa.array([7_001, 5_001], pa.int64()))
    recording = Recording.merge([(events, whole)], lap=LAP)
    sent = [
        value
        for chunk in recording.chunks(lambda _, batch: [str(at).encode() for at in batch["at"].to_pylist()], count=4)
        for value in chunk.values
    ]
    assert sent == [b"5001", b"7001", b"10005001", b"10007001"]
    assert recording.times(0, 4).tolist() == [5, 7, 10_005, 10_007]


def test_nested_events_are_sent_once() -> None:
    """Their keys and times are those at the end of the path; in a second lap their ids would be the same."""
    events = Events("t.a", schema="a", id="row.event_id", key="row.key", time="row.at")
    flat = table("a", [7, 5])
    rows = pa.StructArray.from_arrays([column.combine_chunks() for column in flat.columns], flat.schema.names)
    recording = Recording.merge([(events, pa.table({"row": rows}))], lap=LAP)

    def ids(_: Events, batch: pa.RecordBatch) -> list[bytes]:
        return [row["row"]["event_id"].encode() for row in batch.to_pylist()]

    (chunk,) = recording.chunks(ids, count=2)
    assert (chunk.values, chunk.keys, chunk.time_ms.tolist()) == ([b"a1", b"a0"], [b"k1", b"k0"], [5, 7])
    with pytest.raises(TopologyError, match=r"'row\.event_id' is a field of a record.*send at most 2 events"):
        list(recording.chunks(ids, count=3))


def test_nothing_is_no_recording() -> None:
    """Without an event there is nothing to play."""
    with pytest.raises(ValueError, match="at least one"):
        recording_of([], [])


def test_an_encoder_that_drops_a_row_is_caught() -> None:
    """A value for each row, or an error: never an event without a value."""
    with pytest.raises(ValueError, match="2 events of 'a' were encoded to 1"):
        list(recording_of([1, 2]).chunks(lambda events, batch: encode(events, batch)[:1], count=2))
