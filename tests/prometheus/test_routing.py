"""A real Alertmanager with the shipped routes and inhibitions: who is told what, when several things go wrong."""

import json
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

from ops.alerts.alert import Severity
from ops.alerts.rules import ALERTS
from ops.alerts.running import Alertmanager
from tests.support.webhook_receiver import Receiver

SEVERITY = {alert.name: alert.severity for alert in ALERTS}


def raised(name: str, **labels: str) -> dict[str, dict[str, str]]:
    """Return an alert as Prometheus posts it."""
    return {"labels": {"alertname": name, "severity": str(SEVERITY[name]), **labels}, "annotations": {"summary": name}}


def told(receiver: Receiver, name: str) -> set[tuple[str, str]]:
    """Return what a receiver was told: the alert and what it is about."""
    return {
        (alert["labels"]["alertname"], alert["labels"].get("group") or alert["labels"].get("pipeline", ""))
        for alert in receiver.of(name, "firing")
    }


def wait(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Wait for a condition; fail saying what was waited for."""
    never = threading.Event()
    for _ in range(int(seconds / 0.1)):
        if condition():
            return
        never.wait(0.1)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


def test_each_is_told_what_concerns_him_and_consequences_are_not(tmp_path: Path) -> None:
    """A stopped partition hides the lag that follows from it, of that group only; a notice is a mail and no more."""
    alerts = [
        raised("PartitionStopped", group="flights", topic="flights.boarding"),
        raised("LagSecondsHigh", group="flights"),
        raised("LagGrowing", group="flights"),
        raised("LagSecondsHigh", group="payments"),
        raised("CapacityRunsOut", group="payments"),
        raised("ModelErrors", pipeline="payments"),
        raised("AnomalyLatency", pipeline="flights"),
    ]
    pages = {("PartitionStopped", "flights"), ("LagSecondsHigh", "payments")}
    tickets = {("ModelErrors", "payments")}
    notices = {("AnomalyLatency", "flights")}
    assert {SEVERITY[name] for name, _ in pages} == {Severity.PAGE}
    with Receiver() as receiver, Alertmanager(tmp_path, receiver.url) as alertmanager:
        body = json.dumps(alerts).encode()
        headers = {"Content-Type": "application/json"}
        url = f"http://{alertmanager.address}/api/v2/alerts"
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
            assert answer.status == 200
        # The mail waits longest: whoever else was to be told has been told by then.
        wait(lambda: told(receiver, "mail") == notices, "the mail")
        assert told(receiver, "pager") == pages
        assert told(receiver, "chat") == pages | tickets
        assert told(receiver, "timeline") == pages | tickets | notices
