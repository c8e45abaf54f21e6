"""A look at a group for people, as a table, and for scripts, as JSON."""

import math
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipeline.lag.group_monitor import REMEMBER_SECONDS, GroupSnapshot
from pipeline.lag.lag_evaluator import PartitionStatus
from pipeline.lag.rules import LagStatus
from pipeline.lag.seconds import LagMethod
from pipeline.lag.sparkline import sparkline

WIDTH = 24
COLOURS = {
    LagStatus.OK: "green",
    LagStatus.WARN: "yellow",
    LagStatus.STALL: "red",
    LagStatus.STOP: "red",
    LagStatus.REWIND: "magenta",
}
KNOWN_BY = {
    LagMethod.NO_LAG: "",
    LagMethod.RECORD: "record",
    LagMethod.INTERPOLATED: "between looks",
    LagMethod.EXTRAPOLATED: "extrapolated",
    LagMethod.BOUNDED: "arrival: clock wrong",
}
UNKNOWN = "?"


def table(look: GroupSnapshot, rows_max: int = 1_000) -> Table:
    """Return the table of a look; with more partitions than rows the worst are shown."""
    members = "" if look.members else ", no members"
    made = Table(title=f"group {escape(look.group)}: {_coloured(look.status)}{members}", show_footer=True)
    lag = f"{look.lag:,}"
    made.add_column("partition", footer=f"{len(look.verdicts)} partitions", no_wrap=True)
    made.add_column("log end", justify="right")
    made.add_column("committed", justify="right")
    made.add_column("lag", justify="right", footer=lag)
    made.add_column(f"last {REMEMBER_SECONDS / 60:.0f} min", width=WIDTH, no_wrap=True)
    made.add_column("behind", justify="right", footer=seconds_text(look.seconds))
    made.add_column("known by")
    made.add_column("arrival/s", justify="right", footer=_rate(_sum(look, "arrival")))
    made.add_column("processed/s", justify="right", footer=_rate(_sum(look, "processing")))
    made.add_column("drain", justify="right")
    made.add_column("status", no_wrap=True)
    owners = len(set(look.owners.values()))
    made.add_column("owner", footer=f"{owners} owner{'' if owners == 1 else 's'}", overflow="ellipsis", no_wrap=True)
    shown = look.verdicts
    if len(shown) > rows_max:
        worst = sorted(shown, key=lambda verdict: (-verdict.status, -verdict.lag))[:rows_max]
        shown = tuple(sorted(worst, key=lambda verdict: verdict.standing.source))
        made.caption = f"the worst {rows_max} of {len(look.verdicts)} partitions"
    for verdict in shown:
        made.add_row(*_row(look, verdict))
    return made


def _row(look: GroupSnapshot, verdict: PartitionStatus) -> list[str]:
    standing, seconds, found = verdict.standing, verdict.seconds, verdict.rates
    return [
        escape(str(standing.source)),
        f"{standing.end:,}",
        "never" if standing.committed is None else f"{standing.committed:,}",
        f"{verdict.lag:,}",
        sparkline(look.lags.get(standing.source, []), REMEMBER_SECONDS, WIDTH),
        seconds_text(None if seconds is None else seconds.seconds),
        UNKNOWN if seconds is None else KNOWN_BY[seconds.how],
        _rate(found.arrival),
        _rate(found.processing),
        seconds_text(found.drain),
        _coloured(verdict.status),
        escape(look.owners.get(standing.source, "nobody")),
    ]


def plain(look: GroupSnapshot) -> dict[str, Any]:
    """Return a look for JSON. What is unknown is null; ``grows`` says that the lag would never be worked off."""
    return {
        "group": look.group,
        "at": round(look.at, 3),
        "members": look.members,
        "status": look.status.name,
        "lag": look.lag,
        "lag_seconds": look.seconds,
        "partitions": [_plain(look, verdict) for verdict in look.verdicts],
    }


def _plain(look: GroupSnapshot, verdict: PartitionStatus) -> dict[str, Any]:
    standing, seconds, found = verdict.standing, verdict.seconds, verdict.rates
    return {
        "topic": standing.source.topic,
        "partition": standing.source.partition,
        "end": standing.end,
        "committed": standing.committed,
        "lag": verdict.lag,
        "lag_seconds": None if seconds is None else round(seconds.seconds, 3),
        "lag_seconds_how": None if seconds is None else seconds.how.name.lower(),
        "arrival_per_second": found.arrival,
        "processed_per_second": found.processing,
        "drain_seconds": None if found.drain is None or math.isinf(found.drain) else found.drain,
        "grows": None if found.drain is None else math.isinf(found.drain),
        "status": verdict.status.name,
        "owner": look.owners.get(standing.source),
    }


def seconds_text(seconds: float | None) -> str:
    """Return seconds as people read them: 0.4 s, 35 s, 12 min, 3.5 h, 2.1 d; never where they are infinite."""
    if seconds is None:
        return UNKNOWN
    if math.isinf(seconds):
        return "never"
    if seconds < 120:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86_400 else f"{seconds / 86_400:.1f} d"


def _coloured(status: LagStatus) -> str:
    return f"[{COLOURS[status]}]{status.name}[/]"


def _rate(rate: float | None) -> str:
    return UNKNOWN if rate is None else f"{rate:,.1f}" if 0 < rate < 10 else f"{rate:,.0f}"


def _sum(look: GroupSnapshot, name: str) -> float | None:
    found = [rate for verdict in look.verdicts if (rate := getattr(verdict.rates, name)) is not None]
    return sum(found) if found else None
