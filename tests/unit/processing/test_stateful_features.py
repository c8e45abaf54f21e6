"""Tests of what a batch of events and facts reads from state and changes in it, whatever the batches."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank import Events, Pipeline, Scores, Table, hours, seconds
from surgetank.clock import SystemClock
from surgetank.declaration import PREDICTIONS
from surgetank.errors import StateClosed
from surgetank.features.row_layout import layout_from_declaration
from surgetank.features.windows import plausible
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.processing.stateful_features import LATE_MS, StatefulFeatures, row_serdes
from surgetank.records import (
    DecodedBatch,
    PartitionRecords,
    RecordBatch,
    StateChanges,
    TaskEpoch,
    TaskId,
    TaskRecords,
    TopicPartition,
    large_binary,
)
from surgetank.settings import StateSettings
from surgetank.state.changelog import PARTITION_HISTORY, TABLE_VERSION, TableVersion
from surgetank.state.store import Store, StoreMemory
from surgetank.state.store_identity import StoreIdentity
from surgetank.state.table import ExpiryPredicate, StateTable, TableWrite
from surgetank.state.tables import TaskTables
from surgetank.telemetry.metrics import Metrics
from tests.support.feature_histories import Event, assert_as_expected, by_definition, deleting
from tests.unit.state.stores import SMALL

EVENTS = Events("events", schema="event", key="key", time="t")
FACTS = Events("facts", schema="fact", key="key", time="t")
OWN = Table("own", ttl=seconds(0.15))
FED = Table("fed", facts=FACTS, ttl=hours(1))
STATISTICS = (
    OWN.count(window=seconds(0.012)),
    OWN.sum("a", window=seconds(0.04), buckets=4),
    OWN.last("b"),
    FED.mean("a", window=seconds(0.06), buckets=1),
    FED.count(window=seconds(0.012)),
    FED.seconds_since_last(),
)
PIPELINE = Pipeline(
    name="memory", events=EVENTS, features=STATISTICS, model="m", scores=Scores("scores"), predictions=True
)
OWN_MEMORY, FED_MEMORY = PIPELINE.table_states
SETTINGS = StateSettings(past_days_max=1, future_hours_max=1)


@dataclass
class Shelf:
    """The tables of two tasks, in the epochs that they are in."""

    folder: Path
    epochs: dict[TaskId, int] = field(default_factory=dict)
    held: dict[TaskId, TaskTables] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds, shapes = row_serdes(PIPELINE)
        for number in (0, 1):
            task = TaskId("memory", number)
            store = Store.open(
                self.folder / str(number), StoreIdentity("memory", number, 2, shapes), StoreMemory(SMALL)
            )
            self.held[task], self.epochs[task] = TaskTables(store, kinds, SMALL, 1), 1

    def tables(self, task_epoch: TaskEpoch) -> TaskTables | None:
        """Return the tables of a task in its epoch."""
        return self.held[task_epoch[0]] if self.epochs[task_epoch[0]] == task_epoch[1] else None

    def back(self) -> None:
        """Send both tasks back to what is committed."""
        for task, tables in self.held.items():
            self.epochs[task] += 1
            tables.drop(self.epochs[task])

    def commit(self, changes: StateChanges) -> None:
        """Bring what was changed to the disk."""
        for (task, _), through in changes.writes.items():
            self.held[task].commit(through, {})


class World:
    """A recall over the shelf, and how to give it records: tuples of a task's number, a topic and an event."""

    def __init__(self, folder: Path) -> None:
        self.shelf = Shelf(folder)
        self.metrics = Metrics()
        self.recall = StatefulFeatures(
            PIPELINE,
            self.shelf,
            SETTINGS,
            metrics=self.metrics,
            warnings=RecordWarnings(SystemClock()),
        )
        self.offset = 0

    def take(self, records: Sequence[tuple[int, str, Event]]) -> tuple[npt.NDArray[np.float64], StateChanges]:
        """Take a batch; return [m, F] of the events in the order of tasks, and what it changed."""
        slices = [self.slice(number, [each[1:] for each in records if each[0] == number]) for number in (0, 1)]
        laid = RecordBatch.of(slices)
        events = [event for number in (0, 1) for at, _, event in records if at == number]
        topics = [topic for number in (0, 1) for at, topic, _ in records if at == number]
        batches = {topic: batch(laid, topic, topics, events) for topic in ("events", "facts")}
        changes = StateChanges()
        seen = self.recall.compute(slices, laid, batches["events"], {"facts": batches["facts"]}, changes)
        return np.stack([seen[each.name] for each in STATISTICS], axis=1), changes

    def slice(self, number: int, records: Sequence[tuple[str, Event]]) -> TaskRecords:
        """Return records of one task as they were fetched: a run for each stretch of one topic."""
        runs = []
        for topic, event in records:
            self.offset += 1
            runs.append(
                PartitionRecords(
                    TopicPartition(topic, number),
                    self.offset + 1,
                    np.array([self.offset]),
                    np.zeros(1, dtype=np.int64),
                    large_binary([None if event.key is None else event.key.encode()]),
                    large_binary([b""]),
                )
            )
        task = TaskId("memory", number)
        return TaskRecords(task, self.shelf.epochs[task], tuple(runs))


