"""A post-mortem to be filled in: what the timeline knows is there, what only people know is asked for. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.timeline.events import EventKind, TimelineEvent, moment
from pipeline.timeline.intervals import interval_rows

ROWS_MAX = 2000
_ESCAPED = str.maketrans({sign: f"\\{sign}" for sign in "\\|*_`[]"} | {"<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture beside the report, or why it is missing."""

    title: str
    file: str = ""
    why_not: str = ""


def report(
    pipeline: str, events: Sequence[TimelineEvent], plots: Sequence[Plot], start: int, end: int, written_at: int
) -> str:
    """Return the report as Markdown. Times are milliseconds since the epoch; events are in order of time."""
    return "\n".join(
        [
            f"# Incident: {pipeline}, {moment(start)[:16].replace('T', ' ')} UTC",
            "",
            "*One sentence that a stakeholder understands: what did not work, for whom, for how long.*",
            "",
            *_facts(pipeline, events, start, end, written_at),
            "## Impact",
            "",
            "*Who noticed what? How many events were scored late, dead-lettered, not at all? What did it cost?*",
            "",
            "## What happened",
            "",
            *_pictures(plots),
            *_timeline(events),
            "## Why",
            "",
            "*The trigger, and what turned it into an incident. Why was it not found before?*",
            "",
            "## What was done",
            "",
            "*What ended it? What was tried and did not help?*",
            "",
            "## What went well, what did not, where we were lucky",
            "",
            "* ",
            "",
            "## What changes now",
            "",
            "| what | who | until |",
            "|---|---|---|",
            "| | | |",
            "",
        ]
    )


def _facts(pipeline: str, events: Sequence[TimelineEvent], start: int, end: int, written_at: int) -> list[str]:
    count = Counter(str(event.kind) for event in events)
    fired = [event for event in events if event.kind == EventKind.ALERT and event.details.get("state") == "fired"]
    failed = [event for event in events if event.kind == EventKind.WORKER_FAILED]
    codes = Counter(str(event.details.get("exit_code")) for event in failed)
    open_ = [lane for lane in interval_rows(events, start, end) if not lane.spans[-1].ended]
    going_on = [f"{lane.kind} {lane.name}" for lane in open_ if lane.kind != "worker"]
    rows = [
        ("pipeline", pipeline),
        ("from, to", f"{moment(start)}, {moment(end)} ({(end - start) / 60_000:,.0f} min)"),
        ("first alert", f"{moment(fired[0].at)} {fired[0].what}" if fired else "none"),
        ("alerts", ", ".join(f"{n} x {name}" for name, n in _by(fired, "alert")) or "none"),
        ("first anomaly", next((f"{moment(e.at)} {e.what}" for e in events if e.kind == EventKind.ANOMALY), "none")),
        ("workers that failed", ", ".join(f"{n} with status {code}" for code, n in sorted(codes.items())) or "none"),
        ("rebalances", str(count[EventKind.REBALANCE])),
        ("deploys", "; ".join(f"{moment(e.at)} {e.what}" for e in events if e.kind == EventKind.DEPLOY) or "none"),
        ("operators' commands", str(count[EventKind.OPERATOR_COMMAND])),
        ("not over at the end", ", ".join(going_on) or "nothing"),
        ("severity, owner, status", "to be filled in"),
        ("drawn up", moment(written_at)),
    ]
    return ["| | |", "|---|---|", *(f"| {name} | {_cell(text)} |" for name, text in rows), ""]


def _by(events: Sequence[TimelineEvent], detail: str) -> list[tuple[str, int]]:
    return Counter(str(event.details.get(detail)) for event in events).most_common()


def _pictures(plots: Sequence[Plot]) -> list[str]:
    lines = []
    for plot in plots:
        shown = f"![{plot.title}]({plot.file})" if plot.file else f"*{plot.title}: not drawn. {_cell(plot.why_not)}*"
        lines += [shown, ""]
    return lines


def _timeline(events: Sequence[TimelineEvent]) -> list[str]:
    if not events:
        return ["*The timeline holds no event of this time.*", ""]
    rows = [
        f"| {moment(event.at)} | {_cell(event.kind)} | {_cell(event.who)} | {_cell(event.what)} |"
        for event in events[:ROWS_MAX]
    ]
    more = [f"*{len(events) - ROWS_MAX:,} more are on the timeline.*", ""] if len(events) > ROWS_MAX else []
    return ["| time (UTC) | what | who | in words |", "|---|---|---|---|", *rows, "", *more]


def _cell(text: str) -> str:
    """Return text that stays within its cell and is no Markdown or HTML: it may come from outside."""
    return " ".join(text.split()).translate(_ESCAPED)
