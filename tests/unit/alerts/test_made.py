"""What is made from the catalogue and the objectives is checked in as made, and names only what there is."""

import re
from typing import Any

import pytest
import yaml

from ops.alerts import objectives as o
from ops.alerts import series
from ops.alerts.__main__ import made
from ops.alerts.alert import Severity
from ops.alerts.rules import ALERTS, ALL
from pipeline.lag.end_offset_history import SPAN_SECONDS
from pipeline.settings import ExporterSettings
from pipeline.telemetry.metrics import LATENCY_SECONDS
from tests.support.alert_faults import FAULTS
from tests.support.prometheus_tools import ROOT

PROMETHEUS = ROOT / "ops" / "prometheus"
STATUS_SECONDS = SPAN_SECONDS  # a partition without progress counts as stalled after this
PASS_SECONDS = ExporterSettings().interval_seconds


@pytest.fixture(scope="module")
def prometheus() -> dict[str, Any]:
    """Return Prometheus' configuration."""
    loaded: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    return loaded


def test_the_files_are_as_they_are_made() -> None:
    """Whoever changes an objective or a metric runs `python -m ops.alerts`, or this fails."""
    stale = [str(path.relative_to(ROOT)) for path, text in made().items() if path.read_text() != text]
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
def test_what_the_catalogue_does_not_have_is_refused(expression: str, wrong: str) -> None:
    """A name or a label that nothing exposes is an error that quotes it, not an alert that never fires."""
    with pytest.raises(series.UnknownSeries, match=re.escape(repr(wrong))):
        series.check(expression)


@pytest.mark.parametrize(
    "expression",
    [
        'sum by (pipeline) (rate(surgetank_end_to_end_seconds_bucket{le="5.0"}[5m]))',
        'up{job="x"} == 0',
        'label_replace(surgetank_ready{instance="a"}, "group", "surgetank_no_metric", "job", "(.+)")',
        "surgetank:known > 1",
    ],
)
def test_what_there_is_is_allowed(expression: str) -> None:
    """Histograms have buckets, targets have job and instance, and a text is not a name."""
    assert series.named(expression)
    series.check(expression, {"surgetank:known"})


def test_late_is_a_bucket() -> None:
    """The objective on latency is a bound of the histogram: between two bounds nobody could count."""
    assert o.SCORED_WITHIN_SECONDS in LATENCY_SECONDS


def test_pages_come_in_their_promised_time_by_arithmetic() -> None:
    """What the window of the status, scrape, evaluation, hold and the pager's wait add up to is within the promise."""
    evaluation = {rule.name: group.interval_seconds for group in ALL for rule in group.rules}
    seen = {"PartitionStalled": STATUS_SECONDS + PASS_SECONDS, "PartitionStopped": STATUS_SECONDS + PASS_SECONDS}
    for alert in ALERTS:
        if alert.severity is Severity.PAGE:
            waits = o.SCRAPE_SECONDS + 2 * evaluation[alert.name] + alert.hold_seconds + o.PAGER_WAIT_SECONDS
            assert seen.get(alert.name, 0) + waits <= o.PAGED_WITHIN[alert.name], alert.name


def test_every_alert_says_what_where_and_to_whom() -> None:
    """Summary, description with a number, impact without one, and no two alerts of one name."""
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)
    for alert in ALERTS:
        assert re.search(r"\$value|[0-9] s|minute", alert.description), alert.name
        assert alert.impact.endswith("."), alert.name
        assert "%" not in alert.impact, alert.name
        assert not alert.about or f"$labels.{alert.about} " in alert.summary, alert.name


def test_prometheus_is_set_as_the_objectives_count_on(prometheus: dict[str, Any]) -> None:
    """Jobs have the names that rules select by; times are those that promises are made of."""
    assert {each["job_name"] for each in prometheus["scrape_configs"]} == {o.WORKERS_JOB, o.EXPORTER_JOB}
    assert prometheus["global"]["scrape_interval"] == f"{o.SCRAPE_SECONDS}s"
    assert prometheus["global"]["evaluation_interval"] == f"{o.EVALUATION_SECONDS}s"


def test_all_pages_are_promised() -> None:
    """Whoever is woken is woken within a promised time, and nothing else is promised."""
    assert sorted(o.PAGED_WITHIN) == sorted(alert.name for alert in ALERTS if alert.severity is Severity.PAGE)


def test_every_alert_has_a_fault_that_raises_it() -> None:
    """An alert without a test does not ship, and no test is left of one that went."""
    assert sorted(FAULTS) == sorted(alert.name for alert in ALERTS)
