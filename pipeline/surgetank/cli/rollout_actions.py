"""Gives the commands of a rollout, and finds what they need: the pinned version, bundles, and who serves what."""

from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from surgetank.cli.options import SettingsOptions, pipeline_and_settings, print_json

if TYPE_CHECKING:
    from pathlib import Path

    from surgetank.declaration import Pipeline
    from surgetank.rollout.commands import Command, Keys
    from surgetank.rollout.rollout_log import Entry
    from surgetank.rollout.state import RolloutState
    from surgetank.settings import Settings

HEX = "hex:"
_ANSWER_SECONDS = 15.0


class About(NamedTuple):
    """What every command has: why it is given, and against which revision it is made (None: the present one)."""

    reason: str
    revision: int | None
    force: bool


def give(
    name: str,
    given: SettingsOptions,
    action: str,
    about: About,
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
        primary = None if state.revision else pinned_version(name, pipeline, settings)
        values = fields | {
            "id": id_,
            "model": model_name(pipeline, settings),
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
        entry = give_command(settings.kafka, pipeline.rollout, model_name(pipeline, settings), command_for)
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


def model_name(pipeline: "Pipeline", settings: "Settings") -> str:
    """Return the name of the model that the pipeline serves."""
    return settings.model.name or pipeline.model


def _folder(name: str, settings: "Settings") -> "Path":
    """Return the folder of model bundles on this machine."""
    from surgetank.cli.pipeline_argument import located, models_beside

    return settings.model.directory or models_beside(located(name)[1])


def pinned_version(name: str, pipeline: "Pipeline", settings: "Settings") -> str | None:
    """Return the version that workers serve without a command, None if it is not known here."""
    from surgetank.errors import SurgetankError
    from surgetank.serving import bundle
    from surgetank.worker.processing_parts import pinned_model

    model = pinned_model(pipeline, settings)
    if model.version:
        return model.version
    try:
        return bundle.load(_folder(name, settings), model.name, verify_key=settings.model.verify_key_file).version
    except SurgetankError:
        return None


def _check_bundle(name: str, pipeline: "Pipeline", settings: "Settings", version: str) -> None:
    """Raise ModelError unless the bundle of a version is here or in the registry, whole, and of these features."""
    from surgetank.errors import ModelError
    from surgetank.worker.processing_parts import find_model

    try:
        find_model(pipeline, settings, _folder(name, settings), version).check(pipeline.spec)
    except ModelError as error:
        raise ModelError(f"{error}; if only the workers have the bundle: --no-check") from None


def served_versions(pipeline: "Pipeline", settings: "Settings") -> dict[str, str] | None:
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


def keys_of(given: list[str] | None) -> "Keys | None":
    """Return a list of keys as a command has them; None if none is given, an empty list for an empty text."""
    if not given:
        return None
    try:
        raw = [bytes.fromhex(each.removeprefix(HEX)) if each.startswith(HEX) else each.encode() for each in given]
    except ValueError:
        raise typer.BadParameter(f"{HEX} is followed by pairs of hexadecimal digits") from None
    return tuple(key.hex() for key in raw if key)
