"""Renders a snapshot of a group: as a table for the terminal, and as JSON values for scripts."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from surgetank.columns_to_fit import columns_to_fit
from surgetank.lag.group_monitor import HISTORY_SECONDS, GroupSnapshot
from surgetank.lag.lag_evaluator import PartitionStatus
from surgetank.lag.rules import LagStatus
from surgetank.lag.seconds import LagMethod
from surgetank.lag.sparkline import sparkline

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
PARTITION, RECENT = "partition", f"last {HISTORY_SECONDS / 60:.0f} min"
HELD_BACK = "open transaction"
IMPORTANCE = (
    *(PARTITION, "lag", "behind", "status", HELD_BACK, "processed/s", "arrival/s", "drain", "committed", "log end"),
    *("owner", "model", "known by", RECENT),
)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its title, the text of each partition, the text below, and whether it holds numbers."""

    title: str
    cell: Callable[[PartitionStatus], Text | str]
    footer: str = ""
    numbers: bool = True

    def width(self, partitions: Iterable[PartitionStatus]) -> int:
        """Return the width in characters."""
        texts = [self.title, self.footer, *(str(self.cell(each)) for each in partitions)]
        return max(map(cell_len, texts))


def table(snapshot: GroupSnapshot, rows_max: int = 1_000, width: int = 1_000) -> Table:
    """Return the table of a snapshot; with more partitions than ``rows_max``, only the worst ones.

    Columns that do not fit into ``width`` characters are left out whole, the least important first.
    """
    shown, captions = snapshot.partitions, []
    if len(shown) > rows_max:
        worst = sorted(shown, key=lambda partition: (-partition.status, -partition.lag))[:rows_max]
        shown = tuple(sorted(worst, key=lambda partition: partition.offsets.source))
        captions.append(f"the worst {rows_max} of {len(snapshot.partitions)} partitions")
    captions += _models_text(snapshot)
    columns = {each.title: each for each in _columns(snapshot)}
    widths = {title: column.width(shown) for title, column in columns.items()}
    fitting = columns_to_fit(widths, [name for name in IMPORTANCE if name in columns], width - 1, gap=3)
    if left_out := [title for title in columns if title not in fitting]:
        captions.append(f"for a wider terminal, or --json: {', '.join(left_out)}")
    members = "" if snapshot.members else ", no members"
    made = Table(
        title=Text.assemble(f"group {snapshot.group}: ", _status_text(snapshot.status), members),
        caption=Text("; ".join(captions), "table.caption") if captions else None,  # no markup: models have any name
        show_footer=True,
    )
    for title in fitting:
        column = columns[title]
        made.add_column(
            title,
            footer=column.footer,
            justify="right" if column.numbers else "left",
            no_wrap=title != PARTITION,
            overflow="fold",
        )
    for partition in shown:
        cells = [columns[title].cell(partition) for title in fitting]
        # A string would be read as markup, and the names of owners are free text.
        made.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return made


def _columns(snapshot: GroupSnapshot) -> list[_Column]:
    owners = len(set(snapshot.owners.values()))
    held_back = _Column(HELD_BACK, _held_back_text, f"{snapshot.held_back:,}")
    return [
        _Column(PARTITION, lambda each: str(each.offsets.source), f"{len(snapshot.partitions)} partitions", False),
        _Column("log end", lambda each: f"{each.offsets.end:,}"),
        _Column("committed", lambda each: "never" if each.offsets.committed is None else f"{each.offsets.committed:,}"),
        _Column("lag", lambda each: f"{each.lag:,}", f"{snapshot.lag:,}"),
        *([held_back] if snapshot.held_back else []),
        _Column(RECENT, lambda each: _sparkline(snapshot, each), numbers=False),
        _Column(
            "behind", lambda each: seconds_text(each.seconds and each.seconds.seconds), seconds_text(snapshot.seconds)
        ),
        _Column("known by", lambda each: UNKNOWN if each.seconds is None else METHODS[each.seconds.how], "", False),
        _Column("arrival/s", lambda each: _rate(each.rates.arrival), _rate(_sum(snapshot, "arrival"))),
        _Column("processed/s", lambda each: _rate(each.rates.processing), _rate(_sum(snapshot, "processing"))),
        _Column("drain", lambda each: seconds_text(each.rates.drain)),
        _Column("status", lambda each: _status_text(each.known_status), numbers=False),
        _Column(
            "owner",
            lambda each: snapshot.owners.get(each.offsets.source, "nobody"),
            f"{owners} owner{'' if owners == 1 else 's'}",
            False,
        ),
        *([_Column("model", lambda each: _model_text(snapshot, each), numbers=False)] if snapshot.models else []),
    ]


def _models_text(snapshot: GroupSnapshot) -> list[str]:
    """Return the models that are served, as one caption; several with the number of their partitions."""
    served = Counter(" ".join(model) for model in snapshot.models.values())
    if len(served) < 2:
        return [f"model {model}" for model in served]
    return ["several models: " + ", ".join(f"{model} on {count}" for model, count in sorted(served.items()))]


def _model_text(snapshot: GroupSnapshot, partition: PartitionStatus) -> str:
    source = partition.offsets.source
    if (model := snapshot.models.get(source)) is not None:
        return " ".join(model)
    return UNKNOWN if source in snapshot.owners else ""


def _held_back_text(partition: PartitionStatus) -> str:
    held_back = partition.held_back
    return "" if held_back is None else f"{held_back.records:,}"


def _sparkline(snapshot: GroupSnapshot, partition: PartitionStatus) -> str:
    return sparkline(snapshot.lag_history.get(partition.offsets.source, []), HISTORY_SECONDS, WIDTH)


def as_dict(snapshot: GroupSnapshot) -> dict[str, Any]:
    """Return a snapshot as JSON values. Unknown values are null; ``grows``: at these rates the lag never drains."""
    return {
        "group": snapshot.group,
        "at": round(snapshot.at, 3),
        "members": snapshot.members,
        "status": None if snapshot.status is None else snapshot.status.name,
        "lag": snapshot.lag,
        "open_transaction_records": snapshot.held_back,
        "lag_seconds": snapshot.seconds,
        "partitions": [_partition_dict(snapshot, partition) for partition in snapshot.partitions],
    }


def _partition_dict(snapshot: GroupSnapshot, partition: PartitionStatus) -> dict[str, Any]:
    offsets, seconds, rates = partition.offsets, partition.seconds, partition.rates
    model = snapshot.models.get(offsets.source)
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
        "open_transaction_records": 0 if partition.held_back is None else partition.held_back.records,
        "open_transaction_seconds": None if partition.held_back is None else round(partition.held_back.seconds, 3),
        "status": None if partition.known_status is None else partition.known_status.name,
        "owner": snapshot.owners.get(offsets.source),
        "model": None if model is None else model.name,
        "model_version": None if model is None else model.version,
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


def _status_text(status: LagStatus | None) -> Text:
    return Text(UNKNOWN) if status is None else Text(status.name, COLOURS[status])


def _rate(rate: float | None) -> str:
    return UNKNOWN if rate is None else f"{rate:,.1f}" if 0 < rate < 10 else f"{rate:,.0f}"


def _sum(snapshot: GroupSnapshot, name: str) -> float | None:
    known = [rate for partition in snapshot.partitions if (rate := getattr(partition.rates, name)) is not None]
    return sum(known) if known else None
