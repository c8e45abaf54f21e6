"""The metrics reference: as generated, and complete."""

from pathlib import Path

from surgetank.telemetry.groups import GroupMetrics
from surgetank.telemetry.metrics import Metrics
from surgetank.telemetry.reference import render

ROOT = Path(__file__).resolve().parents[3]


def test_the_metrics_reference_is_up_to_date() -> None:
    """docs/metrics.md is what the catalogues render to: run `make reference` after a change."""
    assert (ROOT / "docs" / "metrics.md").read_text() == render()


def test_the_metrics_reference_has_a_row_for_each_metric() -> None:
    """Each metric of both catalogues has one row of five cells, under the name that Prometheus stores."""
    tables = render().split("\n## ")[1:]
    for table, catalogue in zip(tables, (Metrics(), GroupMetrics()), strict=True):
        rows = [line for line in table.splitlines() if line.startswith("| `surgetank_")]
        assert [row.split("`")[1].removesuffix("_total") for row in rows] == [each.name for each in catalogue]
        assert all(row.replace(r"\|", "").count("|") == 6 for row in rows)
    assert "| `surgetank_events_received_total` | counter |  | `topic`: at most 32 |" in tables[0]
    assert "| `surgetank_restore_seconds` | histogram | seconds |" in tables[0]
