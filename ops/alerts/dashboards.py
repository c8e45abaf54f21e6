"""All dashboards, and the files that Grafana reads."""

import json

from ops.alerts.one_pipeline import ONE_PIPELINE
from ops.alerts.one_worker import one_worker
from ops.alerts.overview import OVERVIEW
from ops.alerts.panels import Board, render
from ops.alerts.rules import RECORDED


def boards() -> tuple[Board, ...]:
    """Return all dashboards."""
    return OVERVIEW, ONE_PIPELINE, one_worker()


def text(board: Board) -> str:
    """Return the file of a dashboard. Raises UnknownSeries if a query names a metric that there is not."""
    return json.dumps(render(board, RECORDED), indent=1, ensure_ascii=False) + "\n"
