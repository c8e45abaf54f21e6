"""``surgetank bench``: Surgetank beside a hand-written loop, plain Faust and Quix Streams."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Job(StrEnum):
    """What is done: flights are scored by what they hold, payments also by what their card did before."""

    FLIGHTS = "flights"
    PAYMENTS = "payments"


def bench(
    job: Annotated[Job, typer.Option(help="Score flights, without memory, or payments, with a table of cards.")] = (
        Job.FLIGHTS
    ),
    quick: Annotated[bool, typer.Option("--quick", help="A smoke run: one short round of each.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each contender.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Only this contender; may be given several times.")] = None,
    latency: Annotated[bool, typer.Option(help="Measure latencies too, about 13 minutes.")] = True,
    latency_rounds: Annotated[int, typer.Option(min=1, help="Latency runs of each contender.")] = 3,
    growth: Annotated[
        bool, typer.Option(help="Of payments: also a million keys, 4 and 64 partitions, and restoring.")
    ] = True,
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

    main(
        job=job.value,
        quick=quick,
        rounds=rounds,
        only=only,
        latency=latency,
        latency_rounds=latency_rounds,
        growth=growth,
        bootstrap=bootstrap,
        profile=profile,
        report=report,
    )
