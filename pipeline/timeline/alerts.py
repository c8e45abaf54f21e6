"""What Alertmanager posts to a webhook, as events of a timeline. Pure.

The body is version 4 of its webhook: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

REMEMBERED = 250_000  # more than one notification can hold

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class AlertNotification:
    """An alert that fired or was resolved. ``key`` is the same whenever Alertmanager tells of it again."""

    key: Key
    at_ms: int
    what: str
    details: Mapping[str, Any]


def alerts(body: bytes | bytearray, pipeline: str) -> list[AlertNotification]:
    """Return the alerts of a notification, but those that name another pipeline. Raises ValueError, saying why."""
    try:
        notification = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    posted = notification.get("alerts") if isinstance(notification, dict) else None
    if not isinstance(posted, list):
        raise ValueError("no notification of Alertmanager: it has no list 'alerts'")  # noqa: TRY004 - one kind for all
    found = [_alert(each) for each in posted]
    return [each for each in found if each.details["labels"].get("pipeline", pipeline) == pipeline]


def _alert(posted: Any) -> AlertNotification:
    try:
        labels, annotations = dict(posted["labels"]), dict(posted.get("annotations") or {})
        name, status, starts = labels["alertname"], posted["status"], posted["startsAt"]
        state = {"firing": "fired", "resolved": "resolved"}[status]
        at = datetime.fromisoformat(starts if state == "fired" else posted["endsAt"])
        at_ms = round(at.timestamp() * 1000)
        fingerprint = str(posted.get("fingerprint") or sorted(labels.items()))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"no alert of Alertmanager: {type(error).__name__} {error}") from None
    severity = f" ({labels['severity']})" if "severity" in labels else ""
    said = annotations.get("summary") or annotations.get("description") or ""
    return AlertNotification(
        (fingerprint, starts, state),
        at_ms,
        f"{name}{severity} {state}{': ' if said else ''}{said}",
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
    """Which alerts were written already: Alertmanager repeats what goes on. The oldest are forgotten."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._digests: OrderedDict[bytes, None] = OrderedDict()  # short ones: a key is as long as its sender likes

    def __contains__(self, alert: AlertNotification) -> bool:
        return _digest(alert) in self._digests

    def add(self, alert: AlertNotification) -> None:
        """Remember one."""
        self._digests[_digest(alert)] = None
        while len(self._digests) > self._most:
            self._digests.popitem(last=False)


def _digest(alert: AlertNotification) -> bytes:
    return hashlib.blake2b(repr(alert.key).encode(errors="surrogatepass"), digest_size=16).digest()
