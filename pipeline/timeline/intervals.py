"""What lasted, out of events that begin and end: lives of workers, anomalies, alerts; and what was momentary. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.timeline.events import EventKind, TimelineEvent


@dataclass(frozen=True, slots=True)
class Interval:
    """From and to, in ms since the epoch; ``ended`` is False where no end was told, ``bad`` where it failed."""

    start: int
    end: int
    ended: bool = True
    bad: bool = False


@dataclass(slots=True)
class IntervalRow:
    """The spans of one thing: a worker, an anomaly of one worker, an alert."""

    kind: str  # worker, anomaly or alert
    name: str
    spans: list[Interval] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PointEvent:
    """Something of a moment."""

    at: int
    kind: str
    what: str


_MARKS = {EventKind.DEPLOY, EventKind.REBALANCE, EventKind.WORKER_FAILED, EventKind.OPERATOR_COMMAND}


def interval_rows(events: Iterable[TimelineEvent], start: int, end: int) -> list[IntervalRow]:
    """Return the lanes of events that are in order of time, workers first.

    What began before ``start`` or goes on at ``end`` is cut there. A worker that tells anything lives from then on at
    the latest; one that is killed tells no end.
    """
    found: dict[tuple[str, str], IntervalRow] = {}
    begun: dict[tuple[str, str], int] = {}
    for event in events:
        for key, begins, bad in _turns(event):
            lane = found.setdefault(key, IntervalRow(*key))
            if begins is True:
                begun.setdefault(key, event.at)
            elif begins is False:
                # An end without a beginning began before all that was told.
                lane.spans.append(Interval(begun.pop(key, start), event.at, bad=bad))
                if lane.kind == "worker":  # what it saw, nobody sees any more
                    for seen in [each for each in begun if each[1].endswith(f" of {lane.name}")]:
                        found[seen].spans.append(Interval(begun.pop(seen), event.at))
            elif not lane.spans or key in begun:
                begun.setdefault(key, start)
    for key, at in begun.items():
        found[key].spans.append(Interval(at, end, ended=False))
    order = {"worker": 0, "anomaly": 1, "alert": 2}
    return sorted(
        found.values(), key=lambda lane: (order[lane.kind], min(span.start for span in lane.spans), lane.name)
    )


def _turns(event: TimelineEvent) -> Iterable[tuple[tuple[str, str], bool | None, bool]]:
    """Yield what an event says of which lane: it begins, ends, or (None) is there; and whether that is bad."""
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


def point_events(events: Iterable[TimelineEvent]) -> list[PointEvent]:
    """Return what was of a moment and may explain what lasted."""
    return [PointEvent(event.at, event.kind, f"{event.who}: {event.what}") for event in events if event.kind in _MARKS]
