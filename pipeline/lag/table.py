"""Renders a snapshot of a group: as a table for the terminal, and as JSON values for scripts."""

import math
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipeline.lag.group_monitor import HISTORY_SECONDS, GroupSnapshot
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
METHODS = {
    LagMethod.NO_LAG: "",
    LagMethod.RECORD: "record",
    LagMethod.INTERPOLATED: "interpolated",
    LagMethod.EXTRAPOLATED: "extrapolated",
    LagMethod.BOUNDED: "arrival: wrong clock",
}
UNKNOWN = "?"


def table(snapshot: GroupSnapshot, rows_max: int = 1_000) -> Table:
    """Return the table of a snapshot; with more partitions than ``rows_max``, only the worst ones."""
    members = "" if snapshot.members else ", no members"
    made = Table(title=f"group {escape(snapshot.group)}: {_coloured(snapshot.status)}{members}", show_footer=True)
    lag = f"{snapshot.lag:,}"
    made.add_column("partition", footer=f"{len(snapshot.partitions)} partitions", no_wrap=True)
    made.add_column("log end", justify="right")
    made.add_column("committed", justify="right")
    made.add_column("lag", justify="right", footer=lag)
    made.add_column(f"last {HISTORY_SECONDS / 60:.0f} min", width=WIDTH, no_wrap=True)
    made.add_column("behind", justify="right", footer=seconds_text(snapshot.seconds))
    made.add_column("known by")
    made.add_column("arrival/s", justify="right", footer=_rate(_sum(snapshot, "arrival")))
    made.add_column("processed/s", justify="right", footer=_rate(_sum(snapshot, "processing")))
    made.add_column("drain", justify="right")
    made.add_column("status", no_wrap=True)
    owners = len(set(snapshot.owners.values()))
    made.add_column("owner", footer=f"{owners} owner{'' if owners == 1 else 's'}", overflow="ellipsis", no_wrap=True)
    shown = snapshot.partitions
    if len(shown) > rows_max:
        worst = sorted(shown, key=lambda partition: (-partition.status, -partition.lag))[:rows_max]
        shown = tuple(sorted(worst, key=lambda partition: partition.offsets.source))
        made.caption = f"the worst {rows_max} of {len(snapshot.partitions)} partitions"
    for partition in shown:
        made.add_row(*_row(snapshot, partition))
    return made


def _row(snapshot: GroupSnapshot, partition: PartitionStatus) -> list[str]:
    offsets, seconds, rates = partition.offsets, partition.seconds, partition.rates
    return [
        escape(str(offsets.source)),
        f"{offsets.end:,}",
        "never" if offsets.committed is None else f"{offsets.committed:,}",
        f"{partition.lag:,}",
        sparkline(snapshot.lag_history.get(offsets.source, []), HISTORY_SECONDS, WIDTH),
        seconds_text(None if seconds is None else seconds.seconds),
        UNKNOWN if seconds is None else METHODS[seconds.how],
        _rate(rates.arrival),
        _rate(rates.processing),
        seconds_text(rates.drain),
        _coloured(partition.status),
        escape(snapshot.owners.get(offsets.source, "nobody")),
    ]


def as_dict(snapshot: GroupSnapshot) -> dict[str, Any]:
    """Return a snapshot as JSON values. Unknown values are null; ``grows``: at these rates the lag never drains."""
    return {
        "group": snapshot.group,
        "at": round(snapshot.at, 3),
        "members": snapshot.members,
        "status": snapshot.status.name,
        "lag": snapshot.lag,
        "lag_seconds": snapshot.seconds,
        "partitions": [_partition_dict(snapshot, partition) for partition in snapshot.partitions],
    }


def _partition_dict(snapshot: GroupSnapshot, partition: PartitionStatus) -> dict[str, Any]:
    offsets, seconds, rates = partition.offsets, partition.seconds, partition.rates
    return {
        "topic": offsets.source.topic,
        "partition": offsets.source.partition,
        "end": offsets.end,
        "committed": offsets.committed,
        "lag": partition.lag,
        "lag_seconds": None if seconds is None else round(seconds.seconds, 3),
        "lag_seconds_how": None if seconds is None else seconds.how.name.lower(),
        "arrival_per_second": rates.arrival,
        "processed_per_second": rates.processing,
        "drain_seconds": None if rates.drain is None or math.isinf(rates.drain) else rates.drain,
        "grows": None if rates.drain is None else math.isinf(rates.drain),
        "status": partition.status.name,
        "owner": snapshot.owners.get(offsets.source),
    }


def seconds_text(seconds: float | None) -> str:
    """Return seconds in a readable unit: 0.4 s, 35 s, 12 min, 3.5 h, 2.1 d; ``never`` for infinity."""
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


def _sum(snapshot: GroupSnapshot, name: str) -> float | None:
    known = [rate for partition in snapshot.partitions if (rate := getattr(partition.rates, name)) is not None]
    return sum(known) if known else None
