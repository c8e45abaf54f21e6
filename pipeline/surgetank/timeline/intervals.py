"""Derives intervals (worker lifetimes, anomalies, alerts) and point events from timeline events. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from surgetank.timeline.events import EventKind, TimelineEvent


@dataclass(frozen=True, slots=True)
class Interval:
    """Start and end, ms since the epoch. ``ended``: False if no end was reported; ``failed``: it ended by a failure."""

    start: int
    end: int
    ended: bool = True
    failed: bool = False


@dataclass(slots=True)
class IntervalRow:
    """The intervals of one subject: a worker, an anomaly of one worker, or an alert."""

    kind: str  # worker, anomaly or alert
    name: str
    intervals: list[Interval] = field(default_factory=list)


_POINT_KINDS = {EventKind.DEPLOY, EventKind.REBALANCE, EventKind.WORKER_FAILED, EventKind.OPERATOR_COMMAND}


def interval_rows(events: Iterable[TimelineEvent], start: int, end: int) -> list[IntervalRow]:
    """Return the rows of events that are in order of time, workers first.

    Intervals are cut at ``start`` and ``end``. A worker without a start event lives from ``start`` on if it reports
    any other event; a killed worker reports no end.
    """
    rows: dict[tuple[str, str], IntervalRow] = {}
    open_since: dict[tuple[str, str], int] = {}
    for event in events:
        for key, begins, failed in _transitions(event):
            row = rows.setdefault(key, IntervalRow(*key))
            if begins is True:
                open_since.setdefault(key, event.at)
            elif begins is False:
                # An interval without a start event began before ``start``.
                row.intervals.append(Interval(open_since.pop(key, start), event.at, failed=failed))
                if row.kind == "worker":  # the anomalies of a worker end with it
                    for anomaly in [each for each in open_since if each[1].endswith(f" of {row.name}")]:
                        rows[anomaly].intervals.append(Interval(open_since.pop(anomaly), event.at))
            elif not row.intervals or key in open_since:
                open_since.setdefault(key, start)
    for key, at in open_since.items():
        rows[key].intervals.append(Interval(at, end, ended=False))
    order = {"worker": 0, "anomaly": 1, "alert": 2}
    return sorted(
        rows.values(), key=lambda row: (order[row.kind], min(interval.start for interval in row.intervals), row.name)
    )


def _transitions(event: TimelineEvent) -> Iterable[tuple[tuple[str, str], bool | None, bool]]:
    """Yield (row key, begins, failed) for an event; ``begins`` None: the subject is alive at this time."""
    details = event.details
    if event.kind == EventKind.WORKER_STARTED:
        yield ("worker", event.who), True, False
    elif event.kind in {EventKind.WORKER_STOPPED, EventKind.WORKER_FAILED}:
        yield ("worker", event.who), False, event.kind == EventKind.WORKER_FAILED
    elif event.kind in {EventKind.REBALANCE, EventKind.TASK_OPENED}:
        yield ("worker", event.who), None, False
    elif event.kind == EventKind.ANOMALY:
        yield ("anomaly", f"{details.get('signal')} of {event.who}"), details.get("state") == "begins", False
    elif event.kind == EventKind.ALERT:
        yield ("alert", str(details.get("alert"))), details.get("state") == "fired", False


def point_events(events: Iterable[TimelineEvent]) -> list[TimelineEvent]:
    """Return the events without duration that may explain the intervals."""
    return [event for event in events if event.kind in _POINT_KINDS]
