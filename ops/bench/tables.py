"""The results of the benchmark as tables of at most 80 columns for the terminal."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from ops.bench.contenders import readable
from ops.bench.cpu_breakdown import PARTS

WIDTH = 80
TITLES = {
    "hand_loop": "hand loop",
    "hand_transactions": "hand loop, tx",
    "hand_trees": "hand loop, trees",
    "hand_state": "hand loop, state",
    "hand_state_transactions": "hand loop, state, tx",
    "hand_state_trees": "hand, state, trees",
    "surgetank": "Surgetank",
    "faust_table": "Faust agent, Table",
    "quix_state": "Quix, state",
    "plain_faust": "Faust agent",
    "quix": "Quix, batching sink",
    "quix_dataframe": "Quix, dataframe",
}
SENT_SHARE_MIN = 0.98  # a sender that sent less is marked


def tables(report: dict[str, Any]) -> list[Table]:
    """Return the tables in the report: rates with ratios, CPU of the parts, memory, latencies, and settings."""
    shown = [_rates(report)]
    if report.get("cpu_us_per_event"):
        shown.append(_cpu_parts(report["cpu_us_per_event"]))
    if "memory" in report:
        shown.append(_memory(report["memory"]))
    if report["latency_ms"]:
        shown.append(_latencies(report))
    shown.append(_settings(report))
    return shown


def _table(title: str, headings: Sequence[str], left: int = 1) -> Table:
    """Return a table; the columns after the first ``left`` are numbers."""
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place < left else "right", no_wrap=True)
    return table


def _rates(report: dict[str, Any]) -> Table:
    """Return the medians, the ratio of Surgetank's to each (x), and the lowest and highest run."""
    headings = ("contender", "at least/\nexactly", "k/s", "k/CPU s", "x\nper s", "x per\nCPU s", "runs,\nk/CPU s")
    table = _table("the same job, one process each: thousands of events, medians", headings, left=2)
    for key, title in TITLES.items():
        if key not in report:
            continue
        found = report[key]
        ratio = report["ratios"].get(key)
        each = [run["events_per_cpu_second"] / 1000 for run in found["runs"]]
        table.add_row(
            title,
            report["guarantees"][key].removesuffix(" once"),
            f"{found['events_per_second'] / 1000:,.1f}",
            f"{found['events_per_cpu_second'] / 1000:,.1f}",
            f"{ratio['events_per_second']:.2f}" if ratio else "",
            f"{ratio['events_per_cpu_second']:.2f}" if ratio else "",
            f"{_short(min(each))}-{_short(max(each))}",
        )
    return table


def _cpu_parts(parts: dict[str, dict[str, float]]) -> Table:
    table = _table("CPU of the parts of a batch, microseconds per event", ("part", *(TITLES[key] for key in parts)))
    for part in (*PARTS, "total"):
        table.add_row(part, *(f"{found[part]:.2f}" for found in parts.values()), end_section=part == PARTS[-1])
    return table


def _memory(memory: dict[str, Any]) -> Table:
    growth, keys = memory["growth"], memory["keys"]
    table = _table("memory: as it grows, and its restore: medians", ("", *(TITLES[key] for key in growth)))
    table.add_row("events/CPU s, 1 M keys", *(f"{keys[key]['events_per_cpu_second']:,.0f}" for key in growth))
    table.add_row(
        "CPU per event, 10 k to 1 M keys",
        *(f"{found['cpu_per_event_from_10k_to_1m_keys']:.2f}x" for found in growth.values()),
    )
    for tasks, found in memory["tasks"].items():
        rates = (f"{found[key]['events_per_cpu_second']:,.0f}" for key in growth)
        table.add_row(f"events/CPU s, {tasks} partitions", *rates)
    table.add_row(
        "CPU per event, 4 to 64 tasks",
        *(f"{found['cpu_per_event_from_4_to_64_tasks']:.2f}x" for found in growth.values()),
    )
    restored = [memory["restore"][key] for key in growth]
    table.add_row("restored records", *(f"{each['records']:,} in {each['seconds']:.1f} s" for each in restored))
    table.add_row("records/s", *(f"{each['records_per_second']:,.0f}" for each in restored))
    return table


def _latencies(report: dict[str, Any]) -> Table:
    """Return medians with the lowest and highest run; x50, x99: ratio to the loop with transactions."""
    table = _table(
        "latency, ms: intended send to read_committed reader, one machine",
        ("load", "p50 (runs)", "p99 (runs)", "x50", "x99", "cores"),
    )
    loads: dict[str, Any] = next(iter(report["latency_runs"].values()), {})
    for load in loads:
        table.add_row(load if load.endswith("/s") else f"{load} % of capacity", style="bold")
        for place, (key, by_load) in enumerate(report["latency_runs"].items()):
            runs, found = by_load[load], report["latency_ms"][key][load]
            ratio = report["latency_ratios"].get(load, {}) if key == "surgetank" else {}
            short = any(run["achieved_rate"] < SENT_SHARE_MIN * run["intended_rate"] for run in runs)
            table.add_row(
                TITLES[key] + ("*" if short else ""),
                *(_spread(found[name], [run[name] for run in runs]) for name in ("p50", "p99")),
                *(f"{ratio[name]:.2f}" if name in ratio else "" for name in ("p50", "p99")),
                f"{sum(run['worker_cpu_share'] for run in runs) / len(runs):.2f}",
                end_section=place == len(report["latency_runs"]) - 1,
            )
    table.caption = "tx: with transactions   *: the sender did not manage this rate"
    return table


def _spread(middle: float | None, runs: Sequence[float | None]) -> str:
    known = [run for run in runs if run is not None]
    return f"{_short(middle)} ({_short(min(known))}-{_short(max(known))})" if middle is not None else "-"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _settings(report: dict[str, Any]) -> Table:
    table = Table(title="settings", show_header=False, box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for name, value in report["settings"].items():
        if name != "contenders":
            table.add_row(name, readable(value) if isinstance(value, dict) else str(value))
    for key, settings in report["settings"]["contenders"].items():
        table.add_row(TITLES[key], readable(settings))
    return table
