"""Alertmanager notifications become timeline events, each change once."""

import json
from typing import Any

import pytest

from surgetank.timeline.alerts import KnownAlerts, parse_alerts


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


def test_an_event_has_the_time_of_the_alert() -> None:
    """Start or end time from Alertmanager; the sentence has name, severity and summary."""
    ended = posted(status="resolved", endsAt="2026-01-05T12:05:00Z")
    fired, resolved = parse_alerts(body(posted(), ended), "flights")
    assert fired.what == "PartitionStalled (page) fired: flights: partition 3 stands still"
    assert fired.at_ms == 1_767_614_400_123
    assert resolved.at_ms == 1_767_614_700_000
    assert resolved.details["state"] == "resolved"
    assert fired.key != resolved.key


def test_alerts_of_other_pipelines_are_ignored() -> None:
    """Alerts that name this pipeline or no pipeline are accepted."""
    one, other, none = (
        posted(labels={"alertname": name} | ({"pipeline": pipeline} if pipeline else {}))
        for name, pipeline in (("A", "flights"), ("B", "payments"), ("C", ""))
    )
    assert [alert.details["alert"] for alert in parse_alerts(body(one, other, none), "flights")] == ["A", "C"]


def test_a_repeated_alert_is_known() -> None:
    """The same start time is the same alert; a later start time is a new one."""
    known = KnownAlerts(keys_max=2)
    (first,) = parse_alerts(body(posted()), "flights")
    (again,) = parse_alerts(body(posted(annotations={"summary": "still"})), "flights")
    (anew,) = parse_alerts(body(posted(startsAt="2026-01-05T14:00:00Z")), "flights")
    known.add(first)
    assert again in known
    assert anew not in known
    for minute in range(2):
        known.add(parse_alerts(body(posted(startsAt=f"2026-01-05T15:0{minute}:00Z")), "flights")[0])
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
        (b'{"alerts": [null]}', "not an Alertmanager alert"),
    ],
)
def test_an_invalid_notification_is_refused_with_the_reason(what: bytes, why: str) -> None:
    """The error names the invalid part."""
    with pytest.raises(ValueError, match=why):
        parse_alerts(what, "flights")
