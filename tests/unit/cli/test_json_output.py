"""Commands with --json: their standard output is JSON and nothing else, whatever else they tell."""

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from ops.bench import command as bench_command
from surgetank.cli import app
from surgetank.drills import demo, dev_session
from surgetank.drills.audit_comparison import AuditReport
from surgetank.kafka.local.cluster import LocalCluster
from tests.unit.test_docs import ROOT

KAFKA = "127.0.0.1:1"  # nothing listens there


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run each test in a folder of its own, without settings."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def objects(*arguments: str, status: int = 0) -> list[Any]:
    """Run a command with --json; return what its standard output has, one object per line."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == status, (result.output, result.exception)
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_files_that_commands_write_are_listed(project: Path) -> None:
    """Each is there, below the folder."""
    for command in (("new", "card-risk"), ("monitoring", "ops")):
        (made,) = objects(*command)
        assert len(made["files"]) > 10
        assert all((project / made["folder"] / file).is_file() for file in made["files"])


def test_problems_of_schemas_are_listed(project: Path) -> None:
    """With the names of those that were checked; a folder that cannot be read is a problem."""
    (found,) = objects("schemas", "check", str(ROOT / "schemas"))
    assert found["problems"] == []
    assert {"boarding", "score"} <= set(found["schemas"])
    (project / "empty").mkdir()
    (found,) = objects("schemas", "check", "empty", status=1)
    assert "ids.json" in found["problems"][0]


def test_a_report_of_an_incident_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """All its files are."""
    monkeypatch.setattr("surgetank.timeline.reader.read_history", lambda *_: [])
    monkeypatch.setattr("surgetank.timeline.incident.incident_report", lambda *_, **__: [Path("a.md"), Path("a.svg")])
    assert objects("incident", "report", "flights", "--from", "2h") == [{"files": ["a.md", "a.svg"]}]


def test_the_address_of_a_ready_kafka_is_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When it is ready."""
    cluster = LocalCluster(tmp_path / "kafka", port=19092)
    monkeypatch.setattr(LocalCluster, "found", lambda _: cluster)
    monkeypatch.setattr(LocalCluster, "wait", lambda *_: None)
    assert objects("kafka", "wait") == [{"bootstrap": "127.0.0.1:19092", "data": str(tmp_path / "kafka")}]


def test_deleted_state_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is not part of it."""
    monkeypatch.setattr("surgetank.kafka.provisioning.anchor", lambda *_: ("cluster", 4))
    monkeypatch.setattr("surgetank.kafka.provisioning.renew", lambda *_: None)
    monkeypatch.setattr("surgetank.state.state_folders.remove", lambda _: None)
    result = CliRunner().invoke(app, ["state", "reset", "flights", "--json"], input="y\n")
    assert result.exit_code == 0, result.output
    answer, printed = result.stdout.splitlines()  # the runner types the answer into the standard output
    assert (answer.strip(), json.loads(printed)["changelogs"][0]) == ("y", "flights.aircraft.changelog")


def test_a_receiver_of_alerts_prints_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it waits."""

    @contextmanager
    def listening(*_: Any, **__: Any) -> Any:
        yield SimpleNamespace(url="http://127.0.0.1:9099/alerts")

    def stopped(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("surgetank.http.alertmanager_webhook.AlertmanagerWebhook", listening)
    monkeypatch.setattr("surgetank.kafka.topic_reader.partitions", lambda *_: {})
    monkeypatch.setattr("threading.Event", lambda: SimpleNamespace(wait=lambda: stopped(None), set=lambda: None))
    assert objects("timeline", "receive", "flights") == [{"url": "http://127.0.0.1:9099/alerts"}]


@pytest.mark.parametrize("lost", [0, 3])
def test_the_report_of_the_demo_is_printed(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    """The lines of progress are not; the exit status tells what the audit found."""
    audit = AuditReport(
        events=5,
        scores=5 - lost,
        dead_letters=0,
        lost=lost,
        duplicates=0,
        unexpected=0,
        out_of_order=0,
        undecodable=0,
        repeated_ids=0,
    )

    def played(*_: Any, say: Any, **__: Any) -> demo.DemoReport:
        say("sending")
        return demo.DemoReport(audit, 1.0, 2.0, 2.0, 0, 0.1, 20.0, 1.0)

    monkeypatch.setattr(demo, "demo", played)
    (report,) = objects("demo", "flights", "--bootstrap", KAFKA, status=1 if lost else 0)
    assert (report["lost"], report["p99_ms"]) == (lost, 2.0)


def test_the_report_of_a_benchmark_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables and the lines of progress are not."""

    def measured(_plan: Any, _home: Path, reporter: Any, **_: Any) -> dict[str, Any]:
        reporter.say("round 1")
        reporter.doing("round 2")
        return {"seconds": 1.5}

    monkeypatch.setattr(bench_command, "bench", measured)
    assert objects("bench", "--quick") == [{"seconds": 1.5}]
    assert json.loads(Path("bench.json").read_text()) == {"seconds": 1.5}


def test_scores_of_a_session_are_printed_as_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """All else goes to standard error."""

    def session(*_: Any, show: Any, say: Any, **__: Any) -> None:
        say("starting a worker")
        show(pa.RecordBatch.from_pydict({"event_id": ["a", "b"], "score": [0.5, 0.25]}))

    monkeypatch.setattr(dev_session, "run_session", session)
    found = objects("dev", "flights", "--once", "--bootstrap", KAFKA)
    assert found == [{"event_id": "a", "score": 0.5}, {"event_id": "b", "score": 0.25}]


def test_a_restarted_session_gets_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that prints the scores is another one."""
    run: list[list[str]] = []
    monkeypatch.setattr(
        "surgetank.drills.restart_on_change.restart_on_change", lambda command, *_: run.append(list(command))
    )
    assert objects("dev", "flights", "--bootstrap", KAFKA) == []
    assert "--json" in run[0]
