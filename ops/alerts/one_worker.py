"""The dashboard of one worker: every metric of its catalogue, drawn by its kind, with its help text."""

from typing import Any

from ops.alerts.panels import Board, Panel, Row, Variable, show
from pipeline.telemetry.kinds import Metric
from pipeline.telemetry.metrics import Metrics

RATE = "[$__rate_interval]"
UNITS = {"seconds": "s", "bytes": "bytes"}
_HERE = '{instance="$worker"}'

PROCESS = Row(
    "The process",
    (
        show("CPU", "percentunit", (f"rate(process_cpu_seconds_total{_HERE}{RATE})", "cores")),
        show("Memory", "bytes", (f"process_resident_memory_bytes{_HERE}", "resident")),
        show("Starts", "short", (f"changes(process_start_time_seconds{_HERE}[15m])", "in 15 minutes")),
    ),
)


def panel(metric: Metric[Any]) -> Panel:
    """Return how a metric is drawn: a counter as a rate, a histogram by two quantiles, a gauge as it is."""
    labels = [label.name for label in metric.labels]
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    title = metric.name.removeprefix("surgetank_").replace("_", " ")
    unit = UNITS.get(metric.unit, "short")
    if metric.kind == "counter":
        rate = f"rate({metric.name}_total{_HERE}{RATE})"
        return show(f"{title}, a second", "ops", (rate, legend), about=metric.help)
    if metric.kind == "histogram":
        buckets = f"sum by ({', '.join(('le', *labels))}) (rate({metric.name}_bucket{_HERE}{RATE}))"
        quantiles = ((f"histogram_quantile({q}, {buckets})", f"{q:.0%} {legend}".strip()) for q in (0.5, 0.99))
        return show(title, unit, *quantiles, about=metric.help)
    return show(title, unit, (f"{metric.name}{_HERE}", legend), about=metric.help)


def one_worker() -> Board:
    """Return the dashboard, with what the catalogue has today."""
    told = Row("All that it tells, in the order of the catalogue", tuple(panel(metric) for metric in Metrics()))
    variable = Variable("worker", "surgetank_worker_info", "instance")
    return Board("surgetank-worker", "Surgetank: one worker", (PROCESS, told), (variable,))
