"""Alertmanager's configuration: amtool reads it, each severity reaches whom it should, words are two clear lines."""

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
TOLD = {Severity.PAGE: "timeline,pager,chat", Severity.TICKET: "timeline,chat", Severity.NOTICE: "timeline,mail"}
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
    """Return what a template says of these alerts, by Alertmanager's own means."""
    data = folder / "data.json"
    status = "firing" if any(alert["status"] == "firing" for alert in alerts) else "resolved"
    data.write_text(json.dumps({"status": status, "alerts": list(alerts)}))
    command = [tool("amtool"), "template", "render", f"--template.glob={FOLDER / 'templates' / '*.tmpl'}"]
    return said([*command, f"--template.text={{{{ template {json.dumps(template)} . }}}}", f"--template.data={data}"])


def test_amtool_finds_the_configuration_good() -> None:
    """Routes, receivers, inhibitions and templates are read without complaint."""
    assert "SUCCESS" in said([tool("amtool"), "check-config", str(FILE)])


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_reaches_whom_its_severity_says(alert: Any) -> None:
    """A page wakes somebody and is in the chat; a ticket is in the chat; a notice is a mail; the timeline has all."""
    command = [tool("amtool"), "config", "routes", "test", f"--config.file={FILE}", f"alertname={alert.name}"]
    lines = said([*command, f"severity={alert.severity}", "group=flights", "pipeline=flights"]).splitlines()
    assert TOLD[alert.severity] in lines


def test_whoever_is_inhibited_exists(configuration: dict[str, Any]) -> None:
    """Rules of inhibition name alerts that there are, and compare a label that both have."""
    about = {alert.name: alert.about for alert in ALERTS}
    for rule in configuration["inhibit_rules"]:
        sources, targets = (
            re.findall(r"[A-Z]\w+", matcher) for matcher in (*rule["source_matchers"], *rule["target_matchers"])
        )
        assert {about[name] for name in (*sources, *targets)} == set(rule["equal"])


def test_no_secret_is_in_the_file(configuration: dict[str, Any]) -> None:
    """Keys and addresses with keys in them come from files in secrets/, which git does not take."""
    text = FILE.read_text()
    assert re.findall(r"^\s*(?:\w*password|\w*_key|api_url|routing_key):", text, re.MULTILINE) == []
    assert len(re.findall(r"_file: secrets/", text)) == 3
    assert "ops/alertmanager/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_a_stakeholder_reads_two_lines(tmp_path: Path) -> None:
    """Since when, what happens, and that somebody is on it: two lines, without a term of the trade."""
    lines = rendered(tmp_path, "surgetank.stakeholder", ALERT).strip().splitlines()
    assert lines == [
        "Since 10:04 UTC: Scores of flights arrive late. None is lost.",
        "Somebody is on it (LagSecondsHigh); you are told here when it is over.",
    ]


def test_a_stakeholder_is_told_when_it_is_over(tmp_path: Path) -> None:
    """When it ended and how long it was: two lines."""
    lines = rendered(tmp_path, "surgetank.stakeholder", ALERT | {"status": "resolved"}).strip().splitlines()
    assert lines == ["Over since 10:34 UTC, after 30m0s: LagSecondsHigh.", "Everything is as usual again."]


@pytest.mark.parametrize(
    ("alerts", "title"),
    [
        ([ALERT], "flights is 1m 30s behind"),
        ([ALERT, ALERT], "2 alerts: flights is 1m 30s behind"),
        ([ALERT | {"status": "resolved"}], "Over: flights is 1m 30s behind"),
    ],
)
def test_a_title_says_what_it_is(alerts: list[dict[str, Any]], title: str, tmp_path: Path) -> None:
    """One alert by its summary, several by their number and the first, and what is over as over."""
    assert rendered(tmp_path, "surgetank.title", *alerts).strip() == title


def test_whoever_gets_up_has_figures_and_links(tmp_path: Path) -> None:
    """The description, the runbook and the dashboard of each alert that fires."""
    text = rendered(tmp_path, "surgetank.operator", ALERT)
    assert all(ALERT["annotations"][name] in text for name in ("description", "runbook_url", "dashboard"))


def test_rules_give_what_templates_use() -> None:
    """Every annotation that a template names is there in every alert."""
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
