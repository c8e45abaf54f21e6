"""``surgetank models deploy|shadow|canary|promote|rollback|pause|resume|status|history``: the rollout of a model."""

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from surgetank.cli.options import Json, Name, SettingsOptions, pipeline_and_settings, print_json, with_settings
from surgetank.cli.output import print_table

if TYPE_CHECKING:
    from pathlib import Path

    from surgetank.declaration import Pipeline
    from surgetank.rollout.commands import Command, Keys
    from surgetank.rollout.rollout_log import Entry
    from surgetank.rollout.state import RolloutState
    from surgetank.settings import Settings

HEX = "hex:"
_ANSWER_SECONDS = 15.0

Version = Annotated[str, typer.Argument(help="The version of the model, for example 2.")]
ExpectedVersion = Annotated[
    str | None, typer.Argument(help="The version that is to answer then; another one is refused.")
]
Reason = Annotated[str, typer.Option(help="Why; it is in the history and on the timeline.")]
Revision = Annotated[
    int | None,
    typer.Option(min=0, help="The revision that you saw in the status: refused if a command came since."),
]
Force = Annotated[bool, typer.Option("--force", help="Also if a command came since --revision.")]
Check = Annotated[
    bool, typer.Option("--check/--no-check", help="First check the bundle in the folder of models here.")
]
AllowKeys = Annotated[
    list[str] | None,
    typer.Option(help=f"Key that always gets the canary; repeatable; {HEX}4e31 for any bytes. '': none."),
]
DenyKeys = Annotated[list[str] | None, typer.Option(help="Key that never gets the canary; as --allow-keys.")]


class _About(NamedTuple):
    """What every command has: why it is given, and against which revision it is made (None: the present one)."""

    reason: str
    revision: int | None
    force: bool


