"""Resolves the pipeline argument of a command: ``flights``, ``topology.flights``, or any dotted module."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from surgetank.errors import SettingsError, TopologyError
from surgetank.settings.names import OPTIONS, variable_of
from surgetank.settings.secret_options import is_secret

if TYPE_CHECKING:
    from surgetank.declaration import Pipeline
    from surgetank.drills.recording import Recording

_HOME = "topology"


def resolve(name: str) -> "Pipeline":
    """Return the pipeline of that name. Raises TopologyError, listing the known pipelines, if there is none."""
    return located(name)[0]


def located(name: str) -> "tuple[Pipeline, ModuleType]":
    """Return the pipeline of that name, and the module that declares it.

    A name without dots is a module of ``topology`` (dashes stand for underscores); a name with dots is a module.
    Raises TopologyError, listing the known pipelines, if there is none.
    """
    from surgetank.declaration import Pipeline  # a second of imports: commands print before

    dotted = name if "." in name else f"{_HOME}.{name.replace('-', '_')}"
    module = _imported(dotted)
    if module is None:
        raise TopologyError(f"no pipeline {name!r} (tried {dotted}); {_advice(known())}")
    found = {id(value): value for value in vars(module).values() if isinstance(value, Pipeline)}
    if len(found) != 1:
        number = "no Pipeline" if not found else f"{len(found)} Pipelines"
        raise TopologyError(f"{dotted} declares {number}; a topology module must declare exactly one")
    return next(iter(found.values())), module


def models_beside(module: ModuleType) -> Path:
    """Return the folder of model bundles of a module that declares a pipeline."""
    return Path(str(module.__file__)).parent / "models"


def assigned(assignments: Iterable[str]) -> dict[str, str]:
    """Parse ``--set NAME=VALUE`` options.

    Raises SettingsError for another format, and for a secret, because other users of the machine can read command
    lines in the list of processes.
    """
    found = {}
    for assignment in assignments:
        dotted, equals, value = assignment.partition("=")
        if is_secret(dotted):
            raise SettingsError(_not_on_a_command_line(dotted if equals else ""))
        if not equals:
            raise SettingsError(f"--set {assignment!r}: the format is NAME=VALUE, as worker.batch_rows_max=1024")
        found[dotted] = value
    return found


def _not_on_a_command_line(dotted: str) -> str:
    """Return why a secret is rejected, and where to set it. ``dotted``: its name, empty if unknown."""
    option = dotted.removeprefix(f"{OPTIONS}.") or "sasl.password"
    return (
        f"--set {dotted or '***'}: a secret does not belong on a command line, where every user of this machine can "
        f"read it in the list of processes; set {variable_of(f'{OPTIONS}.{option}')} in the environment, or "
        f'"{option}" below [{OPTIONS}] in the settings file; or name its file: --set {OPTIONS}.{option}_file=FILE'
    )


def recording_of(pipeline: "Pipeline") -> "Recording":
    """Return the recorded events of a pipeline. Raises TopologyError if its recording does not exist."""
    if pipeline.recording is None:
        raise TopologyError(f"pipeline {pipeline.name!r} declares no recording to replay")
    dotted, _, function = pipeline.recording.partition(":")
    load: Callable[[], Any] | None = getattr(_imported(dotted), function, None)
    if load is None:
        raise TopologyError(
            f"pipeline {pipeline.name!r}: recording {pipeline.recording!r} does not exist; "
            "the format is package.module:function"
        )
    recording: Recording = load()
    return recording


def known() -> list[str]:
    """Return the names of the pipelines in the folder ``topology``, none if there is no such folder."""
    home = _imported(_HOME)
    modules = pkgutil.iter_modules(home.__path__ if home is not None else [])
    return sorted(found.name.replace("_", "-") for found in modules if not found.ispkg)


def no_pipelines() -> str:
    """Return a sentence that says where pipelines were looked for, and how to name another folder."""
    return (
        f"the folder of the project, here {Path.cwd()}, has no pipelines in {_HOME}/: name another with "
        "surgetank --project FOLDER, or make one with `surgetank new`"
    )


def _advice(names: list[str]) -> str:
    return f"known are: {', '.join(names)}" if names else no_pipelines()


def _imported(dotted: str) -> ModuleType | None:
    """Return the module, None if it does not exist; an error inside the module is raised."""
    if dotted.startswith("."):
        return None
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{dotted}.".startswith(f"{error.name}."):
            raise
        return None
