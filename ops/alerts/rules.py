"""All rules in order, and the file that Prometheus reads."""

from typing import Any

import yaml

from ops.alerts import anomalies, lag, scoring, series, workers
from ops.alerts import objectives as o
from ops.alerts.alert import AlertRule, RecordingRule, Rules

ALL: tuple[Rules, ...] = (lag.RULES, scoring.RULES, scoring.SLOW, workers.RULES, anomalies.RULES)
ALERTS: tuple[AlertRule, ...] = tuple(rule for group in ALL for rule in group.rules if isinstance(rule, AlertRule))
RECORDED: frozenset[str] = frozenset(
    rule.name for group in ALL for rule in group.rules if isinstance(rule, RecordingRule)
)

_HEAD = "# Made by `python -m ops.alerts` from ops/alerts/; change it there.\n"
_DASHBOARDS = {"group": "pipeline", "pipeline": "pipeline", "instance": "worker"}


def render(grafana: str = o.GRAFANA, runbooks: str = o.RUNBOOKS) -> str:
    """Return the rule file. Raises UnknownSeries if a rule names a metric that the catalogue does not have."""
    groups = [
        {
            "name": group.name,
            "interval": f"{group.interval_seconds}s",
            "rules": [_rule(rule, grafana, runbooks) for rule in group.rules],
        }
        for group in ALL
    ]
    return _HEAD + yaml.safe_dump({"groups": groups}, sort_keys=False, width=118, allow_unicode=True)


def _rule(rule: RecordingRule | AlertRule, grafana: str, runbooks: str) -> dict[str, Any]:
    series.check(rule.expr, RECORDED)
    if isinstance(rule, RecordingRule):
        return {"record": rule.name, "expr": rule.expr}
    return {
        "alert": rule.name,
        "expr": rule.expr,
        "for": f"{rule.hold_seconds}s",
        "labels": {"severity": str(rule.severity)},
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "impact": rule.impact,
            "dashboard": _dashboard(rule, grafana),
            "runbook_url": f"{runbooks}/{rule.name}.md",
        },
    }


def _dashboard(rule: AlertRule, grafana: str) -> str:
    if not rule.about:
        return f"{grafana}/d/surgetank-overview"
    board = _DASHBOARDS[rule.about]
    return f"{grafana}/d/surgetank-{board}?var-{board}={{{{ $labels.{rule.about} | urlquery }}}}"
