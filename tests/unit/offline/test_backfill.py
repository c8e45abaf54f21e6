"""Features of recorded events: in which order events and facts are taken, what is written, what is refused."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from surgetank import Difference, Events, Field, Pipeline, Ratio, Scores
from surgetank.cli import app
from surgetank.drills.recording import Recording
from surgetank.errors import StartupError, SurgetankError, TopologyError
from surgetank.features.spec import Input
from surgetank.features.tables import Table, days, hours
from surgetank.offline.backfill import FINGERPRINT, ProgressCallback, backfill, compute_aggregates, matrices
from surgetank.offline.history import History, OrderedEvents, milliseconds
from tests.support.flights_quarter import first_quarter
from topology.flights import flights as remembering
from topology.recordings.flights import recording

ASKED = Events("t.asked", schema="asked", key="who", time="at")
TOLD = Events("t.told", schema="told", key="name", time="when")
known = Table("known", facts=TOLD)
own = Table("own")


def pipeline_of(*features: Input) -> Pipeline:
    """Return a pipeline with a field and these features."""
    return Pipeline(
        name="t",
        events=ASKED,
        features=(Field("x"), *features),
        model="m",
        scores=Scores("t.scores"),
        facts=(TOLD,),
    )


PIPELINE = pipeline_of(known.last("said"), known.count(window=hours(1)), own.count(window=hours(1)), own.last("x"))


def instants(seconds: Sequence[int | None], unit: str = "ms") -> pa.Array:
    """Return seconds as instants."""
    ticks = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[unit]
    return pa.array([None if s is None else s * ticks for s in seconds], pa.int64()).view(pa.timestamp(unit, tz="UTC"))


def asked(*rows: tuple[str | None, int, float | None], arrived: Sequence[int] = ()) -> pa.Table:
    """Return events: who, when, x."""
    who, at, x = zip(*rows, strict=True)
    columns = {
        "event_id": pa.array([f"a{row}" for row in range(len(rows))]),
        "who": pa.array(who, pa.string()),
        "at": instants(at),
        "x": pa.array(x, pa.float64()),
    }
    return pa.table(columns | ({"arrived": instants(arrived)} if arrived else {}))


def told(*rows: tuple[str | None, int, int], arrived: Sequence[int] = ()) -> pa.Table:
    """Return facts: name, when, what was said."""
    name, at, said = zip(*rows, strict=True)
    columns = {
        "name": pa.array(name, pa.string()),
        "when": instants(at, "us"),
        "said": pa.array(said, pa.int32()),
    }
    return pa.table(columns | ({"arrived": instants(arrived)} if arrived else {}))


def folder_of(folder: Path, questions: pa.Table, facts: pa.Table) -> Path:
    """Write a folder as a user would have it: one topic as a file, the other as a folder of two."""
    pq.write_table(questions, folder / "t.asked.parquet")
    (folder / "t.told").mkdir()
    feather.write_feather(facts.slice(0, 1), folder / "t.told" / "1.arrow")
    feather.write_feather(facts.slice(1), folder / "t.told" / "2.arrow")
    return folder


def of(pipeline: Pipeline, questions: pa.Table, facts: pa.Table) -> History:
    """Return what a recording of both holds."""
    return History.of(Recording.merge([(ASKED, questions), (TOLD, facts)], lap=hours(24)), pipeline)


def rows_of(pipeline: Pipeline, history: History) -> list[list[float | None]]:
    """Return the features of each event in the order taken, None for what is missing."""
    events = history.topics[pipeline.events.topic]
    parts = [matrix for _, matrix in matrices(pipeline, events, compute_aggregates(pipeline, history), rows=2)]
    return [[None if np.isnan(value) else float(value) for value in row] for row in np.concatenate(parts)]


QUESTIONS = asked(("a", 10, 1.5), ("b", 20, 2.5), (None, 30, 3.5), ("a", 40, None), ("a", 5, 0.5))
FACTS = told(("a", 8, 100), ("a", 10, 200), ("b", 30, 300), (None, 1, 400))
# x, the last that was said of the key, how often within an hour, own events within an hour, the last x
IN_ORDER_OF_TIME = [
    [0.5, None, 0, 0, None],
    [1.5, 100, 1, 1, 0.5],  # what is said at the same moment comes after: the events are declared first
    [2.5, None, 0, 0, None],
    [3.5, None, None, None, None],  # no key, no memory
    [None, 200, 2, 2, 1.5],
]


def test_each_event_sees_what_stands_before_it() -> None:
    """By event time, ties in the order declared; facts feed their table, events their own."""
    assert rows_of(PIPELINE, of(PIPELINE, QUESTIONS, FACTS)) == IN_ORDER_OF_TIME


def test_features_of_aggregates_come_out_of_a_recording() -> None:
    """An aggregate that is only an operand is computed too, of facts and of own events, in the order of the matrix."""
    pipeline = pipeline_of(Ratio("x", known.last("said")), Difference("x", own.last("x")))
    history = History(
        {
            ASKED.topic: OrderedEvents(asked(("k", 2, 8.0), ("k", 4, 6.0)), np.array([1, 2])),
            TOLD.topic: OrderedEvents(told(("k", 1, 4)), np.array([0])),
        }
    )
    ((_, matrix),) = matrices(pipeline, history.topics[ASKED.topic], compute_aggregates(pipeline, history))
    np.testing.assert_array_equal(matrix, np.array([[8, 2, np.nan], [6, 1.5, -2]], dtype=np.float32))


def test_files_say_the_same_as_a_recording(tmp_path: Path) -> None:
    """Whatever their format, and however a topic is cut into files."""
    history = History.read(folder_of(tmp_path, QUESTIONS, FACTS), PIPELINE)
    assert rows_of(PIPELINE, history) == IN_ORDER_OF_TIME


def test_where_it_is_known_the_order_is_that_of_arrival(tmp_path: Path) -> None:
    """A fact that came late is not seen by events that came before it, whatever its own time."""
    questions = asked(("a", 10, 1.0), ("a", 12, 2.0), arrived=[11, 13])
    facts = told(("a", 9, 100), ("a", 8, 200), arrived=[12, 14])
    history = History.read(folder_of(tmp_path, questions, facts), PIPELINE, "arrived")
    assert rows_of(PIPELINE, history) == [[1.0, None, 0, 0, None], [2.0, 100, 1, 1, 1.0]]


def test_the_recorded_flights_come_out_the_same_from_files(tmp_path: Path) -> None:
    """A quarter of two topics, shuffled and written to files, has the order and the features of the recording."""
    year = recording()
    parts = [
        (events, first_quarter(table, events.time)) for events, table in zip(year.events, year.tables, strict=True)
    ]
    whole = Recording.merge(parts, lap=days(365))
    for topic, table in zip(whole.topics, whole.tables, strict=True):
        pq.write_table(table.take(np.random.default_rng(1).permutation(len(table))), tmp_path / f"{topic}.parquet")
    read, taken = History.read(tmp_path, remembering), History.of(whole, remembering)
    times = [
        milliseconds(history.topics[remembering.events.topic].table["boarding_at"], "time") for history in (read, taken)
    ]
    np.testing.assert_array_equal(times[0], times[1])
    ids = [history.topics[remembering.events.topic].table["event_id"].to_numpy() for history in (read, taken)]
    by_id = [np.argsort(each) for each in ids]
    # Events of one moment may have changed places; none of them sees another, for only departures feed the table.
    found = compute_aggregates(remembering, read)
    for name, expected in compute_aggregates(remembering, taken).items():
        np.testing.assert_array_equal(found[name][by_id[0]], expected[by_id[1]])


def test_the_file_has_what_a_model_is_trained_on(tmp_path: Path) -> None:
    """Ids, times, float32 features with nulls, the fingerprint; and the report counts what is missing."""
    out = tmp_path / "new" / "features.parquet"
    report = backfill(PIPELINE, of(PIPELINE, QUESTIONS, FACTS), out)
    written = pq.read_table(out)
    assert written.column_names == ["event_id", "event_time", *PIPELINE.spec.names]
    assert {str(written.schema.field(name).type) for name in PIPELINE.spec.names} == {"float"}
    assert written["event_id"].to_pylist() == ["a4", "a0", "a1", "a2", "a3"]
    assert written["event_time"].cast(pa.int64()).to_pylist() == [5_000, 10_000, 20_000, 30_000, 40_000]
    rows = [list(row.values()) for row in written.select(PIPELINE.spec.names).to_pylist()]
    assert rows == IN_ORDER_OF_TIME
    assert written.schema.metadata[FINGERPRINT].decode() == report.fingerprint == PIPELINE.spec.fingerprint()
    assert (report.events, report.facts) == (5, {"t.told": 4})
    assert list(report.missing.values()) == [1, 3, 1, 1, 3]
    assert report.bytes == out.stat().st_size


def test_no_half_of_a_file_is_left(tmp_path: Path) -> None:
    """What fails while it writes leaves the file that was there before, and nothing beside it."""
    out = tmp_path / "features.parquet"
    history = of(PIPELINE, QUESTIONS, FACTS)
    backfill(PIPELINE, history, out)
    before = out.read_bytes()

    def full(what: str, *_: int) -> None:
        if what == "writing":
            raise OSError("no room")

    stopping: ProgressCallback = full
    with pytest.raises(OSError, match="no room"):
        backfill(PIPELINE, history, out, stopping)
    assert [each.name for each in tmp_path.iterdir()] == [out.name]
    assert out.read_bytes() == before


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    """Topics, columns, formats and times: one clear error each."""
    with pytest.raises(TopologyError, match=r"no events of 't\.told'; it has: t\.asked"):
        History.of(Recording.merge([(ASKED, QUESTIONS)], lap=hours(24)), PIPELINE)
    with pytest.raises(TopologyError, match=r"no events of 't\.asked': put a file t\.asked\.parquet there"):
        History.read(tmp_path, PIPELINE)
    folder_of(tmp_path, QUESTIONS, FACTS)
    with pytest.raises(TopologyError, match=r"'t\.asked' in .* have no column 'arrived'; they have: event_id, who"):
        History.read(tmp_path, PIPELINE, "arrived")
    with pytest.raises(TopologyError, match=r"column 'who' of the events of 't\.asked' is string; it must be a time"):
        History.read(tmp_path, pipeline_of(), "who")
    pq.write_table(FACTS, tmp_path / "t.told" / "3.parquet")
    with pytest.raises(TopologyError, match=r"t\.told has files of several formats"):
        History.read(tmp_path, PIPELINE)
    pq.write_table(QUESTIONS.set_column(2, "at", instants([1, None, 2, 3, 4])), tmp_path / "t.asked.parquet")
    with pytest.raises(TopologyError, match=r"column 'at' of the events of 't\.asked' is null in 1 events"):
        History.read(tmp_path, pipeline_of())


def test_events_that_cannot_give_the_features_are_refused() -> None:
    """As at the start of a worker, with the name of the feature or of the statistic."""
    with pytest.raises(TopologyError, match="'x' reads column 'x', which is string"):
        compute_aggregates(PIPELINE, of(PIPELINE, QUESTIONS.set_column(3, "x", pa.nulls(5, pa.string())), FACTS))
    wrong = FACTS.set_column(2, "said", pa.nulls(4, pa.string()))
    with pytest.raises(TopologyError, match="'known_last_said' reads column 'said', which is string"):
        compute_aggregates(PIPELINE, of(PIPELINE, QUESTIONS, wrong))
    events = replace(ASKED, topic="t.events")
    taken = replace(pipeline_of(Field("event_time")), events=events)
    table = QUESTIONS.append_column("event_time", QUESTIONS["x"])
    with pytest.raises(TopologyError, match="a feature is named 'event_time'"):
        backfill(taken, History.of(Recording.merge([(events, table)], lap=hours(24)), taken), Path("nowhere"))


def test_without_duckdb_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only where there is memory: other features need none of it."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(StartupError, match=r"pip install 'surgetank\[offline\]'"):
        compute_aggregates(PIPELINE, of(PIPELINE, QUESTIONS, FACTS))
    stateless = pipeline_of()
    assert backfill(stateless, of(stateless, QUESTIONS, FACTS), tmp_path / "f.parquet").events == len(QUESTIONS)


@pytest.mark.parametrize(
    ("unit", "ticks", "ms"),
    [
        ("s", [-2, 3], [-2000, 3000]),
        ("ms", [-2, 3], [-2, 3]),
        ("us", [-1, 1999], [-1, 1]),
        ("ns", [-1, 10**6], [-1, 1]),
    ],
)
def test_times_of_every_unit_are_rounded_down(unit: str, ticks: list[int], ms: list[int]) -> None:
    """Also before 1970; a time without a zone is UTC."""
    for zone in ("UTC", None):
        times = pa.chunked_array([pa.array(ticks, pa.int64()).view(pa.timestamp(unit, tz=zone))])
        assert milliseconds(times, "time").tolist() == ms


def test_the_command_tells_what_it_wrote(tmp_path: Path) -> None:
    """The report as JSON for scripts, in words for people; the recording by default, or a folder."""
    out = tmp_path / "features.parquet"
    command = ["features", "backfill", "flights", "--out", str(out)]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["events"], report["facts"]) == (336_776, {"flights.departures": 328_521})
    assert pq.read_metadata(out).num_rows == 336_776
    for topic, table in zip(recording().topics, recording().tables, strict=True):
        pq.write_table(table.slice(0, 1_000), tmp_path / f"{topic}.parquet")
    words = CliRunner().invoke(app, [*command, "--events", str(tmp_path)])
    assert "1,000 events, 1,000 facts of flights.departures, 12 features" in words.stdout
    assert CliRunner().invoke(app, [*command, "--arrived", "at"]).exit_code == 2
    (tmp_path / "empty").mkdir()
    refused = CliRunner().invoke(app, [*command, "--events", str(tmp_path / "empty")])
    assert isinstance(refused.exception, SurgetankError)
