"""What the bench found, as tables for the terminal."""

from typing import Any

from rich.table import Table

from ops.bench.contenders import readable

TITLES = {
    "hand_loop": "hand-written loop",
    "hand_state": "hand-written loop, rocksdict",
    "surgetank": "Surgetank",
    "faust_table": "plain Faust agent, Table",
    "quix_state": "Quix Streams, state",
    "plain_faust": "plain Faust agent",
    "quix": "Quix Streams, batching sink",
    "quix_dataframe": "Quix Streams, dataframe",
}


def tables(report: dict[str, Any]) -> list[Table]:
    """Return rates with ratios, latencies, and settings."""
    shown = [_rates(report)]
    if "memory" in report:
        shown.append(_memory(report["memory"]))
    if report["latency_ms"]:
        shown.append(_latencies(report))
    shown.append(_settings(report))
    return shown


def _rates(report: dict[str, Any]) -> Table:
    table = Table(title="the same job, one process each: medians")
    table.add_column("contender")
    table.add_column("guarantee")
    for heading in ("events/s", "events/CPU s", "Surgetank, x per s", "Surgetank, x per CPU s", "runs, k/CPU s"):
        table.add_column(heading, justify="right")
    for key, title in TITLES.items():
        if key not in report:
            continue
        found = report[key]
        ratio = report["ratios"].get(key)
        table.add_row(
            title,
            report["guarantees"][key],
            f"{found['events_per_second']:,.0f}",
            f"{found['events_per_cpu_second']:,.0f}",
            f"{ratio['events_per_second']:.2f}" if ratio else "",
            f"{ratio['events_per_cpu_second']:.2f}" if ratio else "",
            " ".join(f"{run['events_per_cpu_second'] / 1000:.1f}" for run in found["runs"]),
        )
    return table


def _memory(memory: dict[str, Any]) -> Table:
    table = Table(title="memory: CPU of an event as it grows, and how fast it is restored: medians")
    table.add_column("contender")
    headings = [f"events/CPU s, {tasks} partitions" for tasks in memory["tasks"]]
    for heading in ("events/CPU s, 1 M keys", "10 k to 1 M keys", *headings, "4 to 64 tasks", "restored", "records/s"):
        table.add_column(heading, justify="right")
    for key, growth in memory["growth"].items():
        restored = memory["restore"][key]
        table.add_row(
            TITLES[key],
            f"{memory['keys'][key]['events_per_cpu_second']:,.0f}",
            f"{growth['cpu_per_event_from_10k_to_1m_keys']:.2f}x",
            *(f"{found[key]['events_per_cpu_second']:,.0f}" for found in memory["tasks"].values()),
            f"{growth['cpu_per_event_from_4_to_64_tasks']:.2f}x",
            f"{restored['records']:,} in {restored['seconds']:.1f} s",
            f"{restored['records_per_second']:,.0f}",
        )
    return table


def _latencies(report: dict[str, Any]) -> Table:
    table = Table(title="intended send time to read_committed reader, ms; all on one machine")
    table.add_column("contender")
    for heading in ("load", "rate", "sent", "p50", "p99", "p99.9", "max", "sender/worker/reader cores"):
        table.add_column(heading, justify="right")
    for key, loads in report["latency_runs"].items():
        for load, told in loads.items():
            table.add_row(
                TITLES[key],
                f"{load} %",
                f"{told['intended_rate']:,.0f}/s",
                f"{told['achieved_rate']:,.0f}/s",
                *(str(told[name]) for name in ("p50", "p99", "p999", "max")),
                " / ".join(f"{told[f'{part}_cpu_share']:.2f}" for part in ("sender", "worker", "reader")),
            )
    return table


def _settings(report: dict[str, Any]) -> Table:
    table = Table(title="settings", show_header=False)
    for name, value in report["settings"].items():
        if name != "contenders":
            table.add_row(name, readable(value) if isinstance(value, dict) else str(value))
    for key, settings in report["settings"]["contenders"].items():
        table.add_row(TITLES[key], readable(settings))
    return table
