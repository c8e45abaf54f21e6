"""Timeline events and their encoding in Kafka: one JSON object per record (ops/decisions/0010).

{"at": "2026-11-24T22:05:31.250Z", "kind": "rebalance", "who": "flights-w1",
 "what": "gained partitions 0, 1", "details": {"change": "gained", "partitions": [0, 1]}}
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

WHAT_MAX = 2000  # characters; a longer reason is complete in the log only


class EventKind(StrEnum):
    """The kinds of events. Readers accept unknown kinds."""

    WORKER_STARTED = "worker_started"
    WORKER_STOPPED = "worker_stopped"  # on request
    WORKER_FAILED = "worker_failed"  # with exit code and reason
    DEPLOY = "deploy"  # a changed model or code version
    MODEL_SWITCHED = "model_switched"  # a worker serves another plan of versions
    MODEL_REFUSED = "model_refused"  # a version that a plan needs does not load
    REBALANCE = "rebalance"  # a worker gained, gave up or lost partitions
    TASK_OPENED = "task_opened"
    EVENTS_EXPIRED = "events_expired"  # deleted by retention before they were read
    ANOMALY = "anomaly"  # begins or ends
    ALERT = "alert"  # fired or resolved
    ROLLOUT = "rollout"  # a command about the versions of the model
    OPERATOR_COMMAND = "operator_command"


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """One event. ``at`` is milliseconds since the epoch on the clock of ``who``, the process or user that reports it.

    ``what`` is one sentence; ``details`` holds the same facts as JSON values.
    """

    at: int
    kind: str
    who: str
    what: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the value of the Kafka record."""
        return json.dumps(self.as_dict(), default=str).encode()

    def as_dict(self) -> dict[str, Any]:
        """Return the event as JSON values."""
        return {
            "at": format_time(self.at),
            "kind": str(self.kind),
            "who": self.who,
            "what": self.what[:WHAT_MAX],
            "details": dict(self.details),
        }


def decode(value: bytes | None) -> TimelineEvent:
    """Decode the value of a Kafka record. Raises ValueError if it is not an event."""
    try:
        fields = json.loads(value or b"")
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - one error type for callers
    try:
        at = datetime.fromisoformat(fields["at"])
        kind, who, what = fields["kind"], fields["who"], fields["what"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an event: {error}") from None
    if not all(isinstance(text, str) for text in (kind, who, what)):
        raise ValueError("kind, who and what must be strings")
    details = fields.get("details")
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return TimelineEvent(round(at.timestamp() * 1000), kind, who, what, details if isinstance(details, dict) else {})


def sort_by_time(events: Iterable[TimelineEvent]) -> list[TimelineEvent]:
    """Return the events in order of time; events of equal time stay in topic order."""
    return sorted(events, key=lambda event: event.at)


def format_time(at_ms: int) -> str:
    """Format milliseconds since the epoch as UTC: 2026-11-24T22:05:31.250Z."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_ranges(numbers: Iterable[int]) -> str:
    """Format numbers in ascending order, consecutive numbers as a range: 0-3, 7."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
