"""Panels, and their conversion to a Grafana dashboard: rows of panels, a grid of 24 columns, one data source."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ops.alerts import known_series

COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
STATUSES = {
    0: ("ok", "green"),
    1: ("warn", "yellow"),
    2: ("stall", "orange"),
    3: ("stop", "red"),
    4: ("rewind", "purple"),
}


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """An expression, and the legend of its lines."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel with queries. ``kind`` is Grafana's panel type; ``limit`` draws an objective as a line."""

    title: str
    queries: tuple[PanelQuery, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8  # of COLUMNS
    height: int = 7
    description: str = ""
    limit: float | None = None
    statuses: bool = False


def time_series(
    title: str, unit: str, *queries: tuple[str, str], description: str = "", limit: float | None = None
) -> Panel:
    """Return a panel of lines over time; each query is (expression, legend)."""
    panel_queries = tuple(PanelQuery(expr, legend) for expr, legend in queries)
    return Panel(title, panel_queries, unit, description=description, limit=limit)


def statuses(title: str, expr: str, legend: str) -> Panel:
    """Return a panel of bars over time, coloured by lag status."""
    description = "The worst status by Burrow's rules: " + ", ".join(
        f"{value} {text}" for value, (text, _) in STATUSES.items()
    )
    return Panel(
        title, (PanelQuery(expr, legend),), kind="state-timeline", description=description + ".", statuses=True
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A row of panels with a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A dashboard variable: the values of a label of a metric."""

    name: str
    metric: str
    label: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard."""

    uid: str
    title: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()

    @property
    def queries(self) -> list[str]:
        """Return every expression of the dashboard."""
        return [query.expr for row in self.rows for panel in row.panels for query in panel.queries]


def render(board: Dashboard, recorded: frozenset[str]) -> dict[str, Any]:
    """Return the dashboard as Grafana's JSON values. Raises UnknownSeries if a query names an unknown metric."""
    for expr in board.queries:
        known_series.check(expr, recorded)
    return {
        "uid": board.uid,
        "title": board.title,
        "tags": ["surgetank"],
        "editable": False,
        "schemaVersion": 39,
        "version": 1,
        "timezone": "utc",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "graphTooltip": 1,
        "links": [
            {
                "type": "dashboards",
                "title": "Surgetank",
                "tags": ["surgetank"],
                "keepTime": True,
                "asDropdown": False,
                "includeVars": False,
            }
        ],
        "annotations": {"list": [_alerts()]},
        "templating": {"list": [_datasource(), *(_variable(variable) for variable in board.variables)]},
        "panels": _laid_out(board.rows),
    }


def _laid_out(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Place panels side by side while they fit, then in the next line."""
    out: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        out.append({"id": len(out) + 1, "type": "row", "title": row.title, "collapsed": False, "panels": []})
        out[-1]["gridPos"] = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        y, x, tallest = y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                y, x, tallest = y + tallest, 0, 0
            out.append(_panel(len(out) + 1, panel))
            out[-1]["gridPos"] = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return out


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.statuses:
        options = {str(value): {"text": text, "color": color} for value, (text, color) in STATUSES.items()}
        defaults = {"mappings": [{"type": "value", "options": options}], "min": 0, "max": max(STATUSES)}
    if panel.limit is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.limit}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    if panel.kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 8, "lineWidth": 1, "showPoints": "never"}
        if panel.limit is not None:
            defaults["custom"]["thresholdsStyle"] = {"mode": "line"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS.get(panel.kind, {}),
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
            for index, query in enumerate(panel.queries)
        ],
    }


_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "textMode": "value_and_name"},
    "state-timeline": {"mergeValues": True, "showValue": "never", "legend": {"displayMode": "list"}},
}


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "hide": 0, "label": "data source"}


def _variable(variable: Variable) -> dict[str, Any]:
    known_series.check(f"{variable.metric}{{{variable.label}=~'.+'}}")
    query = f"label_values({variable.metric}, {variable.label})"
    return {
        "name": variable.name,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
        "includeAll": False,
        "multi": False,
    }


def _alerts() -> dict[str, Any]:
    """Return the annotation that marks firing alerts on every time axis."""
    return {
        "name": "alerts",
        "enable": True,
        "datasource": DATASOURCE,
        "expr": 'ALERTS{alertstate="firing",severity=~"page|ticket"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}} {{group}}{{pipeline}}{{instance}}",
        "iconColor": "red",
        "step": "10s",
    }
