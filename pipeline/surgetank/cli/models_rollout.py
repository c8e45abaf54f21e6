"""``surgetank models deploy|shadow|canary|promote|rollback|pause|resume|status|history``: the rollout of a model."""

from typing import Annotated

import typer

from surgetank.cli.options import Json, Name, SettingsOptions, pipeline_and_settings, print_json, with_settings
from surgetank.cli.output import print_table
from surgetank.cli.rollout_actions import HEX, About, give, keys_of, model_name, pinned_version, served_versions

Version = Annotated[str, typer.Argument(help="The version of the model, for example 2.")]
ExpectedVersion = Annotated[
    str | None, typer.Argument(help="The version that is to answer then; another one is refused.")
]
Reason = Annotated[str, typer.Option(help="Why; it is in the history and on the timeline.")]
Revision = Annotated[
    int | None,
    typer.Option(min=0, help="The revision that you saw in the status: refused if a command came since."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Accept the command even if others were accepted after --revision.")
]
Check = Annotated[bool, typer.Option("--check/--no-check", help="First check the bundle in the folder of models here.")]
AllowKeys = Annotated[
    list[str] | None,
    typer.Option(help=f"Key that always gets the canary; repeatable; {HEX}4e31 for any bytes. '': none."),
]
DenyKeys = Annotated[list[str] | None, typer.Option(help="Key that never gets the canary; as --allow-keys.")]


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
    give(name, given, "deploy", About(reason, revision, force), as_json, check=check, version=version)


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
    give(name, given, "shadow", About(reason, revision, force), as_json, check=check, version=version)


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
    give(
        name,
        given,
        "canary",
        About(reason, revision, force),
        as_json,
        check=check,
        version=version,
        percent=percent,
        allow=keys_of(allow_keys),
        deny=keys_of(deny_keys),
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
    give(name, given, "promote", About(reason, revision, force), as_json, version=version)


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
    give(name, given, "rollback", About(reason, revision, force), as_json, version=version)


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
    give(name, given, "pause", About(reason, revision, force), as_json)


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
    give(name, given, "resume", About(reason, revision, force), as_json)


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

    The version of a worker is read from the metadata of its committed offsets; ? means unknown.
    """
    from surgetank.rollout.control_topic import read_rollout
    from surgetank.rollout.views import entry_dict, state_dict, status_table

    pipeline, settings = pipeline_and_settings(name, given)
    rollout = read_rollout(settings.kafka, pipeline.rollout, model_name(pipeline, settings))
    served = served_versions(pipeline, settings) if workers else None
    pinned = pinned_version(name, pipeline, settings)
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
    rollout = read_rollout(settings.kafka, pipeline.rollout, model_name(pipeline, settings))
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
