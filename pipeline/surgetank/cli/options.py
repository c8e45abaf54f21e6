"""What several commands share: options, the way from a pipeline's name to its settings, JSON output, and SIGTERM."""

import functools
import inspect
import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from surgetank.declaration import Pipeline
    from surgetank.settings import Settings

Name = Annotated[str, typer.Argument(metavar="PIPELINE", help="For example flights, or topology.flights.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


class SettingsOptions(NamedTuple):
    """The options that every command on Kafka has, as given: None or empty if they are not."""

    bootstrap: str | None = None
    config: Path | None = None
    assignments: tuple[str, ...] = ()

    def load(self, flags: Mapping[str, Any] | None = None) -> "Settings":
        """Return the settings; ``flags`` by dotted name are those of the command's own options.

        Raises SettingsError for a wrong setting, for a secret in ``--set``, and for client options that cannot give a
        secured connection.
        """
        from surgetank.kafka.client_security import check_client_security
        from surgetank.settings import load

        settings = load(self.flags(flags), file=self.config)
        check_client_security(settings.kafka.client_options())
        return settings

    def flags(self, flags: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the values given on the command line, by dotted name. Raises SettingsError as ``load`` does."""
        from surgetank.cli.pipeline_argument import assigned

        return {"kafka.bootstrap": self.bootstrap, **(flags or {}), **assigned(self.assignments)}

    @property
    def for_worker(self) -> list[str]:
        """The arguments, except the bootstrap servers, that give another command of this program the same settings."""
        config = ["--config", str(self.config.absolute())] if self.config else []
        return config + [argument for each in self.assignments for argument in ("--set", each)]


_SETTINGS_OPTIONS: Mapping[str, Any] = {
    "bootstrap": Annotated[
        str | None, typer.Option(help="Kafka's bootstrap servers; default: the setting kafka.bootstrap.")
    ],
    "config": Annotated[
        Path | None,
        typer.Option(help="Settings file; default: SURGETANK_CONFIG, or surgetank.toml in this folder."),
    ],
    "set_": Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, as kafka.client.security.protocol=ssl."),
    ],
}


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options ``--bootstrap``, ``--config`` and ``--set``, the last ones in its help.

    The command itself takes them as its keyword argument ``given``, of type SettingsOptions.
    """
    signature = inspect.signature(command)
    own = [each for each in signature.parameters.values() if each.name != "given"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in _SETTINGS_OPTIONS.items()
    ]

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        bootstrap, config, assignments = (arguments.pop(name) for name in _SETTINGS_OPTIONS)
        command(**arguments, given=SettingsOptions(bootstrap, config, tuple(assignments or ())))

    run.__dict__["__signature__"] = signature.replace(parameters=[*own, *added])
    run.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
    return run


def pipeline_and_settings(
    name: str, given: SettingsOptions, flags: Mapping[str, Any] | None = None
) -> "tuple[Pipeline, Settings]":
    """Return a pipeline and the settings; ``flags`` by dotted name are those of the command's own options.

    Raises TopologyError for an unknown pipeline, SettingsError for a wrong setting.
    """
    from surgetank.cli.pipeline_argument import resolve

    return resolve(name), given.load(flags)


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
