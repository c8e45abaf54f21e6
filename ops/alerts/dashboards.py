"""All dashboards, and their JSON for Grafana."""

import json

from ops.alerts.one_pipeline import ONE_PIPELINE
from ops.alerts.one_worker import one_worker
from ops.alerts.overview import OVERVIEW
from ops.alerts.panels import Dashboard, render
from ops.alerts.rules import RECORDED


def dashboards() -> tuple[Dashboard, ...]:
    """Return all dashboards."""
    return OVERVIEW, ONE_PIPELINE, one_worker()


def render_json(dashboard: Dashboard) -> str:
    """Return the JSON of a dashboard. Raises UnknownSeries if a query names an unknown metric."""
    return json.dumps(render(dashboard, RECORDED), indent=1, ensure_ascii=False) + "\n"
