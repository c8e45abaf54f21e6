"""What `surgetank scores` and `surgetank topics apply` print."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from surgetank.cli import scores, topics
from surgetank.codec.schema_repository import project_schemas
from surgetank.kafka import provisioning
from topology.flights import flights

SCHEMA = project_schemas().columns("score")
COLUMNS = pa.RecordBatch.from_pylist(
    [
        {
            "event_id": "2013-01-01T05:00:00Z-UA-1545-EWR-IAH",
            "key": "N14228",
            "score": 0.123456,
            "model_version": "1",
            "event_time": datetime(2014, 1, 1, 5, tzinfo=UTC),
            "scored_at": datetime(2026, 1, 1, 5, tzinfo=UTC),
        }
    ],
    schema=pa.schema([SCHEMA.field(name) for name in scores._SHOWN if name in SCHEMA.names]),
)


VALUES = {
    "event id": "2013-01-01T05:00:00Z-UA-1545-EWR-IAH",
    "key": "N14228",
    "score": "0.123",
    "model version": "1",
    "event time": "2014-01-01T05:00:00.000Z",
    "scored at": "2026-01-01T05:00:00.000Z",
}


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (42, ["key", "score", "scored at"]),
        (40, ["key", "score", "model version"]),
        (60, ["event id", "key", "score"]),
        (80, ["event id", "key", "score", "model version"]),
        (100, ["event id", "key", "score", "model version", "scored at"]),
        (125, list(VALUES)),
    ],
)
def test_scores_in_a_narrow_terminal(
    width: int, titles: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The score is always there, and each value that is shown is whole."""
    monkeypatch.setenv("COLUMNS", str(width))
    scores.print_table(COLUMNS, True)
    header, row = capsys.readouterr().out.splitlines()
    assert max(len(header.rstrip()), len(row.rstrip())) <= width
    assert header.split() == " ".join(titles).split()
    assert all((value in row) is (title in titles) for title, value in VALUES.items() if title != "model version")


def test_a_topic_with_another_number_of_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number that the topic has is printed, not the declared one."""
    have = {spec.name: 12 for spec in provisioning.needed(flights)}
    monkeypatch.setattr(provisioning, "apply", lambda *_, **__: [])
    monkeypatch.setattr(provisioning, "existing", lambda _: have)
    result = CliRunner().invoke(topics.app, ["apply", "flights"])
    assert result.exit_code == 0, result.output
    assert f"there  {flights.events.topic}  (events, 12 partitions)" in result.stdout
    assert f"{flights.events.partitions} partitions" not in result.stdout
