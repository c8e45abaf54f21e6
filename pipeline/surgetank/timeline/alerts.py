"""Converts Alertmanager's webhook notifications to timeline events. Pure.

The body is version 4 of the webhook: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

KEYS_MAX = 250_000  # more than one notification can hold

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class AlertNotification:
    """An alert that fired or was resolved. ``key`` is equal for repeated notifications of the same change."""

    key: Key
    at_ms: int
    what: str
    details: Mapping[str, Any]


def parse_alerts(body: bytes | bytearray, pipeline: str) -> list[AlertNotification]:
    """Return the alerts of a notification, except those of other pipelines. Raises ValueError for an invalid body."""
    try:
        notification = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    entries = notification.get("alerts") if isinstance(notification, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not an Alertmanager notification: it has no list 'alerts'")  # noqa: TRY004 - one error type
    notifications = [_parse_alert(entry) for entry in entries]
    return [each for each in notifications if each.details["labels"].get("pipeline", pipeline) == pipeline]


def _parse_alert(entry: Any) -> AlertNotification:
    try:
        labels, annotations = dict(entry["labels"]), dict(entry.get("annotations") or {})
        name, status, starts = labels["alertname"], entry["status"], entry["startsAt"]
        state = {"firing": "fired", "resolved": "resolved"}[status]
        at = datetime.fromisoformat(starts if state == "fired" else entry["endsAt"])
        at_ms = round(at.timestamp() * 1000)
        fingerprint = str(entry.get("fingerprint") or sorted(labels.items()))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"not an Alertmanager alert: {type(error).__name__} {error}") from None
    severity = f" ({labels['severity']})" if "severity" in labels else ""
    summary = annotations.get("summary") or annotations.get("description") or ""
    return AlertNotification(
        (fingerprint, starts, state),
        at_ms,
        f"{name}{severity} {state}{': ' if summary else ''}{summary}",
        {
            "alert": name,
            "state": state,
            "labels": labels,
            "annotations": annotations,
            "fingerprint": fingerprint,
            "starts_at": starts,
        },
    )


class KnownAlerts:
    """The alerts that were written, because Alertmanager repeats active alerts. The oldest keys are dropped."""

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._digests: OrderedDict[bytes, None] = OrderedDict()  # bounded memory: the length of a key is not bounded

    def __contains__(self, alert: AlertNotification) -> bool:
        return _digest(alert) in self._digests

    def add(self, alert: AlertNotification) -> None:
        """Add an alert."""
        self._digests[_digest(alert)] = None
        while len(self._digests) > self._keys_max:
            self._digests.popitem(last=False)


def _digest(alert: AlertNotification) -> bytes:
    return hashlib.blake2b(repr(alert.key).encode(errors="surrogatepass"), digest_size=16).digest()
