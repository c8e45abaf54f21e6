"""What several commands share: options, the way from a pipeline's name to its settings, JSON output, and SIGTERM."""

import json
import signal
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from surgetank.declaration import Pipeline
    from surgetank.settings import Settings

Name = Annotated[str, typer.Argument(metavar="PIPELINE", help="For example flights, or topology.flights.")]
Bootstrap = Annotated[str | None, typer.Option(help="Kafka's bootstrap servers; default: the setting kafka.bootstrap.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def pipeline_and_settings(
    name: str,
    bootstrap: str | None,
    flags: Mapping[str, Any] | None = None,
    assignments: Iterable[str] | None = None,
) -> "tuple[Pipeline, Settings]":
    """Return a pipeline and the settings; ``flags`` by dotted name, ``assignments`` as in ``--set``.

    Raises TopologyError for an unknown pipeline, SettingsError for a wrong setting.
    """
    from surgetank.cli.pipeline_argument import assigned, resolve
    from surgetank.settings import load

    return resolve(name), load({"kafka.bootstrap": bootstrap, **(flags or {}), **assigned(assignments or ())})


def print_json(value: Any) -> None:
    """Print a value as JSON on one line. A dataclass becomes an object of its fields."""
    typer.echo(json.dumps(value, default=asdict))


def interrupt_on_sigterm() -> None:
    """Handle SIGTERM, and the end of the terminal, like Ctrl-C, so that started processes are stopped."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup ignores it
        signal.signal(signal.SIGHUP, interrupt)
