"""``surgetank bench``: Surgetank beside a hand-written loop, plain Faust and Quix Streams."""

from pathlib import Path
from typing import Annotated

import typer


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="A smoke run: one short round of each.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each contender.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Only this contender; may be given several times.")] = None,
    latency: Annotated[bool, typer.Option(help="Measure latencies too, about two minutes.")] = True,
    bootstrap: Annotated[
        str | None,
        typer.Option(help="An existing cluster; by default one is started, and stopped at the end."),
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Also write profiles for speedscope.app into this folder.")
    ] = None,
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("bench.json"),
) -> None:
    """Let each do the same job on the same real Kafka, alternating, one process each; print rates and ratios.

    Stops everything it started, also on Ctrl-C.
    """
    from ops.bench.command import main

    main(quick=quick, rounds=rounds, only=only, latency=latency, bootstrap=bootstrap, profile=profile, report=report)