@with_settings
def deploy(
    name: Name,
    version: Version,
    reason: Reason = "",
    revision: Revision = None,
    force: Force = False,
    check: Check = True,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Let a version answer for all events, from the next batch on.

    Workers load it beside the version that answers, and switch between two batches. The one before stays loaded for a
    rollback.
    """
    _give(name, given, "deploy", _About(reason, revision, force), as_json, check=check, version=version)


@with_settings
def shadow(
    name: Name,
    version: Version,
    reason: Reason = "",
    revision: Revision = None,
    force: Force = False,
    check: Check = True,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Let a version score the same events beside the one that answers; its scores never reach the score topic."""
    _give(name, given, "shadow", _About(reason, revision, force), as_json, check=check, version=version)


@with_settings
def canary(
    name: Name,
    version: Annotated[
        str | None, typer.Argument(help="The version of the model; default: the one in shadow or canary.")
    ] = None,
    percent: Annotated[float, typer.Option(min=0, max=100, help="Share of the keys.")] = 5.0,
    allow_keys: AllowKeys = None,
    deny_keys: DenyKeys = None,
    reason: Reason = "",
    revision: Revision = None,
    force: Force = False,
    check: Check = True,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Let a version answer for a share of the keys, or change the share of the present canary.

    A key stays with its version while the share grows. Lists that are not given stay as they are.
    """
    _give(
        name,
        given,
        "canary",
        _About(reason, revision, force),
        as_json,
        check=check,
        version=version,
        percent=percent,
        allow=_keys(allow_keys),
        deny=_keys(deny_keys),
    )


@with_settings
def promote(
    name: Name,
    version: ExpectedVersion = None,
    reason: Reason = "",
    revision: Revision = None,
    force: Force = False,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Let the version in shadow or canary answer for all events. The one before stays loaded for a rollback."""
    _give(name, given, "promote", _About(reason, revision, force), as_json, version=version)


@with_settings
def rollback(
    name: Name,
    version: ExpectedVersion = None,
    reason: Reason = "",
    revision: Revision = None,
    force: Force = False,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Take the version in shadow or canary back; without one, return to the version that answered before.

    Nothing has to be loaded. To go further back: `surgetank models deploy`.
    """
    _give(name, given, "rollback", _About(reason, revision, force), as_json, version=version)


@with_settings
def pause(
    name: Name,
    reason: Reason = "",
    revision: Revision = None,
    force: Force = False,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Hold a shadow or canary at its share: until it is resumed, only a rollback is accepted, from a judge too."""
    _give(name, given, "pause", _About(reason, revision, force), as_json)


@with_settings
def resume(
    name: Name,
    reason: Reason = "",
    revision: Revision = None,
    force: Force = False,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """End a pause: the shadow or canary goes on where it was."""
    _give(name, given, "resume", _About(reason, revision, force), as_json)


@with_settings
def status(
    name: Name,
    workers: Annotated[
        bool, typer.Option("--workers/--no-workers", help="Also ask which versions the workers serve.")
    ] = True,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Show which versions answer, by whose command and why, and the versions that the workers serve.

    A worker tells its version with its commits; ? is unknown.
    """
    from surgetank.rollout.control_topic import read_rollout
    from surgetank.rollout.views import entry_dict, state_dict, status_table

    pipeline, settings = pipeline_and_settings(name, given)
    rollout = read_rollout(settings.kafka, pipeline.rollout, _model(pipeline, settings))
    served = _served(pipeline, settings) if workers else None
    pinned = _pinned(name, pipeline, settings)
    if as_json:
        last = rollout.last_accepted
        found = {"pipeline": pipeline.name, "model": rollout.model, "pinned": pinned, **state_dict(rollout.state)}
        more = {"last": None if last is None else entry_dict(last), "workers": served, "mangled": rollout.mangled}
        print_json(found | more)
        return
    print_table(status_table(pipeline.name, rollout, pinned, served))


@with_settings
def history(name: Name, as_json: Json = False, *, given: SettingsOptions) -> None:
    """List all commands: who gave them, when and why, and which were refused. Times are UTC."""
    from surgetank.rollout.control_topic import read_rollout
    from surgetank.rollout.views import entry_dict, history_table

    pipeline, settings = pipeline_and_settings(name, given)
    rollout = read_rollout(settings.kafka, pipeline.rollout, _model(pipeline, settings))
    if as_json:
        commands = [entry_dict(each) for each in rollout.entries]
        print_json({"model": rollout.model, "commands": commands, "mangled": rollout.mangled})
        return
    print_table(history_table(pipeline.name, rollout))
    for each in rollout.mangled:
        typer.echo(f"record {each.offset} is no command: {each.reason}", err=True)


COMMANDS = (deploy, shadow, canary, promote, rollback, pause, resume, status, history)


def add_commands(app: typer.Typer) -> None:
    """Add the commands of a rollout to a group."""
    for command in COMMANDS:
        app.command(command.__name__)(command)


def _give(
    name: str,
    given: SettingsOptions,
    action: str,
    about: _About,
    as_json: bool,
    *,
    check: bool = False,
    version: str | None = None,
    **fields: Any,
) -> None:
    """Give a command and report it, also on the timeline."""
    from surgetank.cli.timeline_event import operator_name
    from surgetank.clock import SystemClock
    from surgetank.errors import RolloutRefused
    from surgetank.rollout.control_topic import give_command

    pipeline, settings = pipeline_and_settings(name, given)
    if check and version is not None:
        _check_bundle(name, pipeline, settings, version)
    who, at = settings.rollout.operator or operator_name(), round(SystemClock().now() * 1000)

    def command_for(state: "RolloutState", id_: str) -> "Command":
        primary = None if state.revision else _pinned(name, pipeline, settings)
        values = fields | {
            "id": id_,
            "model": _model(pipeline, settings),
            "action": action,
            "version": version,
            "who": who,
            "at": at,
            "reason": about.reason,
            "revision": state.revision if about.revision is None else about.revision,
            "force": about.force,
            # The first command for a model says which version answers; a deployment of the same one stands for itself.
            "primary": None if action == "deploy" and primary == version else primary,
        }
        return _command(values)

    try:
        entry = give_command(settings.kafka, pipeline.rollout, _model(pipeline, settings), command_for)
    except RolloutRefused as error:
        raise RolloutRefused(f"{error}. Present state: surgetank models status {name}") from None
    _report(entry, pipeline, settings, as_json)


def _command(values: dict[str, Any]) -> "Command":
    """Return the command of these fields, which come from the command line."""
    from pydantic import ValidationError

    from surgetank.rollout.commands import Command

    try:
        return Command.model_validate(values, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise typer.BadParameter(f"{where}: {first['msg']}" if where else first["msg"]) from None


def _report(entry: "Entry", pipeline: "Pipeline", settings: "Settings", as_json: bool) -> None:
    from surgetank.cli.timeline_event import write_timeline_event
    from surgetank.rollout.rollout_log import order
    from surgetank.rollout.views import entry_dict, state_in_words
    from surgetank.timeline.events import EventKind

    command, now = entry.command, state_in_words(entry.state)
    reason = f" ({command.reason})" if command.reason else ""
    write_timeline_event(
        settings.kafka,
        pipeline,
        f"{order(command)}{reason}: {now}",
        kind=EventKind.ROLLOUT,
        who=command.who,
        action=str(command.action),
        version=command.version,
        percent=command.percent,
        reason=command.reason,
        revision=entry.state.revision,
        model=command.model,
    )
    if as_json:
        print_json(entry_dict(entry))
    else:
        typer.echo(f"revision {entry.state.revision}: {now}")


def _model(pipeline: "Pipeline", settings: "Settings") -> str:
    """Return the name of the model that the pipeline serves."""
    return settings.model.name or pipeline.model


def _folder(name: str, settings: "Settings") -> "Path":
    """Return the folder of model bundles on this machine."""
    from surgetank.cli.pipeline_argument import located, models_beside

    return settings.model.directory or models_beside(located(name)[1])


def _pinned(name: str, pipeline: "Pipeline", settings: "Settings") -> str | None:
    """Return the version that workers serve without a command, None if it is not known here."""
    from surgetank.errors import SurgetankError
    from surgetank.serving import bundle
    from surgetank.worker.processing_parts import pinned_model

    model = pinned_model(pipeline, settings)
    if model.version:
        return model.version
    try:
        return bundle.load(_folder(name, settings), model.name).version
    except SurgetankError:
        return None


def _check_bundle(name: str, pipeline: "Pipeline", settings: "Settings", version: str) -> None:
    """Raise ModelError unless the bundle of a version is here, is whole and has the features of the pipeline."""
    from surgetank.errors import ModelError
    from surgetank.serving import bundle

    try:
        bundle.load(_folder(name, settings), _model(pipeline, settings), version).check(pipeline.spec)
    except ModelError as error:
        raise ModelError(f"{error}; if only the workers have the bundle: --no-check") from None


def _served(pipeline: "Pipeline", settings: "Settings") -> dict[str, str] | None:
    """Return the version that each worker serves, as its last commits say; None if that is not known."""
    from surgetank.clock import SystemClock
    from surgetank.errors import SurgetankError
    from surgetank.kafka.offset_collector import OffsetQuery
    from surgetank.lag.group_monitor import GroupMonitor
    from surgetank.lag.offset_collector_process import OffsetCollectorProcess

    query = OffsetQuery(group=pipeline.group, topics=(pipeline.events.topic,))
    try:
        with OffsetCollectorProcess(settings.kafka) as collector:
            snapshot = GroupMonitor(query, lambda query: collector.ask(query, _ANSWER_SECONDS), SystemClock()).poll()
    except SurgetankError as error:
        typer.echo(f"surgetank: the versions that the workers serve are not known: {error}", err=True)
        return None
    return {snapshot.owners[source]: model.version for source, model in snapshot.models.items()}


def _keys(given: list[str] | None) -> "Keys | None":
    """Return a list of keys as a command has them; None if none is given, an empty list for an empty text."""
    if not given:
        return None
    try:
        raw = [bytes.fromhex(each.removeprefix(HEX)) if each.startswith(HEX) else each.encode() for each in given]
    except ValueError:
        raise typer.BadParameter(f"{HEX} is followed by pairs of hexadecimal digits") from None
    return tuple(key.hex() for key in raw if key)
