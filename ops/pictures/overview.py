"""The overview's panels as a picture: a surge on real Kafka, a worker killed in its middle, another that comes.

Prometheus scrapes workers and exporter as shipped, with the shipped rules; what is drawn are the answers of its range
API to the very queries of the dashboard.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from ops.alerts import objectives as o
from ops.alerts.overview import OVERVIEW
from ops.alerts.panels import STATUSES, Board, Panel
from ops.alerts.running import LagExporter, Prometheus, free_ports
from ops.pictures.svg import Chart, Line, page
from pipeline.clock import SystemClock
from pipeline.drills import pacing
from pipeline.drills.fleet import Fleet, Member
from pipeline.drills.replay import Replay
from pipeline.drills.wire import encoder
from pipeline.kafka import topics
from pipeline.kafka.local import LocalCluster
from pipeline.settings import KafkaSettings
from topology.flights import flights
from topology.recordings.flights import recording

RATE = 1500.0
SURGE = pacing.Spike(factor=8, start=80, length=40)
KILLED_AT, JOINS_AT, SECONDS = 90.0, 125.0, 240
STEP = 2
WINDOW = "20s"  # of rates: four scrapes
HEADING = "Surgetank: overview, as Prometheus saw it. An eightfold surge; one of two workers is killed in it"


def draw(folder: Path, say: Callable[[str], None]) -> str:
    """Run it, about five minutes, and return the picture as SVG."""
    clock = SystemClock()
    with contextlib.ExitStack() as leaving:
        cluster = LocalCluster(folder / "kafka", brokers=1, port=free_ports(1)[0])
        leaving.callback(cluster.down)
        cluster.up(fresh=True)
        kafka = KafkaSettings(bootstrap=cluster.bootstrap)
        topics.apply(kafka, flights)
        fleet = leaving.enter_context(Fleet("topology.flights", bootstrap=kafka.bootstrap, folder=folder / "logs"))
        staff = [fleet.start() for _ in range(2)]
        for member in staff:
            fleet.wait_ready(member)
        exporter = leaving.enter_context(LagExporter(folder / "exporter", kafka.bootstrap, flights.group))
        targets = {o.WORKERS_JOB: [_address(member) for member in staff], o.EXPORTER_JOB: [exporter.address]}
        prometheus = leaving.enter_context(Prometheus(folder / "prometheus", targets))
        say(f"sending {RATE:,.0f} events/s, {SURGE} among them, for {SECONDS} s")
        pace = pacing.at_rate(RATE, [SURGE])
        count = round(RATE * (SECONDS + (SURGE.factor - 1) * SURGE.length))
        replay = Replay(kafka, recording().only("boarding"), pace, encoder(), count=count)
        began = clock.now()
        sending = threading.Thread(target=replay.run, daemon=True)
        sending.start()
        leaving.callback(sending.join)
        leaving.callback(replay.stop)
        wait = threading.Event().wait
        wait(began + KILLED_AT - clock.now())
        say("one worker is killed")
        fleet.kill(staff[1])
        wait(began + JOINS_AT - clock.now())
        say("another comes")
        staff[1] = fleet.start()
        prometheus.scrape(o.WORKERS_JOB, [_address(member) for member in staff])
        wait(began + SECONDS - clock.now())
        return page(HEADING, charts(OVERVIEW, prometheus, began, SECONDS), SECONDS, 5)


def charts(board: Board, prometheus: Prometheus, began: float, seconds: float) -> list[Chart]:
    """Return the panels of a dashboard that have something to show."""
    found = [_chart(panel, prometheus, began, seconds) for row in board.rows for panel in row.panels]
    return [chart for chart in found if chart.lines]


def _chart(panel: Panel, prometheus: Prometheus, began: float, seconds: float) -> Chart:
    lines: list[Line] = []
    for query in panel.queries:
        expr = query.expr.replace("$__rate_interval", WINDOW)
        for series in prometheus.query_range(expr, began, began + seconds, STEP):
            times = [float(at) - began for at, _ in series["values"]]
            lines.append(Line(worded(query.legend, series["metric"]), times, [float(v) for _, v in series["values"]]))
    names = tuple(text for text, _ in STATUSES.values()) if panel.statuses else ()
    return Chart(panel.title, panel.unit, tuple(lines), panel.limit, names)


def worded(legend: str, labels: Mapping[str, str]) -> str:
    """Return a legend with the labels of a series put in, as Grafana does."""
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name.group(1), ""), legend).strip()


def _address(member: Member) -> str:
    return f"127.0.0.1:{member.port}"
