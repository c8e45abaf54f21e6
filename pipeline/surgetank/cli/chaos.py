"""``surgetank chaos``: inject faults, then verify every event."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgetank.cli.options import interrupt_on_sigterm, print_json

if TYPE_CHECKING:
    from surgetank.drills.drill import Drill
    from surgetank.drills.report import DrillReport

app = typer.Typer(help="Inject faults, then verify every event.", no_args_is_help=True)


@app.command("exactly-once")
def exactly_once(
    kills: Annotated[int, typer.Option(min=1, help="Number of SIGKILLs of workers and brokers.")] = 20,
    seed: Annotated[int, typer.Option(help="The same seed selects the same faults.")] = 1,
    brokers: Annotated[int, typer.Option(help="1 or 3; with one broker, only workers are killed.")] = 3,
    rate: Annotated[float, typer.Option(min=1, help="Events per second during the faults.")] = 3000.0,
    backlog: Annotated[int, typer.Option(min=0, help="Events sent before the first worker starts.")] = 120_000,
    pause: Annotated[float, typer.Option(min=0, help="Mean seconds between faults.")] = 2.0,
    protocol: Annotated[str, typer.Option(help="Group protocol: auto, consumer or classic.")] = "auto",
    name: Annotated[str, typer.Option("--pipeline", help="The pipeline to test.")] = "flights",
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("chaos-report.json"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON only.")] = False,
) -> None:
    """Kill workers and brokers under load, freeze, stop and add workers; then run an audit.

    The exit status is 0 only if no event was lost, duplicated or out of order.
    """
    from surgetank.drills.chaos import Chaos, ChaosPlan

    plan = ChaosPlan(kills, seed, brokers, rate, backlog, pause)
    _run("chaos", partial(Chaos, plan=plan), name, brokers, protocol, report, as_json)


@app.command("rebalance")
def rebalance(
    rounds: Annotated[int, typer.Option(min=1, help="How many times a second worker joins and leaves.")] = 5,
    rate: Annotated[float, typer.Option(min=1, help="Events per second.")] = 2000.0,
    keys: Annotated[int, typer.Option(min=0, help="Synthetic keys to fill the tables with; 0: none.")] = 0,
    protocol: Annotated[str, typer.Option(help="Group protocol: auto, consumer or classic.")] = "auto",
    name: Annotated[str, typer.Option("--pipeline", help="The pipeline to run.")] = "flights",
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("rebalance-report.json"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON only.")] = False,
) -> None:
    """Let a second worker join and leave under load; measure the pauses of the partitions that stay.

    The exit status is 0 only if no event was lost, duplicated or out of order. Time goals are only reported.
    """
    from surgetank.drills.rebalance_pauses import RebalanceDrill

    drill = partial(RebalanceDrill, rounds=rounds, rate=rate, keys=keys)
    _run("rebalance", drill, name, 1, protocol, report, as_json)


@app.command("restore")
def restore(
    keys: Annotated[int, typer.Option(min=1, help="Synthetic keys to fill the tables with.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each fault; medians are reported.")] = 3,
    rate: Annotated[float, typer.Option(min=1, help="Events per second.")] = 500.0,
    brokers: Annotated[int, typer.Option(help="1 or 3.")] = 3,
    protocol: Annotated[str, typer.Option(help="Group protocol: auto, consumer or classic.")] = "auto",
    name: Annotated[str, typer.Option("--pipeline", help="The pipeline to test; it must have tables.")] = "flights",
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("restore-report.json"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON only.")] = False,
) -> None:
    """Kill and stop the owner of all keys; measure the time until every partition is served again.

    The owner is replaced by a worker without local state, restarted on its own disk, and stopped cleanly. The exit
    status is 0 only if no event was lost, duplicated or out of order, and no state is wrong. Time goals are reported.
    """
    from surgetank.drills.restore_drill import RestoreDrill

    drill = partial(RestoreDrill, keys=keys, rounds=rounds, rate=rate)
    _run("restore", drill, name, brokers, protocol, report, as_json)


@app.command("odd")
def odd(
    pipelines: Annotated[int, typer.Option(min=1, help="Number of random pipelines.")] = 500,
    events: Annotated[int, typer.Option(min=1, help="Number of random records, over all pipelines.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same pipelines and records.")] = 1,
    only: Annotated[list[int] | None, typer.Option(help="Run these pipelines of the seed only.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Pipelines at a time.")] = 3,
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("odd-report.json"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON only.")] = False,
) -> None:
    """Run random pipelines on random records; judge what became of each record by rules of its own.

    The exit status is 0 only if each record ended as one score, fact or dead letter for the right reason, no worker
    ended but by a documented refusal at its start, and none was larger than its bound. A million records have at most
    20 GiB, beside backlogs of 832 MiB of about one pipeline in 25; what is on the disk at a time is much less.
    """
    from surgetank.drills.odd.drill import OddPlan, run_odd
    from surgetank.drills.report import write_report
    from surgetank.kafka.local.cluster import temporary_cluster
    from surgetank.settings import load

    interrupt_on_sigterm()
    plan = OddPlan(pipelines, events, seed, jobs, tuple(only or ()))
    say: Callable[[str], None] = (lambda _: None) if as_json else typer.echo
    home = Path(".surgetank") / "odd"
    say("starting a broker")
    with temporary_cluster(home / "kafka", 1) as cluster:
        result = run_odd(load({"kafka.bootstrap": cluster.bootstrap}).kafka, home / "pipelines", plan, say=say)
        write_report(result.as_dict(), report)
    _print_result(result, as_json)


def _run(
    folder: str,
    drill: "Callable[..., Drill]",
    name: str,
    brokers: int,
    protocol: str,
    report: Path,
    as_json: bool,
) -> None:
    """Run a drill on a new cluster, which is stopped at the end, also after SIGTERM; write and print its report.

    Exits with status 1 if the drill did not pass. With ``as_json`` only the report is printed.
    """
    from surgetank.cli.pipeline_argument import located, recording_of
    from surgetank.drills.environment import local_environment
    from surgetank.drills.report import write_report

    interrupt_on_sigterm()
    say: Callable[[str], None] = (lambda _: None) if as_json else typer.echo
    pipeline, module = located(name)
    recording = recording_of(pipeline).of(pipeline.sources)
    home = Path(".surgetank") / folder
    say(f"starting {brokers} broker{'s' if brokers > 1 else ''}")
    cluster = local_environment(pipeline, module.__name__, recording, home=home, brokers=brokers, protocol=protocol)
    with cluster as environment:
        result = drill(environment, say=say).run()
    write_report(result.as_dict(), report)
    _print_result(result, as_json)


def _print_result(result: "DrillReport", as_json: bool) -> None:
    """Print the report of a drill; exit with status 1 if the drill did not pass."""
    if as_json:
        print_json(result.as_dict())
    else:
        typer.echo("\n".join(result.lines))
    if not result.passed:
        raise typer.Exit(1)
