"""Renders the metrics reference from the catalogues: ``python -m surgetank.telemetry.reference > docs/metrics.md``."""

import sys
from collections.abc import Iterable
from typing import Any

from surgetank.telemetry.catalogue import Catalogue
from surgetank.telemetry.groups import GroupMetrics
from surgetank.telemetry.kinds import Counter, Label, Metric
from surgetank.telemetry.metrics import Metrics

_HEADER = """# Metrics

<!-- Generated from pipeline/surgetank/telemetry/metrics.py and groups.py by `make reference`. Do not edit. -->

The names are those that Prometheus stores. A histogram `NAME` consists of the series `NAME_bucket`, `NAME_sum` and
`NAME_count`. Times are in seconds and sizes in bytes. The number of values of each label is bounded: either the values
are listed here, or at most the stated number of different values exist at a time.

Both pages also have the process metrics of the Prometheus client library, for example
`process_cpu_seconds_total` and `process_resident_memory_bytes`.
"""


def render() -> str:
    """Return the reference as Markdown: one table per catalogue, in the order of declaration."""
    return "\n".join(
        [
            _HEADER,
            _catalogue("Worker", "Exposed by each worker at `/metrics` on `telemetry.port`.", Metrics()),
            _catalogue("Lag exporter", "Exposed by `surgetank lag-exporter` at `/metrics`.", GroupMetrics()),
        ]
    )


def _catalogue(title: str, where: str, metrics: Catalogue) -> str:
    head = ["| name | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
    return "\n".join([f"## {title}", "", where, "", *head, *map(_row, metrics), ""])


def _row(metric: Metric[Any]) -> str:
    stored = f"{metric.name}_total" if isinstance(metric, Counter) else metric.name
    return f"| `{stored}` | {metric.kind} | {metric.unit} | {_labels(metric.labels)} | {_escaped(metric.help)} |"


def _labels(labels: Iterable[Label]) -> str:
    return "; ".join(f"`{label.name}`: {_values(label)}" for label in labels)


def _values(label: Label) -> str:
    if label.values:
        return ", ".join(f"`{each}`" for each in sorted(label.values))
    return f"at most {label.bound:,}"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(render())
