"""Scores of files are those of a worker, value by value; what has no score is a dead letter; errors change nothing."""

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ops.bench.payments import made_up, payments
from ops.training.flights_schedule import flights as schedule
from surgetank.cli import app
from surgetank.clock import SystemClock
from surgetank.codec.avro.container import ContainerWriter
from surgetank.codec.json.serializer import JsonSerializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.declaration import Events, Pipeline
from surgetank.drills.wire import encoder
from surgetank.edge.score_run import ScoreFiles, ScoreReport, score_files
from surgetank.errors import ModelError, SchemaError, SettingsError, StartupError, StateMismatch, TopologyError
from surgetank.records import PartitionRecords, TopicPartition, large_binary
from surgetank.serving import bundle
from surgetank.settings import Settings
from surgetank.settings.schema import WorkerSettings
from tests.support.worker_scores import worker_scores
from topology.flights import flights
from topology.recordings.flights import recording

ROOT = Path(__file__).parents[3]
PAYMENTS_MODEL = ROOT / "ops" / "bench" / "models" / "payments-odd" / "1"
FLIGHTS_MODEL = ROOT / "topology" / "models" / "flights-late-memory" / "1"
SCHEDULE_MODEL = ROOT / "topology" / "models" / "flights-late" / "1"
NAMES = ("event_id", "card", "amount", "paid_at")
CARDS, COUNT, LAST_MS = 50, 3_000, 1_750_000_000_000
ANSWERS = ("event_id", "key", "score", "model", "model_version", "event_time", "source_topic", "source_offset")


def paid() -> pa.RecordBatch:
    """Return payments in the order of arrival; some are late."""
    (part,) = made_up(CARDS, COUNT, LAST_MS)
    return pa.RecordBatch.from_arrays(part.columns, names=NAMES)


def container(path: Path, events: Events, values: Sequence[bytes]) -> Path:
    """Write framed values as a container file, in two blocks."""
    with path.open("wb") as stream:
        writer = ContainerWriter(stream, project_schemas().schema(events.schema))
        half = len(values) // 2
        writer.write(large_binary(values[:half]))
        writer.write(large_binary(values[half:]))
    return path


def run(pipeline: Pipeline, model: Path, files: ScoreFiles, rows: int = 700) -> ScoreReport:
    """Score files in batches of so many rows."""
    settings = Settings(worker=WorkerSettings(batch_rows_max=rows))
    return score_files(pipeline, bundle.read(model), files, settings, SystemClock(), lambda *_: None)


def answers(file: Path) -> list[tuple[Any, ...]]:
    """Return the scores of a file, without the time of scoring, as another library reads them."""
    with file.open("rb") as stream:
        return [tuple(each[name] for name in ANSWERS) for each in fastavro.reader(stream)]


def records_of(
    events: Events, keys: Sequence[bytes | None], values: Sequence[bytes], arrived: Any, first: int = 0
) -> PartitionRecords:
    """Return records of a partition as a worker receives them."""
    offsets = np.arange(first, first + len(values))
    source = TopicPartition(events.topic, 0)
    return PartitionRecords(
        source, first + len(values), offsets, np.asarray(arrived), large_binary(keys), large_binary(values)
    )


def of_worker(scores: pa.Table) -> list[tuple[Any, ...]]:
    """Return the scores of a worker as ``answers`` returns those of a file."""
    return list(zip(*(scores[name].to_pylist() for name in ANSWERS), strict=True))


@pytest.mark.parametrize("kind", ["avro", "json"])
def test_payments_with_state_have_the_scores_of_a_worker(tmp_path: Path, kind: str) -> None:
    """In the order of the file, also of late events, whatever the batches; from Avro and from JSON lines."""
    columns = paid()
    values = encoder()(payments.events, columns)
    times = columns["paid_at"].cast(pa.int64()).to_numpy()
    keys = [key.encode() for key in columns["card"].to_pylist()]
    batches = [
        [records_of(payments.events, keys[i : i + 997], values[i : i + 997], times[i : i + 997], i)]
        for i in range(0, COUNT, 997)
    ]
    expected = of_worker(worker_scores(payments, PAYMENTS_MODEL, batches, tmp_path / "worker"))
    source = tmp_path / f"events.{kind}"
    if kind == "avro":
        container(source, payments.events, values)
    else:
        texts = JsonSerializer(project_schemas(), "card_payment").serialize(columns).to_pylist()
        source.write_bytes(b"\n".join(texts))

    report = run(payments, PAYMENTS_MODEL, ScoreFiles(str(source), tmp_path / "scores.avro"))

    assert (report.events, report.scores, report.dead) == (COUNT, COUNT, 0)
    assert answers(tmp_path / "scores.avro") == expected
    assert len({score for _, _, score, *_ in expected}) > 500


