"""``surgetank bench``: compare Surgetank with a hand-written loop, plain Faust and Quix Streams."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Job(StrEnum):
    """The workload: flights are scored from stateless features, payments also from aggregates of their card."""

    FLIGHTS = "flights"
    PAYMENTS = "payments"


def bench(
    job: Annotated[Job, typer.Option(help="Score flights (stateless) or payments (with a table of cards).")] = (
        Job.FLIGHTS
    ),
    quick: Annotated[bool, typer.Option("--quick", help="A smoke test: one short round of each contender.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each contender.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Only this contender; repeatable.")] = None,
    latency: Annotated[bool, typer.Option(help="Also measure latencies, about 13 minutes.")] = True,
    latency_rounds: Annotated[int, typer.Option(min=1, help="Latency runs of each contender.")] = 3,
    growth: Annotated[
        bool, typer.Option(help="For payments: also a million keys, 4 and 64 partitions, and restores.")
    ] = True,
    bootstrap: Annotated[
        str | None,
        typer.Option(help="An existing cluster; by default one is started, and stopped at the end."),
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Also write profiles for speedscope.app into this folder.")
    ] = None,
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("bench.json"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON only.")] = False,
) -> None:
    """Run the same job with each contender on the same Kafka, alternating, one process each; print rates and ratios.

    All started processes are stopped, also on Ctrl-C.
    """
    from surgetank.errors import StartupError

    try:
        from ops.bench.command import main
    except ModuleNotFoundError as error:
        if error.name not in ("ops", "ops.bench"):
            raise
        raise StartupError("the benchmark is not in the package: run it in a clone of the repository") from None

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
        as_json=as_json,
    )
