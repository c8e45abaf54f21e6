"""Queries Prometheus over HTTP for the plots of an incident report."""

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from surgetank.errors import SurgetankError
from surgetank.timeline.svg import PlotLine

POINTS = 300
STEP_SECONDS_MIN = 5
ANSWER_SECONDS = 15
LINES_MAX = 8

# Selects the workers of one pipeline by worker_info. {window} is a duration that covers several scrapes.
_OF = 'on (instance, job) group_left () max by (instance, job) (surgetank_worker_info{{pipeline="{pipeline}"}})'


@dataclass(frozen=True, slots=True)
class RangeQuery:
    """The query of one plot. ``legend`` is the label that distinguishes its lines, '' for a single line."""

    name: str
    title: str
    expression: str
    legend: str = ""

    def of(self, pipeline: str, window_seconds: int) -> str:
        """Return the expression for a pipeline, with rates over ``window_seconds``."""
        return self.expression.format(of=_OF.format(pipeline=pipeline), window=f"{window_seconds}s")


QUERIES = (
    RangeQuery("scored", "events scored per second", "sum(rate(surgetank_events_scored_total[{window}]) * {of})"),
    RangeQuery("lag", "lag in records", "sum(surgetank_lag_records * {of})"),
    RangeQuery(
        "latency",
        "99th percentile of the latency in seconds, arrival to commit",
        "histogram_quantile(0.99, sum by (le) (rate(surgetank_end_to_end_seconds_bucket[{window}]) * {of}))",
    ),
    RangeQuery(
        "dead",
        "dead letters per second, by reason",
        "sum by (reason) (rate(surgetank_events_dead_total[{window}]) * {of}) > 0",
        "reason",
    ),
    RangeQuery(
        "transactions",
        "transactions per second, by outcome",
        "sum by (outcome) (rate(surgetank_transactions_total[{window}]) * {of}) > 0",
        "outcome",
    ),
    RangeQuery(
        "anomalies",
        "anomaly score by signal: above 1 is an anomaly",
        "topk(6, max by (signal) (surgetank_anomaly_score * {of}))",
        "signal",
    ),
    RangeQuery("workers", "ready workers", "sum(surgetank_ready * {of})"),
)


def query_range(url: str, query: RangeQuery, pipeline: str, start: int, end: int) -> list[PlotLine]:
    """Return the lines of a plot between two times in milliseconds since the epoch.

    Raises SurgetankError if Prometheus refuses the query or does not answer.
    """
    step = max(STEP_SECONDS_MIN, math.ceil((end - start) / 1000 / POINTS))
    parameters = {
        "query": query.of(pipeline, max(60, 4 * step)),
        "start": f"{start / 1000:.3f}",
        "end": f"{end / 1000:.3f}",
        "step": str(step),
    }
    address = f"{url.rstrip('/')}/api/v1/query_range"
    try:
        request = urllib.request.Request(address, urllib.parse.urlencode(parameters).encode())
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            body = json.load(answer)
        return _lines(body["data"]["result"], query.legend)[:LINES_MAX]
    except urllib.error.HTTPError as error:
        message = error.read(500).decode(errors="replace")
        raise SurgetankError(f"Prometheus at {url} refuses a query: {message}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SurgetankError(f"Prometheus at {url} does not answer: {error}") from None


def _lines(series: Sequence[dict[str, Any]], legend: str) -> list[PlotLine]:
    lines = []
    for each in series:
        labels, points = each["metric"], each["values"]
        values = [float(value) for _, value in points]
        lines.append(
            PlotLine(
                labels.get(legend, "all") if legend else "all",
                [round(at * 1000) for at, _ in points],
                [value if math.isfinite(value) else None for value in values],
            )
        )
    return sorted(lines, key=lambda line: line.name)
