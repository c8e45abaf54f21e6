"""surgetank.offline.feature_log_check: what came from several topics is put in the order in which it was taken."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from surgetank import Above, Difference, Events, Pipeline, Scores, Table, hours
from surgetank.offline.comparison import ComputedFeatures, compare
from surgetank.offline.feature_log_check import _LoggedFeatures, offline_values, processing_order
from surgetank.offline.history import History, OrderedEvents
from surgetank.offline.topic_records import TopicRecords
from surgetank.records import large_binary
from topology.flights import flights

BITS = 44

arrivals = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.sampled_from(["event", "event unrecorded", "fact a", "fact b"])), max_size=40
)


@given(arrivals)
def test_every_recorded_event_follows_the_facts_that_it_followed(arrivals: list[tuple[int, str]]) -> None:
    """Two partitions, two topics of facts: before each event with a record stand those facts that stood before it."""
    ends = {(partition, what): 10 for partition in (0, 1) for what in ("event", "fact a", "fact b")}
    places: dict[str, list[tuple[int, int]]] = {"event": [], "fact a": [], "fact b": []}
    records: list[tuple[int, list[int]]] = []  # the place of an event, how far each topic was taken
    follows: list[set[tuple[str, int]]] = []
    taken: dict[int, set[tuple[str, int]]] = {0: set(), 1: set()}
    for partition, what in arrivals:
        kind = what.removesuffix(" unrecorded")
        offset = ends[partition, kind] = ends[partition, kind] + 2  # there are gaps
        place = (partition << BITS) + offset
        places[kind].append((place, partition))
        if kind != "event":
            taken[partition].add((kind, place))
        elif kind == what:
            behind = [max((p for k, p in taken[partition] if k == fact), default=-1) for fact in ("fact a", "fact b")]
            records.append((place, [0 if p < 0 else p - (partition << BITS) + 1 for p in behind]))
            follows.append(set(taken[partition]))
    events, a, b = (np.array(sorted(p for p, _ in places[kind]), dtype=np.int64) for kind in places)
    order = sorted(range(len(records)), key=lambda at: records[at][0])
    rows = np.searchsorted(events, [records[at][0] for at in order]).astype(np.int64)
    reached = np.array([records[at][1] for at in order], dtype=np.int64).reshape(-1, 2)

    own, of_a, of_b = processing_order(events, rows, reached, [a, b])

    assert sorted([*own, *of_a, *of_b]) == list(range(len(arrivals)))
    for ordinals in (own, of_a, of_b):
        assert (np.diff(ordinals) > 0).all()
    for at, row in zip(order, rows.tolist(), strict=True):
        partition = records[at][0] >> BITS
        before = {("fact a", p) for p, o in zip(a.tolist(), of_a, strict=True) if o < own[row]}
        before |= {("fact b", p) for p, o in zip(b.tolist(), of_b, strict=True) if o < own[row]}
        assert {each for each in before if each[1] >> BITS == partition} == follows[at]


def test_records_of_events_of_another_topic_are_left_alone() -> None:
    """A pipeline whose events come from another topic now has the same places there, of other events."""
    width, facts = len(flights.features), len(flights.table_facts)
    columns = {
        "source_partition": pa.array([0, 0, 0], pa.int32()),
        "source_offset": pa.array([5, 5, 5], pa.int64()),
        "values": pa.array([[1.0] * width, [2.0] * width, [3.0] * width]),
        "facts": pa.array([[0] * facts] * 3, pa.list_(pa.int64())),
        "fingerprint": [flights.spec.fingerprint()] * 2 + ["other"],
        "source_topic": ["before", flights.events.topic, flights.events.topic],
    }
    log = TopicRecords(
        pa.table(columns), np.arange(3), np.arange(3), large_binary([None] * 3), np.zeros(3, dtype=np.bool_)
    )

    found = _LoggedFeatures.of(flights, log)

    assert found.values.tolist() == [[2.0] * width]
    assert (found.doubled, found.others) == (0, 2)


def test_what_follows_from_an_aggregate_is_compared_bit_by_bit() -> None:
    """A sum that differs in its last digits changes no feature of it: that is computed from the logged sum."""
    cards = Table("cards")
    mean = cards.mean("x", window=hours(1))
    pipeline = Pipeline(
        name="t",
        events=Events("t.in", schema="s", key="who", time="at"),
        features=(Difference("x", mean), Above(mean, 0.2), mean),
        model="m",
        scores=Scores("t.scores"),
    )
    events = pa.table(
        {
            "event_id": ["a", "b", "c"],
            "who": ["k"] * 3,
            "at": pa.array([0, 1, 2], pa.timestamp("ms", tz="UTC")),
            "x": [0.1, 0.3, 0.2],
        }
    )
    history = History({"t.in": OrderedEvents(events, np.arange(3))})
    logged = np.nextafter(0.2, 1)
    rows, online = np.array([0, 2]), np.array([[np.nan] * 3, [np.float32(0.2 - logged), 1.0, logged]])

    found = offline_values(pipeline, history, rows, online)

    np.testing.assert_array_equal(found[:, :2], online[:, :2])
    np.testing.assert_allclose(found[:, 2], [np.nan, 0.2], rtol=1e-12)
    ids = pa.array(["0", "2"])
    assert compare(pipeline.spec.logged, ComputedFeatures(ids, online), ComputedFeatures(ids, found)).ok