def batch(laid: RecordBatch, topic: str, topics: Sequence[str], events: Sequence[Event]) -> DecodedBatch:
    """Return the events of one topic, decoded."""
    rows = np.array([row for row, each in enumerate(topics) if each == topic], dtype=np.int64)
    deletes = np.array([events[row].deletes for row in rows.tolist()], dtype=np.bool_)
    rows, deleting = rows[~deletes], rows[deletes]
    ours = [events[row] for row in rows.tolist()]
    columns = {
        "t": pa.array([event.time_ms for event in ours], pa.timestamp("ms", tz="UTC")),
        "a": pa.array([event.a for event in ours], pa.float64()),
        "b": pa.array([event.b for event in ours], pa.float64()),
    }
    return DecodedBatch(laid, rows, pa.RecordBatch.from_pydict(columns), deleting)


numbers_or_null = st.none() | st.integers(-9, 9).map(float)
times = st.integers(-30, 130) | st.sampled_from([10**12, -(10**12), 2**52 + 1])
events = st.builds(
    Event, st.sampled_from([*"aabbc", None]), times, numbers_or_null, numbers_or_null, deletes=st.just(False)
)
batches = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.sampled_from([0, 1]), st.sampled_from(["events", "facts"]), events)
            | st.tuples(st.sampled_from([0, 1]), st.just("facts"), st.builds(deleting, st.sampled_from("abc"))),
            max_size=12,
        ),
        st.booleans(),
    ),
    max_size=6,
)


def expected(history: Sequence[tuple[int, str, Event]], number: int) -> list[list[object]]:
    """Return what the events of one task must see, by the definition of each table."""
    mine = [each for each in history if each[0] == number]
    arrived = np.zeros(len(mine), dtype=np.int64)
    times_ms = np.array([event.time_ms for _, _, event in mine], dtype=np.int64)
    may = plausible(times_ms, arrived, 86_400_000, 3_600_000).tolist()
    own = [
        event._replace(reads=topic == "events", writes=topic == "events" and ok, deletes=False)
        for (_, topic, event), ok in zip(mine, may, strict=True)
    ]
    fed = [
        event._replace(reads=topic == "events", writes=topic == "facts" and ok and not event.deletes)
        for (_, topic, event), ok in zip(mine, may, strict=True)
    ]
    of_own, of_fed = by_definition(OWN_MEMORY, own)[0], by_definition(FED_MEMORY, fed)[0]
    return [[*a, *b] for (_, topic, _), a, b in zip(mine, of_own, of_fed, strict=True) if topic == "events"]


@settings(max_examples=60)
@given(batches)
def test_every_event_sees_what_the_definition_says(batches: list[tuple[list[tuple[int, str, Event]], bool]]) -> None:
    """Two tasks, two tables, any batches; a batch that is not committed is thrown away and has never been."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        history: list[tuple[int, str, Event]] = []
        for records, committed in batches:
            found, changes = world.take(records)
            before = {n: sum(p == n and topic == "events" for p, topic, _ in history) for n in (0, 1)}
            now = [*history, *records]
            assert_as_expected(found, [row for n in (0, 1) for row in expected(now, n)[before[n] :]])  # type: ignore[misc]
            if committed:
                world.shelf.commit(changes)
                history = now
            else:
                world.shelf.back()
        for tables in world.shelf.held.values():
            tables.store.close()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world without a past."""
    return World(tmp_path)


