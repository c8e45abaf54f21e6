"""One event of a timeline, and how it lies in Kafka: a JSON object that any console reads (ops/decisions/0010).

{"at": "2026-11-24T22:05:31.250Z", "kind": "rebalance", "who": "flights-w1",
 "what": "gained partitions 0, 1", "details": {"change": "gained", "partitions": [0, 1]}}
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

WHAT_MAX = 2000  # signs of what a person reads; the rest of a long reason is in the log


class EventKind(StrEnum):
    """What happens to a system. A reader takes kinds that it does not know, too."""

    WORKER_STARTED = "worker_started"
    WORKER_STOPPED = "worker_stopped"  # as it was asked to
    WORKER_FAILED = "worker_failed"  # with its exit code, and why
    DEPLOY = "deploy"  # another model or code than the one before
    REBALANCE = "rebalance"  # a worker gained, gave up or lost partitions
    TASK_OPENED = "task_opened"
    ANOMALY = "anomaly"  # begins or ends
    ALERT = "alert"  # fired or resolved
    OPERATOR_COMMAND = "operator_command"


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """Something that happened. ``at`` is milliseconds since the epoch, by the clock of ``who`` saw it.

    ``what`` is one sentence for people, ``details`` the same for programs: plain JSON values.
    """

    at: int
    kind: str
    who: str
    what: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """Return the value of its record."""
        return json.dumps(self.as_dict(), default=str).encode()

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "at": moment(self.at),
            "kind": str(self.kind),
            "who": self.who,
            "what": self.what[:WHAT_MAX],
            "details": dict(self.details),
        }


def decoded(value: bytes | None) -> TimelineEvent:
    """Return the event of a record. Raises ValueError for what is none."""
    try:
        found = json.loads(value or b"")
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 - for callers, no event is no event
    try:
        at = datetime.fromisoformat(found["at"])
        kind, who, what = found["kind"], found["who"], found["what"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no event: {error}") from None
    if not all(isinstance(text, str) for text in (kind, who, what)):
        raise ValueError("kind, who and what must be texts")
    details = found.get("details")
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return TimelineEvent(round(at.timestamp() * 1000), kind, who, what, details if isinstance(details, dict) else {})


def in_order(events: Iterable[TimelineEvent]) -> list[TimelineEvent]:
    """Return events by time; those of one time as they lie in the topic."""
    return sorted(events, key=lambda event: event.at)


def moment(at_ms: int) -> str:
    """Return a time as text, in UTC: 2026-11-24T22:05:31.250Z."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def listed(numbers: Iterable[int]) -> str:
    """Return numbers in order, runs of them as a range: 0-3, 7."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
