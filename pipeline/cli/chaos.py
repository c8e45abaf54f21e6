"""``surgetank chaos``: break things on purpose, then count every event."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.drills.chaos import ChaosReport
    from pipeline.drills.environment import DrillEnvironment
    from pipeline.drills.rebalance_pauses import RebalanceReport
    from pipeline.drills.restore_drill import RestoreReport

app = typer.Typer(help="Break things on purpose, then count every event.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Break things on purpose, then count every event."""


@app.command("exactly-once")
def exactly_once(
    kills: Annotated[int, typer.Option(min=1, help="SIGKILLs of workers and brokers to make.")] = 20,
    seed: Annotated[int, typer.Option(help="The same seed makes the same choice of faults.")] = 1,
    brokers: Annotated[int, typer.Option(help="1 or 3; with one, only workers are hurt.")] = 3,
    rate: Annotated[float, typer.Option(min=1, help="Events per second while faults are made.")] = 3000.0,
    backlog: Annotated[int, typer.Option(min=0, help="Events that wait before the first worker starts.")] = 120_000,
    pause: Annotated[float, typer.Option(min=0, help="Mean seconds between faults.")] = 2.0,
    protocol: Annotated[str, typer.Option(help="Group protocol: auto, consumer or classic.")] = "auto",
    name: Annotated[str, typer.Option("--pipeline", help="The pipeline to hurt.")] = "flights",
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("chaos-report.json"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON only.")] = False,
) -> None:
    """Kill workers and brokers under load, freeze some past their session, stop and add others; then audit.

    Ends with status 0 only if no event was lost, doubled or put out of order.
    """
    from pipeline.drills.chaos import Chaos, ChaosPlan

    say = _silence if as_json else typer.echo
    with _site(name, "chaos", brokers, protocol, say) as site:
        found = Chaos(site, ChaosPlan(kills, seed, brokers, rate, backlog, pause), say=say).run()
    _tell(found, report, as_json)


@app.command("rebalance")
def rebalance(
    rounds: Annotated[int, typer.Option(min=1, help="How often a second worker joins and leaves.")] = 5,
    rate: Annotated[float, typer.Option(min=1, help="Events per second meanwhile.")] = 2000.0,
    keys: Annotated[int, typer.Option(min=0, help="Keys, made up, that the tables have before; 0: as recorded.")] = 0,
    protocol: Annotated[str, typer.Option(help="Group protocol: auto, consumer or classic.")] = "auto",
    name: Annotated[str, typer.Option("--pipeline", help="The pipeline to run.")] = "flights",
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("rebalance-report.json"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON only.")] = False,
) -> None:
    """Let a second worker join and leave under load; measure how long the partitions that stay are silent.

    Ends with status 0 only if no event was lost, doubled or put out of order. Goals of time are reported.
    """
    from pipeline.drills.rebalance_pauses import RebalanceDrill

    say = _silence if as_json else typer.echo
    with _site(name, "rebalance", 1, protocol, say) as site:
        found = RebalanceDrill(site, rounds=rounds, rate=rate, keys=keys, say=say).run()
    _tell(found, report, as_json)


@app.command("restore")
def restore(
    keys: Annotated[int, typer.Option(min=1, help="Keys that the tables have, made up.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each blow is dealt; medians are told.")] = 3,
    rate: Annotated[float, typer.Option(min=1, help="Events per second meanwhile.")] = 500.0,
    brokers: Annotated[int, typer.Option(help="1 or 3.")] = 3,
    protocol: Annotated[str, typer.Option(help="Group protocol: auto, consumer or classic.")] = "auto",
    name: Annotated[str, typer.Option("--pipeline", help="The pipeline to hurt; it must have tables.")] = "flights",
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("restore-report.json"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON only.")] = False,
) -> None:
    """Kill and stop the owner of all keys; measure how soon every partition is served again, and count everything.

    Followed from an empty disk, started again on its own disk, and stopped cleanly. Ends with status 0 only if no event
    was lost, doubled or put out of order, and no key's state is wrong. Goals of time are reported.
    """
    from pipeline.drills.restore_drill import RestoreDrill

    say = _silence if as_json else typer.echo
    with _site(name, "restore", brokers, protocol, say) as site:
        found = RestoreDrill(site, keys=keys, rounds=rounds, rate=rate, say=say).run()
    _tell(found, report, as_json)


@contextlib.contextmanager
def _site(
    name: str, drill: str, brokers: int, protocol: str, say: Callable[[str], None]
) -> "Iterator[DrillEnvironment]":
    """Give a drill its own cluster, which is stopped also when the drill is."""
    import signal

    from pipeline.cli.pipeline_argument import located, recording_of
    from pipeline.drills.environment import local_environment

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    pipeline, module = located(name)
    recording = recording_of(pipeline).of(pipeline.sources)
    home = Path(".surgetank") / drill
    say(f"starting {brokers} broker{'s' if brokers > 1 else ''}")
    with local_environment(pipeline, module.__name__, recording, home=home, brokers=brokers, protocol=protocol) as site:
        yield site


def _tell(found: "ChaosReport | RebalanceReport | RestoreReport", report: Path, as_json: bool) -> None:
    """Write and print a report; end with status 1 if the drill did not pass."""
    import json

    from pipeline.drills.fleet import write_report

    write_report(found.as_dict(), report)
    for line in [json.dumps(found.as_dict())] if as_json else found.lines:
        typer.echo(line)
    if not found.passed:
        raise typer.Exit(1)


def _silence(_: str) -> None:
    """Say nothing: the report alone goes out."""
