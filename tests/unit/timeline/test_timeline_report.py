"""The incident report: intervals, plots and Markdown, from events and from a real Prometheus."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from surgetank.errors import SettingsError
from surgetank.kafka.local.broker import free_ports
from surgetank.telemetry.metrics import Metrics
from surgetank.timeline import prometheus_query
from surgetank.timeline.events import EventKind, TimelineEvent
from surgetank.timeline.incident import incident_report
from surgetank.timeline.intervals import Interval, interval_rows, point_events
from surgetank.timeline.report import Plot, render_report
from surgetank.timeline.svg import PlotLine, intervals_plot, lines_plot

SVG = "{http://www.w3.org/2000/svg}"
HOUR = 3_600_000


def anomaly(at: int, who: str, state: str) -> TimelineEvent:
    """Return the event of a latency anomaly."""
    return TimelineEvent(at, EventKind.ANOMALY, who, f"latency {state}", {"signal": "latency", "state": state})


def alert(at: int, state: str) -> TimelineEvent:
    """Return the event of an alert."""
    return TimelineEvent(at, EventKind.ALERT, "alertmanager", f"Slow {state}", {"alert": "Slow", "state": state})


EVENTS = [
    TimelineEvent(100, EventKind.REBALANCE, "w0", "gained partitions 0", {"change": "gained"}),
    TimelineEvent(1000, EventKind.WORKER_STARTED, "w1", "started"),
    anomaly(1500, "w1", "begins"),
    alert(1600, "fired"),
    anomaly(1700, "w0", "begins"),
    anomaly(1800, "w0", "ends"),
    TimelineEvent(2000, EventKind.WORKER_FAILED, "w1", "ends with status 4: stuck", {"exit_code": 4}),
    TimelineEvent(2100, EventKind.DEPLOY, "w1", "model m 1, previously m 2"),
    TimelineEvent(2200, EventKind.WORKER_STARTED, "w1", "started"),
    TimelineEvent(2600, EventKind.WORKER_STOPPED, "w1", "stopped as asked", {"exit_code": 0}),
]


def test_intervals_are_derived_from_start_and_end_events() -> None:
    """They are cut at the start and end of the period; the anomalies of a failed worker end with it."""
    found = {(row.kind, row.name): row.intervals for row in interval_rows(EVENTS, 0, 3000)}
    assert found == {
        ("worker", "w0"): [Interval(0, 3000, ended=False)],
        ("worker", "w1"): [Interval(1000, 2000, failed=True), Interval(2200, 2600)],
        ("anomaly", "latency of w0"): [Interval(1700, 1800)],
        ("anomaly", "latency of w1"): [Interval(1500, 2000)],
        ("alert", "Slow"): [Interval(1600, 3000, ended=False)],
    }
    assert [row.kind for row in interval_rows(EVENTS, 0, 3000)] == ["worker", "worker", "anomaly", "anomaly", "alert"]
    assert [mark.at for mark in point_events(EVENTS)] == [100, 2000, 2100]


def test_an_end_event_without_a_start_event_begins_with_the_period() -> None:
    """A resolved alert without a start event fired before the period."""
    (row,) = interval_rows([alert(500, "resolved")], 0, 3000)
    assert row.intervals == [Interval(0, 500)]


def test_plots_are_valid_svg_for_any_name() -> None:
    """They parse as XML, with a bar for each interval and a line for each run of values."""
    wild = [
        TimelineEvent(10, EventKind.WORKER_STARTED, "<w> & 'co' " + "x" * 99, "s"),
        TimelineEvent(20, EventKind.DEPLOY, "<", "]]>"),
    ]
    tree = ElementTree.fromstring(intervals_plot(interval_rows(wild, 0, HOUR), point_events(wild), 0, HOUR))
    bars = [each for each in tree.iter(f"{SVG}rect") if each.find(f"{SVG}title") is not None]
    assert len(bars) == 1
    assert "<w> & 'co'" in str(bars[0].findtext(f"{SVG}title"))

    times = [0, 1000, 2000, 9000, 10_000]
    line = PlotLine("<le>", times, [1.0, None, 3.0, 4.0, 5.0])
    tree = ElementTree.fromstring(lines_plot("a < b", [line], 0, 10_000))
    pieces = [each.attrib["points"].split() for each in tree.iter(f"{SVG}polyline")]
    assert [len(piece) for piece in pieces] == [1, 1, 2], "a gap is a gap"
    heights = [float(point.split(",")[1]) for piece in pieces for point in piece]
    assert heights == sorted(heights, reverse=True), "larger values are higher up"


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [-5.0, 5.0], [1e300, 1e-300]])
def test_any_values_can_be_plotted(values: list[float]) -> None:
    """No values, zeros, negative and extreme values: all points are within the plot."""
    picture = lines_plot("t", [PlotLine("x", range(0, 1000 * len(values), 1000), values)], 0, 5000)
    tree = ElementTree.fromstring(picture)
    height = float(tree.attrib["height"])
    for each in tree.iter(f"{SVG}polyline"):
        assert all(0 <= float(point.split(",")[1]) <= height for point in each.attrib["points"].split())


def test_the_report_has_facts_questions_and_all_events() -> None:
    """Exit codes, first alert, deploys and unresolved alerts; the questions of a post-mortem; a row per event."""
    text = render_report("flights", EVENTS, [Plot("lag", "p/lag.svg"), Plot("x", why_not="no data")], 0, 3000, 4000)
    assert "| failed workers | 1 with status 4 |" in text
    assert re.search(r"first alert \| 1970-01-01T00:00:01.600Z Slow fired", text)
    assert re.search(r"unresolved at the end \| alert Slow \|", text)
    assert "![lag](p/lag.svg)" in text
    assert "x: no plot. no data" in text
    rows = re.findall(r"^\| 1970-\S+Z \|.*", text, re.MULTILINE)
    assert len(rows) == len(EVENTS)
    for heading in ("## Impact", "## Why", "## What was done", "## What changes now"):
        assert heading in text


def test_text_of_events_is_escaped() -> None:
    """Pipes, line breaks, links and tags."""
    wild = TimelineEvent(
        5, EventKind.ALERT, "a|b", "x\n| y <script> [z](http://evil) `c`", {"alert": "A", "state": "fired"}
    )
    (row,) = [line for line in render_report("p", [wild], [], 0, 9, 9).splitlines() if line.startswith("| 1970")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 5
    assert "<script>" not in row
    assert r"\[z\](http://evil)" in row


def test_an_existing_report_is_not_overwritten(tmp_path: Path) -> None:
    """It may contain edits."""
    file = tmp_path / "i.md"
    written = incident_report("flights", EVENTS, start=0, end=3000, written_at=1, file=file, prometheus=None)
    assert written == [file, tmp_path / "i-plots" / "timeline.svg"]
    assert "i-plots/timeline.svg" in file.read_text()
    with pytest.raises(SettingsError, match="choose another file"):
        incident_report("flights", EVENTS, start=0, end=3000, written_at=1, file=file, prometheus=None)


def test_without_prometheus_the_report_has_no_metric_plots(tmp_path: Path) -> None:
    """The report is written, with the reason."""
    file = tmp_path / "i.md"
    url = f"http://127.0.0.1:{free_ports(1)}"
    incident_report("flights", EVENTS, start=0, end=3000, written_at=1, file=file, prometheus=url)
    assert file.read_text().count("does not answer") == len(prometheus_query.QUERIES)


def test_every_query_names_existing_metrics() -> None:
    """With the names and labels of the worker's catalogue."""
    there = {f"{each.name}{'_total' if each.kind == 'counter' else ''}": each for each in Metrics()}
    there |= {f"{each.name}_bucket": each for each in Metrics() if each.kind == "histogram"}
    for query in prometheus_query.QUERIES:
        names = re.findall(r"surgetank_[a-z_]+", query.of("flights", 60))
        assert set(names) <= set(there), query
        assert not query.legend or query.legend in [label.name for label in there[names[0]].labels]
