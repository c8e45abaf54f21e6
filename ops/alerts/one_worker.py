"""The dashboard of one worker: every metric of its catalogue, with its help text."""

from typing import Any

from ops.alerts.panels import Dashboard, Panel, Row, Variable, time_series
from surgetank.telemetry.kinds import Metric
from surgetank.telemetry.metrics import Metrics

RATE = "[$__rate_interval]"
UNITS = {"seconds": "s", "bytes": "bytes"}
_SELECTED = '{instance="$worker"}'

PROCESS = Row(
    "The process",
    (
        time_series("CPU", "percentunit", (f"rate(process_cpu_seconds_total{_SELECTED}{RATE})", "cores")),
        time_series("Memory", "bytes", (f"process_resident_memory_bytes{_SELECTED}", "resident")),
        time_series("Starts", "short", (f"changes(process_start_time_seconds{_SELECTED}[15m])", "in 15 minutes")),
    ),
)


def panel(metric: Metric[Any]) -> Panel:
    """Return the panel of a metric: the rate of a counter, two quantiles of a histogram, the value of a gauge."""
    labels = [label.name for label in metric.labels]
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    title = metric.name.removeprefix("surgetank_").replace("_", " ")
    unit = UNITS.get(metric.unit, "short")
    if metric.kind == "counter":
        rate = f"rate({metric.name}_total{_SELECTED}{RATE})"
        return time_series(f"{title} per second", "ops", (rate, legend), description=metric.help)
    if metric.kind == "histogram":
        buckets = f"sum by ({', '.join(('le', *labels))}) (rate({metric.name}_bucket{_SELECTED}{RATE}))"
        quantiles = ((f"histogram_quantile({q}, {buckets})", f"{q:.0%} {legend}".strip()) for q in (0.5, 0.99))
        return time_series(title, unit, *quantiles, description=metric.help)
    return time_series(title, unit, (f"{metric.name}{_SELECTED}", legend), description=metric.help)


def one_worker() -> Dashboard:
    """Return the dashboard with all metrics of the catalogue."""
    metrics = Row("All metrics, in the order of the catalogue", tuple(panel(metric) for metric in Metrics()))
    variable = Variable("worker", "surgetank_worker_info", "instance")
    return Dashboard("surgetank-worker", "Surgetank: one worker", (PROCESS, metrics), (variable,))
