"""Renders a post-mortem as Markdown: the facts from the timeline, and questions for the author. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from surgetank.timeline.events import EventKind, TimelineEvent, format_time
from surgetank.timeline.intervals import interval_rows

ROWS_MAX = 2000
_ESCAPES = str.maketrans({sign: f"\\{sign}" for sign in "\\|*_`[]"} | {"<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot beside the report, or the reason why it is missing."""

    title: str
    file: str = ""
    why_not: str = ""


def render_report(
    pipeline: str, events: Sequence[TimelineEvent], plots: Sequence[Plot], start: int, end: int, written_at: int
) -> str:
    """Return the report as Markdown. Times are ms since the epoch; events are in order of time."""
    return "\n".join(
        [
            f"# Incident: {pipeline}, {format_time(start)[:16].replace('T', ' ')} UTC",
            "",
            "*One sentence for stakeholders: what failed, for whom, and for how long.*",
            "",
            *_facts(pipeline, events, start, end, written_at),
            "## Impact",
            "",
            "*Who was affected? How many events were scored late, dead-lettered or not scored? What did it cost?*",
            "",
            "## What happened",
            "",
            *_pictures(plots),
            *_timeline(events),
            "## Why",
            "",
            "*The trigger, and the reason why it became an incident. Why was it not found before?*",
            "",
            "## What was done",
            "",
            "*Which action ended it? Which actions did not help?*",
            "",
            "## What went well, what went wrong, where we were lucky",
            "",
            "* ",
            "",
            "## What changes now",
            "",
            "| action | owner | due |",
            "|---|---|---|",
            "| | | |",
            "",
        ]
    )


def _facts(pipeline: str, events: Sequence[TimelineEvent], start: int, end: int, written_at: int) -> list[str]:
    count = Counter(str(event.kind) for event in events)
    fired = [event for event in events if event.kind == EventKind.ALERT and event.details.get("state") == "fired"]
    alerts = Counter(str(event.details.get("alert")) for event in fired)
    failed = [event for event in events if event.kind == EventKind.WORKER_FAILED]
    codes = Counter(str(event.details.get("exit_code")) for event in failed)
    active = [row for row in interval_rows(events, start, end) if not row.intervals[-1].ended]
    unresolved = [f"{row.kind} {row.name}" for row in active if row.kind != "worker"]
    rows = [
        ("pipeline", pipeline),
        ("from, to", f"{format_time(start)}, {format_time(end)} ({(end - start) / 60_000:,.0f} min)"),
        ("first alert", f"{format_time(fired[0].at)} {fired[0].what}" if fired else "none"),
        ("alerts", ", ".join(f"{n} x {name}" for name, n in alerts.most_common()) or "none"),
        (
            "first anomaly",
            next((f"{format_time(e.at)} {e.what}" for e in events if e.kind == EventKind.ANOMALY), "none"),
        ),
        ("failed workers", ", ".join(f"{n} with status {code}" for code, n in sorted(codes.items())) or "none"),
        ("expired events", "; ".join(each.what for each in events if each.kind == EventKind.EVENTS_EXPIRED) or "none"),
        ("rebalances", str(count[EventKind.REBALANCE])),
        ("deploys", "; ".join(f"{format_time(e.at)} {e.what}" for e in events if e.kind == EventKind.DEPLOY) or "none"),
        ("operator commands", str(count[EventKind.OPERATOR_COMMAND])),
        ("unresolved at the end", ", ".join(unresolved) or "none"),
        ("severity, owner, status", "to be filled in"),
        ("written at", format_time(written_at)),
    ]
    return ["| | |", "|---|---|", *(f"| {name} | {_escape(text)} |" for name, text in rows), ""]


def _pictures(plots: Sequence[Plot]) -> list[str]:
    lines = []
    for plot in plots:
        text = f"![{plot.title}]({plot.file})" if plot.file else f"*{plot.title}: no plot. {_escape(plot.why_not)}*"
        lines += [text, ""]
    return lines


def _timeline(events: Sequence[TimelineEvent]) -> list[str]:
    if not events:
        return ["*The timeline has no events in this period.*", ""]
    rows = [
        f"| {format_time(event.at)} | {_escape(event.kind)} | {_escape(event.who)} | {_escape(event.what)} |"
        for event in events[:ROWS_MAX]
    ]
    more = [f"*The timeline has {len(events) - ROWS_MAX:,} more events.*", ""] if len(events) > ROWS_MAX else []
    return ["| time (UTC) | kind | who | what |", "|---|---|---|---|", *rows, "", *more]


def _escape(text: str) -> str:
    """Escape Markdown, HTML and line breaks, because the text may come from outside."""
    return " ".join(text.split()).translate(_ESCAPES)
