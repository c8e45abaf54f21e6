"""Alertmanager's configuration: amtool accepts it, severities are routed, templates render two clear lines."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.alerts.alert import Severity
from ops.alerts.rules import ALERTS
from ops.alerts.rules import render as rules
from tests.support.prometheus_tools import ROOT, said, tool

FOLDER = ROOT / "ops" / "alertmanager"
FILE = FOLDER / "alertmanager.yml"
RECEIVERS = {Severity.PAGE: "timeline,pager,chat", Severity.TICKET: "timeline,chat", Severity.NOTICE: "timeline,mail"}
ALERT: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "LagSecondsHigh", "group": "flights", "severity": "page"},
    "annotations": {
        "summary": "flights is 1m 30s behind",
        "description": "The oldest event waits for 1m 30s.",
        "impact": "Scores of flights arrive late. None is lost.",
        "dashboard": "http://127.0.0.1:3000/d/surgetank-pipeline",
        "runbook_url": "ops/runbooks/LagSecondsHigh.md",
    },
    "startsAt": "2013-07-01T10:04:00Z",
    "endsAt": "2013-07-01T10:34:00Z",
}


@pytest.fixture(scope="module")
def configuration() -> dict[str, Any]:
    """Return Alertmanager's configuration."""
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def rendered(folder: Path, template: str, *alerts: dict[str, Any]) -> str:
    """Return the text of a template for these alerts, rendered by amtool."""
    data = folder / "data.json"
    status = "firing" if any(alert["status"] == "firing" for alert in alerts) else "resolved"
    data.write_text(json.dumps({"status": status, "alerts": list(alerts)}))
    command = [tool("amtool"), "template", "render", f"--template.glob={FOLDER / 'templates' / '*.tmpl'}"]
    return said([*command, f"--template.text={{{{ template {json.dumps(template)} . }}}}", f"--template.data={data}"])


def test_amtool_accepts_the_configuration() -> None:
    """Routes, receivers, inhibitions and templates."""
    assert "SUCCESS" in said([tool("amtool"), "check-config", str(FILE)])


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_reaches_the_receivers_of_its_severity(alert: Any) -> None:
    """Page: pager and chat; ticket: chat; notice: mail; the timeline gets all."""
    command = [tool("amtool"), "config", "routes", "test", f"--config.file={FILE}", f"alertname={alert.name}"]
    lines = said([*command, f"severity={alert.severity}", "group=flights", "pipeline=flights"]).splitlines()
    assert RECEIVERS[alert.severity] in lines


def test_inhibition_rules_name_existing_alerts(configuration: dict[str, Any]) -> None:
    """And compare a label that both alerts have."""
    labels = {alert.name: alert.subject_label for alert in ALERTS}
    for rule in configuration["inhibit_rules"]:
        sources, targets = (
            re.findall(r"[A-Z]\w+", matcher) for matcher in (*rule["source_matchers"], *rule["target_matchers"])
        )
        assert {labels[name] for name in (*sources, *targets)} == set(rule["equal"])


def test_the_file_contains_no_secret(configuration: dict[str, Any]) -> None:
    """Keys and addresses with keys are read from files in secrets/, which git ignores."""
    text = FILE.read_text()
    assert re.findall(r"^\s*(?:\w*password|\w*_key|api_url|routing_key):", text, re.MULTILINE) == []
    assert len(re.findall(r"_file: secrets/", text)) == 3
    assert "ops/alertmanager/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_stakeholder_text_is_two_lines(tmp_path: Path) -> None:
    """Start time, impact, and that someone works on it, without technical terms."""
    lines = rendered(tmp_path, "surgetank.stakeholder", ALERT).strip().splitlines()
    assert lines == [
        "Since 10:04 UTC: Scores of flights arrive late. None is lost.",
        "We are working on it (LagSecondsHigh); a message follows here when it is resolved.",
    ]


def test_the_stakeholder_text_of_a_resolved_alert_has_end_and_duration(tmp_path: Path) -> None:
    """Two lines: the end time and the duration, and that operation is normal."""
    lines = rendered(tmp_path, "surgetank.stakeholder", ALERT | {"status": "resolved"}).strip().splitlines()
    assert lines == ["Resolved at 10:34 UTC, after 30m0s: LagSecondsHigh.", "Operation is normal again."]


@pytest.mark.parametrize(
    ("alerts", "title"),
    [
        ([ALERT], "flights is 1m 30s behind"),
        ([ALERT, ALERT], "2 alerts: flights is 1m 30s behind"),
        ([ALERT | {"status": "resolved"}], "Resolved: flights is 1m 30s behind"),
    ],
)
def test_the_title_names_the_alert(alerts: list[dict[str, Any]], title: str, tmp_path: Path) -> None:
    """One alert by its summary, several by their number and the first, a resolved one as resolved."""
    assert rendered(tmp_path, "surgetank.title", *alerts).strip() == title


def test_the_operator_text_has_figures_and_links(tmp_path: Path) -> None:
    """Description, runbook and dashboard of each firing alert."""
    text = rendered(tmp_path, "surgetank.operator", ALERT)
    assert all(ALERT["annotations"][name] in text for name in ("description", "runbook_url", "dashboard"))


def test_rules_have_the_annotations_of_the_templates() -> None:
    """Every alert has every annotation that a template names."""
    used = set(
        re.findall(r"\.Annotations\.(\w+)", (FOLDER / "templates" / "surgetank.tmpl").read_text() + FILE.read_text())
    )
    given = [
        set(rule["annotations"])
        for group in yaml.safe_load(rules())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert len(given) == len(ALERTS)
    assert all(used <= each for each in given)
