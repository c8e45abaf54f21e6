"""The command `surgetank bench`: run, show, write."""

import json
import signal
from pathlib import Path
from typing import Any

from rich.console import Console

from ops.bench.bench import BenchPlan, bench
from ops.bench.benchmark_run import Reporter
from ops.bench.tables import WIDTH, tables

HOME = Path(".surgetank") / "bench"


def main(
    *,
    job: str,
    quick: bool,
    rounds: int,
    only: list[str] | None,
    latency: bool,
    latency_rounds: int,
    growth: bool,
    bootstrap: str | None,
    profile: Path | None,
    report: Path,
    as_json: bool,
) -> None:
    """Run the benchmark, print its tables, write its report. With ``as_json`` the report is all that is printed."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    for asked in (signal.SIGINT, signal.SIGTERM):  # either signal stops the started processes on the way out
        signal.signal(asked, stop)
    console = Console(soft_wrap=True, quiet=as_json)
    plan = BenchPlan(
        job=job,
        rounds=1 if quick else rounds,
        share=0.2 if quick else 1.0,
        latency_rounds=1 if quick else latency_rounds,
        latency_seconds=(5.0 if quick else 9.0) if latency else 0.0,
        growth=growth,
        only=tuple(only or ()),
        profile=profile,
    )
    try:
        with console.status("starting") as status:
            reporter = Reporter(say=lambda line: console.print(line, highlight=False), doing=status.update)
            found = bench(plan, HOME, reporter, bootstrap=bootstrap)
    except KeyboardInterrupt:
        console.print("stopped; everything that was started has ended")
        raise SystemExit(130) from None
    report.write_text(json.dumps(found, indent=2) + "\n")
    if as_json:
        print(json.dumps(found))
        return
    shown = Console(width=max(console.width, WIDTH))
    for table in tables(found):
        shown.print(table)
    console.print(f"report: {report}   logs: {HOME}   {found['seconds']:.0f} s", highlight=False)
