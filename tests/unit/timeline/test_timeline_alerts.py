"""What Alertmanager posts becomes events, each once."""

import json
from typing import Any

import pytest

from pipeline.timeline.alerts import KnownAlerts, alerts


def posted(**changes: Any) -> dict[str, Any]:
    """Return an alert as Alertmanager 0.28 posts it."""
    return {
        "status": "firing",
        "labels": {"alertname": "PartitionStalled", "severity": "page", "partition": "3"},
        "annotations": {"summary": "flights: partition 3 stands still"},
        "startsAt": "2026-01-05T12:00:00.123Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": "b9dbf26bff41a2d9",
    } | changes


def body(*found: dict[str, Any]) -> bytes:
    """Return a notification of these alerts."""
    return json.dumps({"version": "4", "status": "firing", "receiver": "x", "alerts": found}).encode()


def test_an_alert_fires_when_it_began_and_is_resolved_when_it_ended() -> None:
    """Its times are Alertmanager's; the sentence has name, severity and summary."""
    ended = posted(status="resolved", endsAt="2026-01-05T12:05:00Z")
    fired, resolved = alerts(body(posted(), ended), "flights")
    assert fired.what == "PartitionStalled (page) fired: flights: partition 3 stands still"
    assert fired.at_ms == 1_767_614_400_123
    assert resolved.at_ms == 1_767_614_700_000
    assert resolved.details["state"] == "resolved"
    assert fired.key != resolved.key


def test_alerts_of_other_pipelines_are_left_out() -> None:
    """Those that name this pipeline, or none, are taken."""
    one, other, none = (
        posted(labels={"alertname": name} | ({"pipeline": pipeline} if pipeline else {}))
        for name, pipeline in (("A", "flights"), ("B", "payments"), ("C", ""))
    )
    assert [alert.details["alert"] for alert in alerts(body(one, other, none), "flights")] == ["A", "C"]


def test_what_goes_on_is_known_until_it_fires_anew() -> None:
    """The same start is the same alert, posted again; a later start is another."""
    known = KnownAlerts(most=2)
    (first,) = alerts(body(posted()), "flights")
    (again,) = alerts(body(posted(annotations={"summary": "still"})), "flights")
    (anew,) = alerts(body(posted(startsAt="2026-01-05T14:00:00Z")), "flights")
    known.add(first)
    assert again in known
    assert anew not in known
    for minute in range(2):
        known.add(alerts(body(posted(startsAt=f"2026-01-05T15:0{minute}:00Z")), "flights")[0])
    assert first not in known, "the oldest is forgotten"


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (b"\xff", "not JSON"),
        (b'{"alerts":' * 100_000, "not JSON"),
        (b"[]", "no list 'alerts'"),
        (b'{"alerts": {}}', "no list 'alerts'"),
        (body({"status": "firing"}), "labels"),
        (body(posted(status="odd")), "odd"),
        (body(posted(startsAt="noon")), "noon"),
        (body(posted(labels={})), "alertname"),
        (b'{"alerts": [null]}', "no alert"),
    ],
)
def test_what_is_no_notification_is_refused_with_the_reason(what: bytes, why: str) -> None:
    """One line that says what is wrong."""
    with pytest.raises(ValueError, match=why):
        alerts(what, "flights")
