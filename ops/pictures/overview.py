"""Draws ``ops/pictures/overview.svg``: the overview dashboard during a surge in which one of two workers is killed.

``python -m ops.pictures.overview`` starts a real Kafka, two workers, the lag exporter and a real Prometheus with the
shipped configuration and rules. It draws the answers of the range API to the queries of the dashboard. It takes about
six minutes.
"""

import re
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from ops.alerts import objectives as o
from ops.alerts.overview import OVERVIEW
from ops.alerts.panels import STATUSES, Dashboard, Panel
from ops.alerts.services import LagExporter, Prometheus
from ops.pictures.svg import Chart, ChartLine, page
from surgetank.clock import SystemClock
from surgetank.drills.environment import local_environment
from surgetank.drills.fleet import Fleet
from surgetank.drills.pacing import Spike, at_rate
from surgetank.drills.replay import Replay
from surgetank.drills.wire import encoder
from surgetank.kafka import provisioning
from topology.flights import flights
from topology.recordings.flights import recording

PICTURE = Path(__file__).with_name("overview.svg")
RATE = 1_500.0
WARM = 60.0  # seconds before the start of the picture, for the start of the processes
SURGE = Spike(8.0, WARM + 80.0, 40.0)
KILLED_AT, STARTED_AT, SECONDS = 90.0, 125.0, 240.0
STEP = 2
WINDOW = "20s"  # of rates; four scrapes
HEADING = "Surgetank: overview, from Prometheus. An eightfold surge; one of two workers is killed"


def main() -> None:
    """Run the surge, kill a worker, draw the panels."""
    events = recording().only("boarding")
    with (
        tempfile.TemporaryDirectory(prefix="surgetank-picture-") as home,
        local_environment(flights, "topology.flights", events, home=Path(home), brokers=1, protocol="auto") as env,
        env.fleet() as fleet,
        LagExporter(Path(home) / "exporter", env.kafka.bootstrap, flights.group) as exporter,
    ):
        provisioning.apply(env.kafka, flights)
        for member in [fleet.start() for _ in range(2)]:
            fleet.wait_ready(member)
        targets = {o.WORKERS_JOB: addresses(fleet), o.EXPORTER_JOB: [exporter.address]}
        with Prometheus(Path(home) / "prometheus", targets) as prometheus:
            replay = Replay(env.kafka, events, at_rate(RATE, [SURGE]), encoder(), count=10_000_000)
            sending = threading.Thread(target=replay.run, daemon=True)
            began = SystemClock().now() + WARM
            sending.start()
            _inject_failure(fleet, prometheus, began)
            picture = page(HEADING, charts(OVERVIEW, prometheus, began), SECONDS, o.SCRAPE_SECONDS)
            replay.stop()
            sending.join()
    PICTURE.write_text(picture)
    print(f"{PICTURE.name}: {len(picture):,} bytes")


def _inject_failure(fleet: Fleet, prometheus: Prometheus, began: float) -> None:
    """Kill a worker during the surge, start another one, and wait for the end of the picture."""
    clock, wait = SystemClock(), threading.Event().wait
    wait(began + KILLED_AT - clock.now())
    fleet.kill(fleet.running[0])
    print("killed one worker", flush=True)
    wait(began + STARTED_AT - clock.now())
    fleet.start()
    prometheus.scrape(o.WORKERS_JOB, addresses(fleet))
    print("started another worker", flush=True)
    wait(began + SECONDS - clock.now())


def addresses(fleet: Fleet) -> list[str]:
    """Return the telemetry addresses of the live workers."""
    return [f"127.0.0.1:{member.port}" for member in fleet.running]


def charts(board: Dashboard, prometheus: Prometheus, began: float) -> list[Chart]:
    """Return the charts of the panels that have data."""
    found = [_chart(panel, prometheus, began) for row in board.rows for panel in row.panels]
    return [chart for chart in found if chart.lines]


def _chart(panel: Panel, prometheus: Prometheus, began: float) -> Chart:
    lines: list[ChartLine] = []
    for query in panel.queries:
        expr = query.expr.replace("$__rate_interval", WINDOW)
        for series in prometheus.query_range(expr, began, began + SECONDS, STEP):
            times = [float(at) - began for at, _ in series["values"]]
            lines.append(
                ChartLine(format_legend(query.legend, series["metric"]), times, [float(v) for _, v in series["values"]])
            )
    names = tuple(text for text, _ in STATUSES.values()) if panel.statuses else ()
    return Chart(panel.title, panel.unit, tuple(lines), panel.limit, names)


def format_legend(legend: str, labels: Mapping[str, str]) -> str:
    """Return a legend with the label values of a series, in the format of Grafana."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match.group(1), ""), legend).strip()


if __name__ == "__main__":
    main()
