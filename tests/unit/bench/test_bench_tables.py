"""The tables of the bench fit a terminal of 80 columns, with every figure whole."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from ops.bench import latency_rounds
from ops.bench.cpu_breakdown import PARTS
from ops.bench.rates import MeasuredRun, ratios, summary
from ops.bench.tables import TITLES, WIDTH, tables
from ops.bench.tuning import PRINTED

LOOPS = {
    "flights": ["hand_loop", "hand_transactions", "surgetank", "hand_trees", "plain_faust", "quix", "quix_dataframe"],
    "payments": ["hand_state", "hand_state_transactions", "surgetank", "hand_state_trees", "faust_table", "quix_state"],
}


def report(keys: list[str]) -> dict[str, Any]:
    """Return a report with large figures."""
    found = {key: summary([MeasuredRun(1, 1.0, 1.0, 1_234_567.8, 987_654.3, 0.1, 0.5)] * 3) for key in keys}
    measured = keys[:3]
    latency = {
        "p50": 1234.5,
        "p99": 2345.6,
        "p999": 3456.7,
        "achieved_rate": 100.0,
        "intended_rate": 160_000.0,
        "worker_cpu_share": 1.37,
    }
    runs = {key: {load: [latency] * 3 for load in latency_rounds.loads(200_000)} for key in measured}
    medians = latency_rounds.medians(runs)
    restored = {"records": 1_200_000, "seconds": 123.4, "records_per_second": 240_000.0}
    growth = {"cpu_per_event_from_10k_to_1m_keys": 1.31, "cpu_per_event_from_4_to_64_tasks": 1.17}
    return {
        **found,
        "ratios": ratios(found),
        "guarantees": dict.fromkeys(keys, "at least once") | {"surgetank": "exactly once"},
        "cpu_us_per_event": {key: dict.fromkeys((*PARTS, "total"), 12.345) for key in measured},
        "memory": {
            "keys": found,
            "tasks": {"4": found, "64": found},
            "restore": dict.fromkeys(measured[::2], restored),
            "growth": dict.fromkeys(measured[::2], growth),
        },
        "latency_runs": runs,
        "latency_ms": medians,
        "latency_ratios": latency_rounds.ratios(medians, "surgetank", measured[1]),
        "settings": {"rounds": 3, "contenders": {key: PRINTED.get(key, {}) for key in keys}},
    }


@pytest.mark.parametrize("job", LOOPS)
def test_no_table_is_wider_than_the_terminal(job: str) -> None:
    """Rich would cut what does not fit: nothing is cut, and no figure is folded into two lines."""
    made = report(LOOPS[job])
    console = Console(file=StringIO(), width=WIDTH)
    for table in tables(made):
        console.print(table)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= WIDTH
    assert "…" not in printed
    for shown in ("1,234.6", "988-988", "1234 (1234-1234)", "2346 (2346-2346)", "12.35", "1,200,000 in 123.4 s"):
        assert shown in printed
    for key in LOOPS[job]:
        assert TITLES[key] in printed


def test_a_load_that_the_sender_did_not_manage_is_marked() -> None:
    """Its latency is that of another rate."""
    made = report(LOOPS["flights"])
    console = Console(file=StringIO(), width=WIDTH)
    for table in tables(made):
        console.print(table)
    assert "Surgetank*" in console.file.getvalue()  # type: ignore[attr-defined]
