"""The console script: one thin file per group of commands. Commands import heavy modules when they run."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from surgetank.cli import (
    audit,
    bench,
    chaos,
    dead_letters,
    demo,
    dev,
    doctor,
    features,
    incident,
    kafka,
    lag,
    lag_exporter,
    models,
    monitoring,
    new,
    replay,
    schemas,
    score,
    scores,
    settings,
    state,
    timeline,
    topics,
    worker,
)
from surgetank.cli.examples import add_examples
from surgetank.errors import StartupError, SurgetankError
from surgetank.settings.environment import PROJECT

# What requirements/edge.txt leaves out, by module.
NOT_AT_THE_EDGE = ("aiohttp", "confluent_kafka", "faust", "mode", "psutil")

app = typer.Typer(
    name="surgetank",
    help="Real-time machine-learning inference on Kafka, exactly once, that survives sudden spikes.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: in pipes too, and [brackets] stay
    pretty_exceptions_enable=False,
)
app.add_typer(kafka.app, name="kafka")
app.add_typer(topics.app, name="topics")
app.add_typer(schemas.app, name="schemas")
app.add_typer(chaos.app, name="chaos")
app.add_typer(timeline.app, name="timeline")
app.add_typer(incident.app, name="incident")
app.add_typer(features.app, name="features")
app.add_typer(models.app, name="models")
app.add_typer(state.app, name="state")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(models.app, name="models")
app.command("new")(new.new)
app.command("monitoring")(monitoring.monitoring)
app.command("dev")(dev.dev)
app.command("doctor")(doctor.doctor)
app.command("worker")(worker.worker)
app.command("replay")(replay.replay)
app.command("score")(score.score)
app.command("scores")(scores.scores)
app.command("lag")(lag.lag)
app.command("lag-exporter")(lag_exporter.lag_exporter)
app.command("audit")(audit.audit)
app.command("demo")(demo.demo)
app.command("bench")(bench.bench)
app.command("settings")(settings.settings)
add_examples(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from surgetank.version import engine_version

        typer.echo(f"surgetank {engine_version()}")
        raise typer.Exit


@app.callback()
def project(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--project",
            envvar=PROJECT,
            exists=True,
            file_okay=False,
            help="Folder of the project; default: the current one. Paths are relative to it, as with git -C.",
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and exit.")
    ] = False,
) -> None:
    """Work in the folder of a project: its settings file, its schemas, and the modules that are imported from it."""
    if folder is not None:
        os.environ.pop(PROJECT, None)  # a command that this one starts is in the folder already
        os.chdir(folder)
    sys.path.insert(0, str(Path.cwd()))


def main() -> None:
    """Run the command line. A SurgetankError is printed as one message and ends with its documented exit code."""
    try:
        app()
    except SurgetankError as error:
        print(f"surgetank: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except ModuleNotFoundError as error:
        if error.name not in NOT_AT_THE_EDGE:
            raise
        print(
            f"surgetank: this command needs {error.name}, which is not installed; an install for `surgetank score` "
            "alone leaves it out: pip install surgetank",
            file=sys.stderr,
        )
        raise SystemExit(StartupError.exit_code) from None