def test_each_key_goes_once_into_the_changelog_of_its_partition(world: World) -> None:
    """A burst for each table and task, with the last row of each key; a null key leaves no trace."""
    a, b, nobody = Event("a", 1), Event("b", 2), Event(None, 3)

    _, changes = world.take([(1, "events", a), (1, "events", b), (1, "events", a), (1, "events", nobody)])

    (burst,) = changes.changelog_records
    assert burst.topic == "memory.own.changelog"
    assert burst.partitions.tolist() == [1, 1, 1]
    kinds, shapes = row_serdes(PIPELINE)
    rows = dict(zip(burst.keys.to_pylist(), burst.values.to_pylist(), strict=True))
    told = TableVersion.load(rows.pop(TABLE_VERSION) or b"")
    assert told.fingerprint == shapes["own"].fingerprint
    stored = layout_from_declaration(told.declared or {})
    assert stored == PIPELINE.table_states[0].layout, "it can be read without the declaration"
    included = kinds["own"].source_offsets(large_binary(list(rows.values())))
    offsets = dict(zip(rows, included.tolist(), strict=True))
    assert offsets == {b"a": 3, b"b": 2}
    (burst,) = world.take([(1, "events", a)])[1].changelog_records
    assert burst.keys.to_pylist() == [b"a"], "what rows mean is said once"


@pytest.mark.parametrize("key", [None, TABLE_VERSION, PARTITION_HISTORY])
def test_a_key_that_says_something_of_all_rows_has_none(world: World, key: bytes | None) -> None:
    """Its row would lie where a changelog says what rows mean, and no restore could go on."""
    odd = Event(None if key is None else key.decode(), 1)

    records = [(0, "events", odd), (0, "facts", odd), (0, "events", Event("a", 2)), (0, "events", odd)]
    found, changes = world.take(records)

    assert np.isnan(found[[0, 2], 0]).all(), "features of an odd key are missing, as those of null are"
    (burst,) = changes.changelog_records
    assert burst.keys.to_pylist() == [TABLE_VERSION, b"a"]
    assert TableVersion.load(burst.values[0].as_py()).declared is not None
    changes = StateChanges()
    slices = [world.slice(0, [("events", odd)])]
    scores = np.array([0.5])
    times = pa.array([1], pa.timestamp("ms", tz="UTC"))
    one_model = np.zeros(1, dtype=np.int32)
    world.recall.put_scores(slices, RecordBatch.of(slices), np.array([0]), scores, ["1"], one_model, times, 7, changes)
    assert not changes.changelog_records


def test_a_time_that_cannot_be_reads_and_changes_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """An event of the year 2100 sees what was there, and the next one sees nothing of it; it is counted and logged."""
    far = Event("a", 4_102_444_800_000)
    world.shelf.commit(world.take([(0, "events", Event("a", 1, b=7.0))])[1])

    found, changes = world.take([(0, "events", far)])

    assert not changes.changelog_records
    assert np.isnan(found[0, 2]), "forgotten by then"
    assert world.metrics.implausible_times.value(topic="events") == 1
    assert [said.partition(";")[0] for said in caplog.messages] == [
        "1 record of events with an event time too far from the arrival, which update no state"
    ]
    found, _ = world.take([(0, "events", Event("a", 2))])
    assert found[0, :3].tolist() == [1, 0, 7]


def test_a_deleted_fact_leaves_the_store_and_the_changelog(world: World) -> None:
    """Its tombstone is one too; deleting what is not there, or what comes again, is no error; offsets stay known."""
    keys = large_binary([b"a", b"b"])
    facts = [(0, "facts", Event("a", 1, a=7.0)), (0, "facts", Event("b", 1, a=8.0))]
    world.shelf.commit(world.take(facts)[1])
    table = world.shelf.held[TaskId("memory", 0)]["fed"]
    assert None not in table.committed([b"a", b"b"])

    found, changes = world.take(
        [(0, "facts", deleting("a")), (0, "events", Event("a", 2)), (0, "facts", deleting("nobody"))]
    )

    assert np.isnan(found[0, 3]), "the event behind the tombstone sees no fact"
    gone = [each for each in changes.changelog_records if each.topic == "memory.fed.changelog"]
    assert [each.keys.to_pylist() for each in gone] == [[b"a", b"nobody"]]
    assert [each.values.to_pylist() for each in gone] == [[None, None]]
    world.shelf.commit(changes)
    assert [value is None for value in table.committed([b"a", b"b"])] == [True, False]
    again = [(0, "facts", deleting("b")), (0, "facts", Event("b", 3, a=9.0)), (0, "events", Event("b", 4))]
    found, changes = world.take(again)
    world.shelf.commit(changes)
    assert found[0, 3] == 9
    assert table.committed([b"b"])[0] is not None
    assert np.isnan(table.read(keys)[0]).any()


