"""`surgetank state`: what workers remember of keys, and how to begin anew."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.declaration import Pipeline
    from pipeline.settings import Settings

app = typer.Typer(help="Look at what is remembered of keys, or begin anew.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="PIPELINE", help="name of a pipeline, as flights or topology.flights")]
Bootstrap = Annotated[str | None, typer.Option(help="bootstrap servers; default: the setting kafka.bootstrap")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object instead of text")]


@app.command()
def size(name: Name, bootstrap: Bootstrap = None, as_json: Json = False) -> None:
    """Show the folders of state on this machine: worker, task, bytes. Workers may run meanwhile."""
    from pipeline.state.folders import folders

    _, _, base = _found(name, bootstrap)
    found = folders(base)
    if as_json:
        rows = [{"worker": each.worker, "task": each.task, "disk_bytes": each.disk_bytes} for each in found]
        typer.echo(json.dumps({"folder": str(base), "tasks": rows}))
        return
    typer.echo(f"{base}: {len(found)} tasks, {sum(each.disk_bytes for each in found):,} bytes")
    for each in found:
        typer.echo(f"  {each.worker:24s} task {each.task:<5d} {each.disk_bytes:>15,} bytes")


@app.command()
def inspect(
    name: Name, key: Annotated[str, typer.Argument(help="a key, as its producer sends it")], bootstrap: Bootstrap = None
) -> None:
    """Print what the workers that run remember of a key: its rows, named, and its last score. Status 1 if nothing."""
    import urllib.error
    import urllib.request
    from urllib.parse import quote

    from pipeline.clock import SystemClock
    from pipeline.errors import BrokerError
    from pipeline.kafka import topics
    from pipeline.tasks.peers import Peers

    pipeline, settings, _ = _found(name, bootstrap)
    _, partitions = topics.anchor(settings.kafka, pipeline)
    peers = Peers(settings.kafka, pipeline.group, pipeline.events.topic, partitions, SystemClock())()
    told: dict[str, Any] = {}
    for address in sorted(peers):
        for kind in ("features", "predictions"):
            try:
                with urllib.request.urlopen(f"{address}/v1/{pipeline.name}/{kind}/{quote(key, safe='')}") as answer:
                    told[kind] = json.loads(answer.read())
            except urllib.error.HTTPError as error:
                told.setdefault(kind, json.loads(error.read() or b"{}"))
            except OSError:
                break
        else:
            break
    if not told:
        raise BrokerError(f"no worker of {pipeline.name} answers; those that committed last: {sorted(peers) or 'none'}")
    typer.echo(json.dumps(told, indent=2))
    if not any("key" in each for each in told.values()):
        raise typer.Exit(1)


@app.command()
def reset(
    name: Name,
    bootstrap: Bootstrap = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Forget all that a pipeline remembers: delete and make its changelogs anew, and the folders on this machine.

    Stop its workers before. What they committed stays committed: they go on with empty tables.
    """
    from pipeline.kafka import topics
    from pipeline.state.folders import remove

    pipeline, settings, base = _found(name, bootstrap)
    names = ", ".join(pipeline.changelogs.values())
    if not yes:
        typer.confirm(f"delete all records of {names} and the folder {base}?", abort=True)
    topics.renew(settings.kafka, pipeline, list(pipeline.changelogs.values()))
    remove(base)
    typer.echo(f"{pipeline.name} remembers nothing")


def _found(name: str, bootstrap: str | None) -> "tuple[Pipeline, Settings, Path]":
    """Return a pipeline with tables, the settings, and the folder of its state on this machine."""
    from pipeline.cli.resolve import resolve
    from pipeline.errors import TopologyError
    from pipeline.kafka import topics
    from pipeline.settings import load

    pipeline, settings = resolve(name), load({"kafka.bootstrap": bootstrap})
    if not pipeline.changelogs:
        raise TopologyError(f"pipeline {pipeline.name!r} remembers nothing: it declares no table")
    cluster, _ = topics.anchor(settings.kafka, pipeline)
    return pipeline, settings, settings.state.folder / cluster / pipeline.name
