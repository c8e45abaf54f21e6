"""A real Alertmanager with the shipped routes and inhibitions: the notifications of each receiver."""

import json
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

from ops.alerts.alert import Severity
from ops.alerts.rules import ALERTS
from ops.alerts.services import Alertmanager
from tests.support.webhook_receiver import Receiver

SEVERITY = {alert.name: alert.severity for alert in ALERTS}


def raised(name: str, **labels: str) -> dict[str, dict[str, str]]:
    """Return an alert as Prometheus posts it."""
    return {"labels": {"alertname": name, "severity": str(SEVERITY[name]), **labels}, "annotations": {"summary": name}}


def notified(receiver: Receiver, name: str) -> set[tuple[str, str]]:
    """Return the notifications of a receiver: alert and subject."""
    return {
        (alert["labels"]["alertname"], alert["labels"].get("group") or alert["labels"].get("pipeline", ""))
        for alert in receiver.of(name, "firing")
    }


def wait(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Wait for a condition; raise AssertionError with ``what`` after ``seconds``."""
    never = threading.Event()
    for _ in range(int(seconds / 0.1)):
        if condition():
            return
        never.wait(0.1)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


def test_receivers_get_their_severities_and_no_inhibited_alerts(tmp_path: Path) -> None:
    """A stopped partition suppresses the lag alerts of its group only; a notice goes to mail only."""
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
        # The mail has the longest group_wait, so all other notifications were sent before.
        wait(lambda: notified(receiver, "mail") == notices, "the mail")
        assert notified(receiver, "pager") == pages
        assert notified(receiver, "chat") == pages | tickets
        assert notified(receiver, "timeline") == pages | tickets | notices