def test_a_work_of_a_task_that_went_back_is_refused(world: World) -> None:
    """Whoever computes for an epoch that is over is told so, and changes nothing."""
    old = world.slice(0, [("events", Event("a", 1))])
    world.shelf.back()
    laid = RecordBatch.of([old])
    changes = StateChanges()

    with pytest.raises(StateClosed, match="memory/0 went back"):
        world.recall.compute([old], laid, batch(laid, "events", ["events"], [Event("a", 1)]), _no_facts(laid), changes)

    assert not changes.changelog_records


def test_the_last_score_of_each_key_is_kept(world: World) -> None:
    """Of several scores of a key in a batch the last one counts, with the version of the model that computed it."""
    events = [Event("a", 1), Event("b", 2), Event("a", 3), Event(None, 4)]
    piece = world.slice(0, [("events", event) for event in events])
    laid = RecordBatch.of([piece])
    changes = StateChanges()
    times = batch(laid, "events", ["events"] * 4, events).columns.column("t")

    scores, model = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 0, 1], dtype=np.int32)
    world.recall.put_scores([piece], laid, np.arange(4), scores, ["1", "größer"], model, times, 99, changes)

    table = world.shelf.held[TaskId("memory", 0)][PREDICTIONS]
    rows = table.read(large_binary([b"a", b"b"]))
    assert rows["score"].tolist() == [0.3, 0.2]
    assert rows["event_ms"].tolist() == [3, 2]
    assert rows["model_version"].tolist() == [b"1", "größer".encode()]
    assert [burst.topic for burst in changes.changelog_records] == ["memory.predictions.changelog"]


def test_a_score_of_the_year_2100_expires_no_other(world: World) -> None:
    """Its time comes from a wrong clock: as it updates no table, it does not end the retention of last scores."""

    def score(key: str, time_ms: int) -> None:
        piece = world.slice(0, [("events", Event(key, time_ms))])
        changes = StateChanges()
        laid = RecordBatch.of([piece])
        times = pa.array([time_ms], pa.timestamp("ms", tz="UTC"))
        world.recall.put_scores(
            [piece], laid, np.arange(1), np.array([0.5]), ["1"], np.zeros(1, dtype=np.int32), times, 99, changes
        )
        world.shelf.commit(changes)

    score("a", 1)
    score("b", 4_102_444_800_000)
    for _ in range(6):  # the tables take turns
        world.shelf.commit(world.take([(0, "events", Event("c", 2))])[1])

    stored = world.shelf.held[TaskId("memory", 0)][PREDICTIONS].committed([b"a", b"b"])
    assert None not in stored


def test_a_key_that_nothing_can_use_any_more_is_forgotten(world: World) -> None:
    """Long after its last event a key leaves the disk and the changelog, a few rows with each batch."""
    arrives = LATE_MS + 3_600_000 + 1_000
    world.recall._is_plausible = lambda times, arrived: np.ones(len(times), dtype=np.bool_)
    world.shelf.commit(world.take([(0, "events", Event("old", 1))])[1])
    gone: list[bytes | None] = []

    for _ in range(4):  # the tables take turns
        _, changes = world.take([(0, "events", Event("new", arrives))])
        world.shelf.commit(changes)
        gone += [
            key for burst in changes.changelog_records for key in burst.keys.filter(burst.values.is_null()).to_pylist()
        ]

    assert gone == [b"old"]
    assert world.shelf.held[TaskId("memory", 0)]["own"].committed([b"old", b"new"])[0] is None


def test_a_table_whose_rows_were_all_examined_pauses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While event time stands still, rows are examined for expiry once; after a sixteenth of the ttl, again."""
    examined: list[str] = []
    expire = StateTable.expire

    def counted(table: StateTable, is_expired: ExpiryPredicate, rows: int, epoch: int) -> TableWrite | None:
        examined.append(table.name)
        return expire(table, is_expired, rows, epoch)

    monkeypatch.setattr(StateTable, "expire", counted)
    for _ in range(9):  # the tables take turns
        world.take([(0, "events", Event("a", 1_000))])
    assert examined == ["own"]
    for _ in range(3):
        world.take([(0, "events", Event("a", 1_010))])
    assert examined == ["own", "own"]


def _no_facts(laid: RecordBatch) -> dict[str, DecodedBatch]:
    return {"facts": batch(laid, "facts", [], [])}
