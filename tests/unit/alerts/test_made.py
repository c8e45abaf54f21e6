"""The generated files are up to date and name known series only; Prometheus' configuration matches the objectives."""

import re
from typing import Any

import pytest
import yaml

from ops.alerts import known_series
from ops.alerts import objectives as o
from ops.alerts.__main__ import generated_files
from ops.alerts.alert import Severity
from ops.alerts.rules import ALERTS, ALL
from surgetank.lag.end_offset_history import STALL_SECONDS
from surgetank.settings import ExporterSettings
from surgetank.telemetry.metrics import LATENCY_SECONDS
from tests.support.alert_faults import FAULTS
from tests.support.prometheus_tools import ROOT

PROMETHEUS = ROOT / "ops" / "prometheus"
STATUS_SECONDS = STALL_SECONDS  # a partition without progress counts as stalled after this
PASS_SECONDS = ExporterSettings().interval_seconds


@pytest.fixture(scope="module")
def prometheus() -> dict[str, Any]:
    """Return Prometheus' configuration."""
    loaded: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    return loaded


def test_the_generated_files_are_up_to_date() -> None:
    """Run `python -m ops.alerts` after a change of an objective or a metric."""
    stale = [str(path.relative_to(ROOT)) for path, text in generated_files().items() if path.read_text() != text]
    assert stale == []


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("rate(surgetank_events_scored[5m])", "surgetank_events_scored"),  # a counter is ..._total
        ("surgetank_lag > 1", "surgetank_lag"),
        ("surgetank:nobody_records_this > 1", "surgetank:nobody_records_this"),
        ('surgetank_events_dead_total{why="x"}', "why"),
        ('surgetank_lag_seconds{topic="a", key=~".+"}', "key"),
    ],
)
def test_unknown_series_and_labels_are_refused(expression: str, wrong: str) -> None:
    """The error quotes the unknown name."""
    with pytest.raises(known_series.UnknownSeries, match=re.escape(repr(wrong))):
        known_series.check(expression)


@pytest.mark.parametrize(
    "expression",
    [
        'sum by (pipeline) (rate(surgetank_end_to_end_seconds_bucket{le="5.0"}[5m]))',
        'up{job="x"} == 0',
        'label_replace(surgetank_ready{instance="a"}, "group", "surgetank_no_metric", "job", "(.+)")',
        "surgetank:known > 1",
    ],
)
def test_known_series_and_labels_are_accepted(expression: str) -> None:
    """Histograms have buckets, targets have job and instance; strings are not names."""
    assert known_series.names_in(expression)
    known_series.check(expression, {"surgetank:known"})


def test_the_latency_objective_is_a_bucket_bound() -> None:
    """Between two bounds late events cannot be counted."""
    assert o.SCORED_WITHIN_SECONDS in LATENCY_SECONDS


def test_the_delays_of_a_page_sum_to_less_than_its_limit() -> None:
    """Status window, scrape, evaluation, hold time and group_wait."""
    evaluation = {rule.name: group.interval_seconds for group in ALL for rule in group.rules}
    seen = {"PartitionStalled": STATUS_SECONDS + PASS_SECONDS, "PartitionStopped": STATUS_SECONDS + PASS_SECONDS}
    for alert in ALERTS:
        if alert.severity is Severity.PAGE:
            waits = o.SCRAPE_SECONDS + 2 * evaluation[alert.name] + alert.hold_seconds + o.PAGER_WAIT_SECONDS
            assert seen.get(alert.name, 0) + waits <= o.PAGED_WITHIN[alert.name], alert.name


def test_every_alert_has_complete_texts() -> None:
    """Summary, description with a figure, impact without one, and a unique name."""
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)
    for alert in ALERTS:
        assert re.search(r"\$value|[0-9] s|minute", alert.description), alert.name
        assert alert.impact.endswith("."), alert.name
        assert "%" not in alert.impact, alert.name
        assert not alert.subject_label or f"$labels.{alert.subject_label} " in alert.summary, alert.name


def test_prometheus_has_the_jobs_and_intervals_of_the_objectives(prometheus: dict[str, Any]) -> None:
    """Rules select by job name; delays depend on the intervals."""
    assert {each["job_name"] for each in prometheus["scrape_configs"]} == {o.WORKERS_JOB, o.EXPORTER_JOB}
    assert prometheus["global"]["scrape_interval"] == f"{o.SCRAPE_SECONDS}s"
    assert prometheus["global"]["evaluation_interval"] == f"{o.EVALUATION_SECONDS}s"


def test_every_page_has_a_time_limit() -> None:
    """And no other alert has one."""
    assert sorted(o.PAGED_WITHIN) == sorted(alert.name for alert in ALERTS if alert.severity is Severity.PAGE)


def test_every_alert_has_a_fault_that_raises_it() -> None:
    """And every fault belongs to an alert."""
    assert sorted(FAULTS) == sorted(alert.name for alert in ALERTS)
