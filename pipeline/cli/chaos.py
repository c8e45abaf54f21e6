"""``surgetank chaos``: inject faults, then verify every event."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import interrupt_on_sigterm, print_json

if TYPE_CHECKING:
    from pipeline.drills.environment import DrillEnvironment
    from pipeline.drills.report import DrillReport

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
    from pipeline.drills.chaos import Chaos, ChaosPlan

    say = _silence if as_json else typer.echo
    with _environment(name, "chaos", brokers, protocol, say) as environment:
        result = Chaos(environment, ChaosPlan(kills, seed, brokers, rate, backlog, pause), say=say).run()
    _finish(result, report, as_json)


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
    from pipeline.drills.rebalance_pauses import RebalanceDrill

    say = _silence if as_json else typer.echo
    with _environment(name, "rebalance", 1, protocol, say) as environment:
        result = RebalanceDrill(environment, rounds=rounds, rate=rate, keys=keys, say=say).run()
    _finish(result, report, as_json)


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
    from pipeline.drills.restore_drill import RestoreDrill

    say = _silence if as_json else typer.echo
    with _environment(name, "restore", brokers, protocol, say) as environment:
        result = RestoreDrill(environment, keys=keys, rounds=rounds, rate=rate, say=say).run()
    _finish(result, report, as_json)


@contextlib.contextmanager
def _environment(
    name: str, drill: str, brokers: int, protocol: str, say: Callable[[str], None]
) -> "Iterator[DrillEnvironment]":
    """Start a cluster for a drill, and stop it at the end, also after SIGTERM."""
    from pipeline.cli.pipeline_argument import located, recording_of
    from pipeline.drills.environment import local_environment

    interrupt_on_sigterm()
    pipeline, module = located(name)
    recording = recording_of(pipeline).of(pipeline.sources)
    home = Path(".surgetank") / drill
    say(f"starting {brokers} broker{'s' if brokers > 1 else ''}")
    with local_environment(
        pipeline, module.__name__, recording, home=home, brokers=brokers, protocol=protocol
    ) as found:
        yield found


def _finish(result: "DrillReport", report: Path, as_json: bool) -> None:
    """Write and print a report; exit with status 1 if the drill did not pass."""
    from pipeline.drills.report import write_report

    write_report(result.as_dict(), report)
    if as_json:
        print_json(result.as_dict())
    else:
        typer.echo("\n".join(result.lines))
    if not result.passed:
        raise typer.Exit(1)


def _silence(_: str) -> None:
    """Print nothing, because only the report is printed."""
