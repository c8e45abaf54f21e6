"""The report of an incident: lanes, plots and Markdown, from events and from what a real Prometheus measured."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline.errors import SettingsError
from pipeline.kafka.local.broker import free_ports
from pipeline.telemetry.metrics import Metrics
from pipeline.timeline import prometheus_query
from pipeline.timeline.events import EventKind, TimelineEvent
from pipeline.timeline.incident import incident_report
from pipeline.timeline.intervals import Interval, interval_rows, point_events
from pipeline.timeline.report import Plot, report
from pipeline.timeline.svg import PlotLine, lanes_plot, lines_plot

SVG = "{http://www.w3.org/2000/svg}"
HOUR = 3_600_000


def anomaly(at: int, who: str, state: str) -> TimelineEvent:
    """Return the event of an anomaly of the latency."""
    return TimelineEvent(at, EventKind.ANOMALY, who, f"latency {state}", {"signal": "latency", "state": state})


def alert(at: int, state: str) -> TimelineEvent:
    """Return the event of an alert."""
    return TimelineEvent(at, EventKind.ALERT, "alertmanager", f"Slow {state}", {"alert": "Slow", "state": state})


STORY = [
    TimelineEvent(100, EventKind.REBALANCE, "w0", "gained partitions 0", {"change": "gained"}),
    TimelineEvent(1000, EventKind.WORKER_STARTED, "w1", "started"),
    anomaly(1500, "w1", "begins"),
    alert(1600, "fired"),
    anomaly(1700, "w0", "begins"),
    anomaly(1800, "w0", "ends"),
    TimelineEvent(2000, EventKind.WORKER_FAILED, "w1", "ends with status 4: stuck", {"exit_code": 4}),
    TimelineEvent(2100, EventKind.DEPLOY, "w1", "model m 1, before it m 2"),
    TimelineEvent(2200, EventKind.WORKER_STARTED, "w1", "started"),
    TimelineEvent(2600, EventKind.WORKER_STOPPED, "w1", "stopped as asked", {"exit_code": 0}),
]


def test_what_lasted_is_found_from_its_ends() -> None:
    """What began before is cut at the start, what goes on at the end; who dies sees nothing any more."""
    found = {(lane.kind, lane.name): lane.spans for lane in interval_rows(STORY, 0, 3000)}
    assert found == {
        ("worker", "w0"): [Interval(0, 3000, ended=False)],
        ("worker", "w1"): [Interval(1000, 2000, bad=True), Interval(2200, 2600)],
        ("anomaly", "latency of w0"): [Interval(1700, 1800)],
        ("anomaly", "latency of w1"): [Interval(1500, 2000)],
        ("alert", "Slow"): [Interval(1600, 3000, ended=False)],
    }
    assert [lane.kind for lane in interval_rows(STORY, 0, 3000)] == ["worker", "worker", "anomaly", "anomaly", "alert"]
    assert [mark.at for mark in point_events(STORY)] == [100, 2000, 2100]


def test_an_end_without_a_beginning_lasted_from_the_start() -> None:
    """An alert that was resolved within the time that is reported fired before it."""
    (lane,) = interval_rows([alert(500, "resolved")], 0, 3000)
    assert lane.spans == [Interval(0, 500)]


def test_plots_are_svg_whatever_the_names_hold() -> None:
    """They parse as XML, and hold a bar for each span and a line for each run of values."""
    wild = [
        TimelineEvent(10, EventKind.WORKER_STARTED, "<w> & 'co' " + "x" * 99, "s"),
        TimelineEvent(20, EventKind.DEPLOY, "<", "]]>"),
    ]
    tree = ElementTree.fromstring(lanes_plot(interval_rows(wild, 0, HOUR), point_events(wild), 0, HOUR))
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
    """Nothing, zeros, negative and extreme ones: all points lie in the picture."""
    picture = lines_plot("t", [PlotLine("x", range(0, 1000 * len(values), 1000), values)], 0, 5000)
    tree = ElementTree.fromstring(picture)
    height = float(tree.attrib["height"])
    for each in tree.iter(f"{SVG}polyline"):
        assert all(0 <= float(point.split(",")[1]) <= height for point in each.attrib["points"].split())


def test_the_report_has_the_facts_and_asks_for_the_rest() -> None:
    """Exit codes, first alert, deploys and what is not over; the questions of a post-mortem; every event in its row."""
    text = report("flights", STORY, [Plot("lag", "p/lag.svg"), Plot("x", why_not="no data")], 0, 3000, 4000)
    assert "| workers that failed | 1 with status 4 |" in text
    assert re.search(r"first alert \| 1970-01-01T00:00:01.600Z Slow fired", text)
    assert re.search(r"not over at the end \| alert Slow \|", text)
    assert "![lag](p/lag.svg)" in text
    assert "x: not drawn. no data" in text
    rows = re.findall(r"^\| 1970-\S+Z \|.*", text, re.MULTILINE)
    assert len(rows) == len(STORY)
    for heading in ("## Impact", "## Why", "## What was done", "## What changes now"):
        assert heading in text


def test_what_came_from_outside_stays_in_its_cell() -> None:
    """Pipes, line breaks, links and tags of an event are text."""
    wild = TimelineEvent(
        5, EventKind.ALERT, "a|b", "x\n| y <script> [z](http://evil) `c`", {"alert": "A", "state": "fired"}
    )
    (row,) = [line for line in report("p", [wild], [], 0, 9, 9).splitlines() if line.startswith("| 1970")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 5
    assert "<script>" not in row
    assert r"\[z\](http://evil)" in row


def test_a_report_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """Somebody may have worked on it."""
    file = tmp_path / "i.md"
    written = incident_report("flights", STORY, start=0, end=3000, written_at=1, file=file, prometheus=None)
    assert written == [file, tmp_path / "i-plots" / "timeline.svg"]
    assert "i-plots/timeline.svg" in file.read_text()
    with pytest.raises(SettingsError, match="choose another file"):
        incident_report("flights", STORY, start=0, end=3000, written_at=1, file=file, prometheus=None)


def test_a_prometheus_that_does_not_answer_leaves_its_plots_out(tmp_path: Path) -> None:
    """The report is written all the same, and says why."""
    file = tmp_path / "i.md"
    url = f"http://127.0.0.1:{free_ports(1)}"
    incident_report("flights", STORY, start=0, end=3000, written_at=1, file=file, prometheus=url)
    assert file.read_text().count("does not answer") == len(prometheus_query.QUERIES)


def test_every_query_asks_for_metrics_that_there_are() -> None:
    """By the names that the catalogue of a worker gives them, and with labels that they have."""
    there = {f"{each.name}{'_total' if each.kind == 'counter' else ''}": each for each in Metrics()}
    there |= {f"{each.name}_bucket": each for each in Metrics() if each.kind == "histogram"}
    for query in prometheus_query.QUERIES:
        names = re.findall(r"surgetank_[a-z_]+", query.of("flights", 60))
        assert set(names) <= set(there), query
        assert not query.legend or query.legend in [label.name for label in there[names[0]].labels]
