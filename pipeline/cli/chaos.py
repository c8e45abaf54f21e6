"""``surgetank chaos``: break things on purpose, then count every event."""

from pathlib import Path
from typing import Annotated

import typer

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
    import contextlib
    import json
    import signal

    from pipeline.cli.demo import free_port
    from pipeline.cli.resolve import located, recording_of
    from pipeline.drills.chaos import Chaos, Plan
    from pipeline.drills.fleet import dumped
    from pipeline.kafka.local import LocalCluster
    from pipeline.settings import load

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    pipeline, module = located(name)
    recording = recording_of(pipeline).only(pipeline.events.schema)
    home = Path(".surgetank") / "chaos"
    say = _silence if as_json else typer.echo
    with contextlib.ExitStack() as leaving:
        cluster = LocalCluster(home / "kafka", brokers=brokers, port=free_port())
        leaving.callback(cluster.down)
        say(f"starting {brokers} broker{'s' if brokers > 1 else ''}")
        cluster.up(fresh=True)
        settings = load({"kafka.bootstrap": cluster.bootstrap, "kafka.group_protocol": protocol})
        found = Chaos(
            pipeline,
            module.__name__,
            recording,
            Plan(kills, seed, brokers, rate, backlog, pause),
            cluster=cluster,
            kafka=settings.kafka,
            folder=home / "logs",
            settings={"kafka.group_protocol": protocol},
            say=say,
        ).run()
    dumped(found.as_dict(), report)
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
    else:
        audit = found.audit
        typer.echo(f"timeouts: {', '.join(f'{name}={value}' for name, value in found.timeouts.items())}")
        typer.echo(f"faults:   {', '.join(f'{name} {count}' for name, count in found.blows.items())}")
        typer.echo(f"exits:    {', '.join(f'{name}: {count}' for name, count in found.exits.items()) or 'none'}")
        typer.echo(
            f"chaos seed {seed}: {found.kills} kills in {found.seconds:.0f} s, {audit['events']:,} events "
            f"({found.in_play_peak:,} in play at the peak): scores {audit['scores']:,}, "
            f"dead letters {audit['dead_letters']:,}, lost {audit['lost']}, duplicates {audit['duplicates']}, "
            f"unexpected {audit['unexpected']}, out of order {audit['out_of_order']}"
        )
    if not found.passed:
        raise typer.Exit(1)


@app.command("rebalance")
def rebalance(
    rounds: Annotated[int, typer.Option(min=1, help="How often a second worker joins and leaves.")] = 5,
    rate: Annotated[float, typer.Option(min=1, help="Events per second meanwhile.")] = 2000.0,
    protocol: Annotated[str, typer.Option(help="Group protocol: auto, consumer or classic.")] = "auto",
    name: Annotated[str, typer.Option("--pipeline", help="The pipeline to run.")] = "flights",
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("rebalance-report.json"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON only.")] = False,
) -> None:
    """Let a second worker join and leave under load; measure how long the partitions that stay are silent.

    Ends with status 0 only if no event was lost, doubled or put out of order. Goals of time are reported.
    """
    import contextlib
    import json
    import signal

    from pipeline.cli.demo import free_port
    from pipeline.cli.resolve import located, recording_of
    from pipeline.drills.fleet import dumped
    from pipeline.drills.pauses import Pauses
    from pipeline.kafka.local import LocalCluster
    from pipeline.settings import load

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    pipeline, module = located(name)
    recording = recording_of(pipeline).only(pipeline.events.schema)
    home = Path(".surgetank") / "rebalance"
    say = _silence if as_json else typer.echo
    with contextlib.ExitStack() as leaving:
        cluster = LocalCluster(home / "kafka", brokers=1, port=free_port())
        leaving.callback(cluster.down)
        say("starting 1 broker")
        cluster.up(fresh=True)
        settings = load({"kafka.bootstrap": cluster.bootstrap, "kafka.group_protocol": protocol})
        found = Pauses(
            pipeline,
            module.__name__,
            recording,
            rounds=rounds,
            rate=rate,
            kafka=settings.kafka,
            folder=home / "logs",
            settings={"kafka.group_protocol": protocol},
            say=say,
        ).run()
    dumped(found.as_dict(), report)
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
    else:
        for label, spread in (
            ("without a rebalance", found.calm),
            ("another joins", found.joining),
            ("another leaves", found.leaving),
            ("both", found.pauses),
        ):
            typer.echo(
                f"longest silence, {label:20s} p50 {spread.p50_ms:6.0f}  p99 {spread.p99_ms:6.0f}  "
                f"max {spread.max_ms:6.0f} ms  ({spread.count} partitions)"
            )
        typer.echo(
            f"first score {found.first_score_seconds:.1f} s, joining {max(found.join_seconds):.1f} s at most, "
            f"forced aborts {found.aborted}, lost {found.audit['lost']}, duplicates {found.audit['duplicates']}"
        )
        for goal, met in found.goals.items():
            typer.echo(f"{'met   ' if met else 'MISSED'} {goal}")
    if not found.passed:
        raise typer.Exit(1)


def _silence(_: str) -> None:
    """Say nothing: the report alone goes out."""