def test_flights_with_facts_have_the_scores_of_a_worker(tmp_path: Path) -> None:
    """Departures update the aircraft before later boardings see them."""
    chunk = next(iter(recording().chunks(encoder(), count=6_000, rows=6_000)))
    topics = recording().topics
    files = {}
    for number, events in enumerate(recording().events):
        values = [value for value, kind in zip(chunk.values, chunk.kind, strict=True) if kind == number]
        files[topics[number]] = str(container(tmp_path / f"{events.schema}.avro", events, values))
    runs, offsets = [], dict.fromkeys(topics, 0)
    edges = [0, *(np.flatnonzero(np.diff(chunk.kind)) + 1).tolist(), len(chunk)]
    for start, stop in pairwise(edges):
        events = recording().events[chunk.kind[start]]
        first = offsets[events.topic]
        offsets[events.topic] += stop - start
        times = chunk.time_ms[start:stop]
        runs.append(records_of(events, chunk.keys[start:stop], chunk.values[start:stop], times, first))
    expected = of_worker(worker_scores(flights, FLIGHTS_MODEL, [runs], tmp_path / "worker"))
    boardings = files.pop(flights.events.topic)

    report = run(flights, FLIGHTS_MODEL, ScoreFiles(boardings, tmp_path / "scores.avro", facts=files))

    assert (report.events, report.facts) == (offsets["flights.boarding"], offsets["flights.departures"])
    assert answers(tmp_path / "scores.avro") == expected
    assert run(schedule, SCHEDULE_MODEL, ScoreFiles(boardings, tmp_path / "other.avro")).scores == report.events
    assert [score for _, _, score, *_ in answers(tmp_path / "other.avro")] != [score for _, _, score, *_ in expected]


def test_kept_state_goes_on_with_the_next_file(tmp_path: Path) -> None:
    """Two files one after the other have the scores of one file; without the folder each begins anew."""
    values = encoder()(payments.events, paid())
    whole, first, second = (
        str(container(tmp_path / name, payments.events, part))
        for name, part in (("w", values), ("1", values[:1_500]), ("2", values[1_500:]))
    )
    out, state = tmp_path / "scores.avro", tmp_path / "state"
    run(payments, PAYMENTS_MODEL, ScoreFiles(whole, out))
    together = answers(out)
    run(payments, PAYMENTS_MODEL, ScoreFiles(first, out, state=state))
    parts = answers(out)
    run(payments, PAYMENTS_MODEL, ScoreFiles(second, out, state=state))
    assert parts + answers(out) == together
    run(payments, PAYMENTS_MODEL, ScoreFiles(second, out))
    assert answers(out) != together[1_500:]


def test_a_run_that_is_broken_off_changes_neither_state_nor_files(tmp_path: Path) -> None:
    """The same file has the same scores afterwards."""
    values = encoder()(payments.events, paid())
    good = container(tmp_path / "good", payments.events, values[:1_000])
    cut = tmp_path / "cut"
    cut.write_bytes(container(tmp_path / "whole", payments.events, values[1_000:]).read_bytes()[:-100])
    out, state = tmp_path / "scores.avro", tmp_path / "state"
    run(payments, PAYMENTS_MODEL, ScoreFiles(str(good), out, state=state))
    before = out.read_bytes()

    with pytest.raises(StartupError, match="cannot be read after block 1"):
        run(payments, PAYMENTS_MODEL, ScoreFiles(str(cut), out, state=state))

    assert out.read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))
    run(payments, PAYMENTS_MODEL, ScoreFiles(str(tmp_path / "whole"), out, state=state))
    continued = answers(out)
    run(payments, PAYMENTS_MODEL, ScoreFiles(str(container(tmp_path / "all", payments.events, values)), out))
    assert continued == answers(out)[1_000:]


def test_state_of_another_declaration_is_refused(tmp_path: Path) -> None:
    """It is not deleted: no changelog could restore it."""
    events = str(container(tmp_path / "events", payments.events, encoder()(payments.events, paid().slice(0, 10))))
    files = ScoreFiles(events, tmp_path / "scores.avro", state=tmp_path / "state")
    run(payments, PAYMENTS_MODEL, files)
    without = replace(payments, predictions=not payments.keeps_predictions)
    with pytest.raises(StateMismatch, match="name another folder with --state"):
        run(without, PAYMENTS_MODEL, files)
    run(payments, PAYMENTS_MODEL, files)


def test_bad_events_are_dead_letters_in_a_file(tmp_path: Path) -> None:
    """With their bytes and the reason; the others are scored, and the status is 1."""
    texts = JsonSerializer(project_schemas(), "card_payment").serialize(paid().slice(0, 5)).to_pylist()
    lines = [texts[0], b"{no json", texts[1], b'{"event_id": 5}', *texts[2:]]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    for kind in ("parquet", "jsonl"):
        arguments = command(tmp_path, "events.jsonl", "--dead-letters", str(tmp_path / f"dead.{kind}"), "--json")
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 1, result.output
        report = json.loads(result.stdout)
        assert (report["events"], report["scores"]) == (7, 5)
        assert sum(report["dead_letters"].values()) == 2
        assert "2 dead letters in" in result.stderr
    dead = pq.read_table(tmp_path / "dead.parquet").to_pylist()
    assert [(each["value"], each["stage"], each["source_offset"]) for each in dead] == [
        (lines[1], "decode", 1),
        (lines[3], "decode", 3),
    ]
    assert len((tmp_path / "dead.jsonl").read_text().splitlines()) == 2
    assert [offset for *_, offset in answers(tmp_path / "scores.avro")] == [0, 2, 4, 5, 6]


