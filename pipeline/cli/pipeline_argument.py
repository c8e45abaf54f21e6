"""Finds the pipeline that a command line names: ``flights``, ``topology.flights``, or any dotted module."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipeline.declaration import Pipeline
from pipeline.errors import SettingsError, TopologyError
from pipeline.settings.names import OPTIONS, variable_of
from pipeline.settings.secret_options import is_secret

if TYPE_CHECKING:
    from pipeline.drills.recording import Recording

_HOME = "topology"


def resolve(name: str) -> Pipeline:
    """Return the pipeline of that name. Raises TopologyError, which lists the pipelines that there are."""
    return located(name)[0]


def located(name: str) -> tuple[Pipeline, ModuleType]:
    """Return the pipeline of that name, and the module that declares it.

    A name without dots is a module of ``topology`` (dashes stand for underscores); one with dots is a module.
    Raises TopologyError, which lists the pipelines that there are.
    """
    dotted = name if "." in name else f"{_HOME}.{name.replace('-', '_')}"
    module = _imported(dotted)
    if module is None:
        raise TopologyError(f"no pipeline {name!r} (looked for {dotted}); there are: {', '.join(known()) or 'none'}")
    found = {id(value): value for value in vars(module).values() if isinstance(value, Pipeline)}
    if len(found) != 1:
        number = "no Pipeline" if not found else f"{len(found)} Pipelines"
        raise TopologyError(f"{dotted} has {number}; a topology module declares exactly one")
    return next(iter(found.values())), module


def assigned(assignments: Iterable[str]) -> dict[str, str]:
    """Return the flags that ``--set NAME=VALUE`` means.

    Raises SettingsError for what is not written so, and for a secret: other users of the machine can read a command
    line in the list of processes.
    """
    found = {}
    for assignment in assignments:
        dotted, equals, value = assignment.partition("=")
        if is_secret(dotted):
            raise SettingsError(_not_on_a_command_line(dotted if equals else ""))
        if not equals:
            raise SettingsError(f"--set {assignment!r}: write it as NAME=VALUE, as worker.batch_rows_max=1024")
        found[dotted] = value
    return found


def _not_on_a_command_line(dotted: str) -> str:
    """Return why a secret is refused, and where it belongs. ``dotted``: its name, empty if it is not known."""
    option = dotted.removeprefix(f"{OPTIONS}.") or "sasl.password"
    return (
        f"--set {dotted or '***'}: a secret does not belong on a command line, where every user of this machine can "
        f"read it in the list of processes; set {variable_of(f'{OPTIONS}.{option}')} in the environment, or "
        f'"{option}" below [{OPTIONS}] in the settings file'
    )


def recording_of(pipeline: Pipeline) -> "Recording":
    """Return the recorded events of a pipeline. Raises TopologyError if it names none that is there."""
    if pipeline.recording is None:
        raise TopologyError(f"pipeline {pipeline.name!r} names no recording to replay")
    dotted, _, function = pipeline.recording.partition(":")
    load: Callable[[], Any] | None = getattr(_imported(dotted), function, None)
    if load is None:
        raise TopologyError(
            f"pipeline {pipeline.name!r}: there is no recording {pipeline.recording!r}; "
            "write it as package.module:function"
        )
    recording: Recording = load()
    return recording


def known() -> list[str]:
    """Return the names of the pipelines in the folder ``topology``."""
    home = importlib.import_module(_HOME)
    modules = (found for found in pkgutil.iter_modules(home.__path__) if not found.ispkg)
    return sorted(module.name.replace("_", "-") for module in modules)


def _imported(dotted: str) -> ModuleType | None:
    """Return the module, None if there is none; an error inside it is raised as it is."""
    if dotted.startswith("."):
        return None
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{dotted}.".startswith(f"{error.name}."):
            raise
        return None
