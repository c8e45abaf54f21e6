"""All tables that commands print: in a terminal of 80 columns, and in a pipe."""

import io
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from surgetank.cli import app, kafka
from surgetank.cli.output import print_table
from surgetank.dead_letters.letters import SCHEMA
from surgetank.drills import audit
from surgetank.drills.audit_comparison import AuditReport
from surgetank.lag.table import table
from surgetank.rollout.views import history_table, status_table
from tests.support.rollout_commands import command, log_of
from tests.unit.lag.test_lag_table import Cluster

LETTERS = pa.RecordBatch.from_pylist(
    [
        {
            "partition": 3,
            "offset": 1_234_567_890,
            "stage": "decode",
            "reason": "unreadable_record",
            "source_topic": "a-topic-with-a-long-name.of-events",
            "source_partition": 3,
            "source_offset": 1_234_567,
            "time": datetime(2026, 11, 1, tzinfo=UTC),
            "message": "byte 17: the field amount is missing",
            "attempts": 1,
        }
    ],
    schema=SCHEMA,
)
BROKER = {"id": 1, "state": "running", "pid": 4_194_304, "port": 19_092, "uptime_seconds": 123_456}
BROKER |= {"heap_mb": 1024, "resident_mb": 2048, "log": ".surgetank/kafka/broker-1/logs/server.log"}
LONG = "transaction.abort.timed.out.transaction.cleanup.interval.ms"
SETTING: dict[str, object] = {"name": LONG, "value": "1000", "default": "10000"}


def ran(*words: str) -> None:
    """Run a command; print what it prints."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code in (0, 1), result.output
    print(result.output)


def lag() -> None:
    """Print the lag of a group."""
    print_table(table(Cluster().poll(), width=80))


def rollout(kind: str) -> None:
    """Print the status or the history of a rollout with long texts."""
    who, why = "alice.of.the.models.team@a-host-with-a-long-name.example.org", "less drift on the flights of October"
    log = log_of(
        command("canary", version="2", primary="1", who=who, reason=why, allow=("4e31",), at=1_795_865_131_250),
        command("deploy", version="3", who=who, reason=why),
    )
    log.add(2, b"mangled")
    workers = {f"flights-worker-{number}": str(number) for number in range(3)}
    print_table(status_table("flights", log, "1", workers) if kind == "status" else history_table("flights", log))


TABLES: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "settings": (lambda: ran("settings"), ("kafka.bootstrap", "worker.stuck_deadline_seconds")),
    "audit": (lambda: ran("audit", "flights"), ("out of order", "1,234,567", "flights.boarding-0:17")),
    "lag": (lag, ("orders[0]", "behind")),
    "kafka": (lambda: kafka._print_tables("127.0.0.1:9092", [BROKER], [SETTING]), ("4194304", LONG)),
    "stats": (lambda: ran("dead-letters", "stats", "flights"), ("unreadable_record", "3:1234567890")),
    "rollout": (lambda: rollout("status"), ("5 % of the keys (1 allowed)", "1 serves version 2", "1 records")),
    "commands": (lambda: rollout("history"), ("canary 2 5 % allow 1", "refused: version 2 is in canary")),
    "list": (lambda: ran("dead-letters", "list", "flights"), ("unreadable_record", "3:1234567890")),
}


@pytest.fixture(autouse=True)
def _sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what needs Kafka."""
    report = AuditReport(1_234_567, 9, 0, 1, 0, 0, 0, 0, 0, examples={"lost": ["flights.boarding-0:17"] * 9})
    monkeypatch.setattr(audit, "audit", lambda *_, **__: report)
    monkeypatch.setattr("surgetank.dead_letters.reading.read_letters", lambda *_: iter([LETTERS]))


@pytest.mark.parametrize("name", TABLES)
def test_tables_fit_80_columns(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Long text is folded: nothing is cut."""
    show, _ = TABLES[name]
    monkeypatch.setenv("COLUMNS", "80")
    show()
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 80
    assert "\u2026" not in output  # the ellipsis of text that is cut


@pytest.mark.parametrize("name", TABLES)
def test_tables_in_a_pipe_are_plain(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No colours, no lines of boxes, no folds: each text is whole on one line."""
    show, texts = TABLES[name]
    monkeypatch.delenv("COLUMNS", raising=False)
    show()
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert not [sign for sign in output if 0x2500 <= ord(sign) < 0x2580]
    assert all(text in output for text in texts)


def test_tables_in_a_terminal_have_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a pipe takes them away."""
    terminal = io.StringIO()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setattr(sys, "stdout", terminal)
    lag()
    assert [sign for sign in terminal.getvalue() if 0x2500 <= ord(sign) < 0x2580]