def command(folder: Path, events: str, *more: str) -> list[str]:
    """Return the arguments that score a file of payments."""
    found = ["score", "--bundle", str(PAYMENTS_MODEL), "--in", events if events == "-" else str(folder / events)]
    return [*found, "--out", str(folder / "scores.avro"), "--pipeline", "ops.bench.payments", *more]


def test_events_come_from_the_standard_input(tmp_path: Path) -> None:
    """In both formats."""
    columns = paid().slice(0, 20)
    avro = container(tmp_path / "events", payments.events, encoder()(payments.events, columns)).read_bytes()
    texts = JsonSerializer(project_schemas(), "card_payment").serialize(columns).to_pylist()
    found = []
    for content in (avro, b"\n".join(texts)):
        done = subprocess.run(
            [sys.executable, "-m", "surgetank.cli", *command(tmp_path, "-")],
            input=content,
            capture_output=True,
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(b"20 events: 20 scores of payments-odd 1")
        found.append(answers(tmp_path / "scores.avro"))
    assert found[0] == found[1]


def test_the_pipeline_is_the_only_one_with_the_model(tmp_path: Path) -> None:
    """Another model needs the option."""
    empty = container(tmp_path / "events", flights.events, [])
    arguments = ["score", "--in", str(empty), "--out", str(tmp_path / "scores.avro"), "--bundle"]
    facts = ["--facts", f"flights.departures={container(tmp_path / 'facts', recording().events[1], [])}"]
    result = CliRunner().invoke(app, [*arguments, str(FLIGHTS_MODEL), *facts])
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.stdout.startswith("0 events: 0 scores of flights-late-memory 1")
    result = CliRunner().invoke(app, [*arguments, str(PAYMENTS_MODEL)])
    assert isinstance(result.exception, TopologyError)
    assert "declare the model 'payments-odd': none; name one with --pipeline" in str(result.exception)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"events": "absent.avro"}, SettingsError, "--in absent.avro: No such file"),
        ({"facts": {"other": "f"}}, TopologyError, "updates no table with this topic"),
        ({"scores": Path("/absent/scores.avro")}, SettingsError, "name a file in a folder that can be written"),
        ({"dead_letters": Path("dead.txt")}, SettingsError, "ends with .parquet or .jsonl"),
        ({"arrived": "amount"}, TopologyError, "it must be a timestamp"),
        ({"arrived": "nowhere"}, TopologyError, "have no column 'nowhere'"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, error: type[Exception], message: str
) -> None:
    """Before anything is scored."""
    monkeypatch.chdir(ROOT)
    events = str(container(tmp_path / "events", payments.events, encoder()(payments.events, paid().slice(0, 3))))
    files = replace(ScoreFiles(events, tmp_path / "scores.avro"), **change)
    with pytest.raises(error, match=message):
        run(payments, PAYMENTS_MODEL, files)
    assert not (tmp_path / "scores.avro").exists()


def test_facts_that_features_need_are_asked_for(tmp_path: Path) -> None:
    """And state that a pipeline does not have is no option."""
    events = str(container(tmp_path / "events", flights.events, []))
    with pytest.raises(TopologyError, match=r"--facts flights.departures=FILE"):
        run(flights, FLIGHTS_MODEL, ScoreFiles(events, tmp_path / "scores.avro"))
    with pytest.raises(SettingsError, match="--state: pipeline 'flights' has no tables"):
        run(schedule, SCHEDULE_MODEL, ScoreFiles(events, tmp_path / "scores.avro", state=tmp_path / "state"))
    with pytest.raises(ModelError, match="does not fit the pipeline's features"):
        run(schedule, PAYMENTS_MODEL, ScoreFiles(events, tmp_path / "scores.avro"))


def test_a_file_of_other_events_is_refused(tmp_path: Path) -> None:
    """With what its schema lacks."""
    out = io.BytesIO()
    other = {"type": "record", "name": "Other", "fields": [{"name": "event_id", "type": "string"}]}
    fastavro.writer(out, fastavro.parse_schema(other), [{"event_id": "a"}])
    (tmp_path / "events").write_bytes(out.getvalue())
    with pytest.raises(SchemaError, match="it cannot be read as 'card_payment'"):
        run(payments, PAYMENTS_MODEL, ScoreFiles(str(tmp_path / "events"), tmp_path / "scores.avro"))
