"""surgetank.migration.recompute: the rows that the records make, however they come in batches."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from surgetank import Events, Pipeline, Scores, Table, seconds
from surgetank.declaration import PREDICTIONS
from surgetank.features.windows import advance
from surgetank.migration.recompute import feature_rows, last_scores
from surgetank.processing.stateful_features import plausible_times, row_serdes
from surgetank.records import DecodedBatch, RecordBatch, TopicPartition, large_binary
from surgetank.settings import StateSettings

CARDS = Table("cards", ttl=seconds(60))
PIPELINE = Pipeline(
    name="payments",
    events=Events("events", schema="event", key="key", time="t"),
    features=(CARDS.count(window=seconds(10), buckets=5), CARDS.sum("a", window=seconds(24)), CARDS.last("a")),
    model="m",
    scores=Scores("scores"),
)
(MEMORY,) = PIPELINE.table_states
FORMATS, _ = row_serdes(PIPELINE)
BELIEVES = plausible_times(StateSettings(past_days_max=1, future_hours_max=1))
FAR_MS = 4_102_444_800_000

Events_ = list[tuple[str | None, int, float]]  # key, time in ms, a
EVENTS = st.lists(
    st.tuples(st.none() | st.sampled_from("abcdef"), st.integers(0, 300_000) | st.just(FAR_MS), st.floats(-9, 9)),
    max_size=60,
)


def batches(events: Events_, size: int) -> Iterator[DecodedBatch]:
    """Yield the events, whose offsets are their places, in batches."""
    for start in range(0, len(events), size):
        some = events[start : start + size]
        n = len(some)
        records = RecordBatch(
            (TopicPartition("events", 0),),
            np.zeros(n, dtype=np.int32),
            np.arange(start, start + n, dtype=np.int64),
            np.zeros(n, dtype=np.int64),
            large_binary([None if key is None else key.encode() for key, _, _ in some]),
            large_binary([b""] * n),
        )
        times = pa.array([time for _, time, _ in some], pa.timestamp("ms", tz="UTC"))
        columns = pa.RecordBatch.from_pydict({"t": times, "a": pa.array([a for _, _, a in some], pa.float64())})
        yield DecodedBatch(records, np.arange(n, dtype=np.int64), columns)


@given(EVENTS, st.integers(1, 70))
def test_rows_are_those_of_the_events_one_by_one(events: Events_, size: int) -> None:
    """Of each key its own events in order, without null keys and times that cannot be; old rows are left out."""
    found = feature_rows(MEMORY, FORMATS["cards"], "t", ((each, None) for each in batches(events, size)), BELIEVES, 0)

    expected: dict[bytes, bytes] = {}
    plausible = [(at, event) for at, event in enumerate(events) if event[0] is not None and event[1] != FAR_MS]
    newest = max((time for _, (_, time, _) in plausible), default=0)
    for key in sorted({event[0] or "" for _, event in plausible}):
        mine = [(at, event) for at, event in plausible if event[0] == key]
        row = MEMORY.layout.rows(1)
        for _, (_, time, a) in mine:
            one, yes = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.bool_)
            advance(MEMORY.layout, row, one, np.array([time]), np.array([[a]]), ~yes, yes)
        if max(time for _, (_, time, _) in mine) >= newest - 60_000:
            (expected[key.encode()],) = FORMATS["cards"].pack(row, mine[-1][0]).to_pylist()
    assert found == expected


@given(EVENTS, st.integers(1, 70))
def test_keys_that_are_not_meant_leave_no_trace(events: Events_, size: int) -> None:
    """Where keys of other tasks lie among ours, the rows are as if they did not."""
    ours = [event for event in events if (event[0] or "") < "d"]
    mixed = ((each, lambda key: key < b"d") for each in batches(events, size))
    alone = ((each, None) for each in batches(ours, size))

    found = feature_rows(MEMORY, FORMATS["cards"], "t", mixed, BELIEVES, FAR_MS)

    rows = feature_rows(MEMORY, FORMATS["cards"], "t", alone, BELIEVES, FAR_MS)
    values = [FORMATS["cards"].unpack(large_binary([each[key] for key in sorted(rows)])) for each in (found, rows)]
    assert sorted(found) == sorted(rows)
    np.testing.assert_array_equal(values[0], values[1])


def test_a_tombstone_deletes_the_row_of_its_key() -> None:
    """The row is that of the events behind it; without any there is no row."""
    events: Events_ = [("a", 1_000, 1.0), ("b", 1_000, 2.0), ("a", 0, 0.0), ("b", 0, 0.0), ("b", 3_000, 4.0)]
    (batch,) = batches(events, 9)
    good = np.array([0, 1, 4])
    cut = DecodedBatch(batch.records, good, batch.columns.take(pa.array(good)), np.array([2, 3]))
    (late,) = batches([*[("x", 1, 0.0)] * 4, ("b", 3_000, 4.0)], 9)
    alone = DecodedBatch(late.records, np.array([4]), late.columns.slice(4))

    found = feature_rows(MEMORY, FORMATS["cards"], "t", [(cut, None)], BELIEVES, 0)

    assert found == feature_rows(MEMORY, FORMATS["cards"], "t", [(alone, None)], BELIEVES, 0)
    assert set(found) == {b"b"}


def test_a_key_that_no_worker_keeps_a_row_under_has_none() -> None:
    """What stands under such a key in a changelog is no row, and is not written over."""
    events: Events_ = [("\0meaning", 1_000, 1.0), ("a", 1_000, 1.0), ("\0grown", 2_000, 1.0)]

    found = feature_rows(MEMORY, FORMATS["cards"], "t", ((each, None) for each in batches(events, 9)), BELIEVES, 0)

    assert set(found) == {b"a"}
    scores = scored([(key, a, time) for key, time, a in events])
    assert set(last_scores(FORMATS[PREDICTIONS], [(scores, None)], None, 0, 0)) == {b"a"}


def scored(scores: Sequence[tuple[str | None, float, int]]) -> DecodedBatch:
    """Return decoded scores: key, score, event time in ms. Source offsets are ten times their places."""
    n = len(scores)
    (batch,) = batches([(key, time, score) for key, score, time in scores], n)
    columns = {
        "score": pa.array([score for _, score, _ in scores]),
        "event_time": batch.columns["t"],
        "scored_at": pa.array([10_000] * n, pa.timestamp("ms", tz="UTC")),
        "model_version": pa.array(["größer"] * n),
        "source_offset": pa.array([10 * place for place in range(n)]),
    }
    return DecodedBatch(batch.records, batch.rows, pa.RecordBatch.from_pydict(columns))


def test_the_last_score_of_a_key_counts() -> None:
    """Not that of the latest event; with its times, its model and its source offset. Old ones are left out."""
    batch = scored([("a", 0.5, 9_000), (None, 1.0, 9_000), ("a", 0.25, 8_000), ("b", 0.75, 1_000), ("c", 0.1, 9_000)])

    found = last_scores(FORMATS[PREDICTIONS], [(batch, lambda key: key != b"c")], 5_000, 1_000, 1_000)

    assert list(found) == [b"a"]
    format_ = FORMATS[PREDICTIONS]
    assert format_.unpack(large_binary(list(found.values()))).tolist() == [(0.25, 8_000, 10_000, "größer".encode())]
    assert format_.source_offsets(large_binary(list(found.values()))).tolist() == [20]
    assert set(last_scores(format_, [(batch, None)], None, 0, 0)) == {b"a", b"b", b"c"}


def test_a_last_score_of_the_year_2100_leaves_the_others() -> None:
    """Its event time is far ahead of the time of scoring, which is 10 s for all."""
    batch = scored([("a", 0.5, 9_000), ("b", 0.25, FAR_MS)])

    assert set(last_scores(FORMATS[PREDICTIONS], [(batch, None)], 5_000, 1_000, 1_000)) == {b"a", b"b"}


def test_a_last_score_of_a_clock_ahead_of_the_limit_leaves_the_others() -> None:
    """Scored at 10 s and at most 1 s ahead: a time of 12.5 s is not the newest, though less than the slack ahead."""
    old, ahead, newest = ("a", 0.5, 1_500), ("b", 0.25, 12_500), ("c", 0.25, 11_000)
    found = [
        set(last_scores(FORMATS[PREDICTIONS], [(scored(each), None)], 5_000, 3_000, 1_000))
        for each in ([old, ahead], [ahead], [old, ahead, newest])
    ]

    assert found == [{b"a", b"b"}, {b"b"}, {b"b", b"c"}]
