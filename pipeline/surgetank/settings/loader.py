"""Loads settings from their sources and remembers which source each value came from.

The sources are those of pydantic-settings, highest priority first: the command line, the environment, the settings
file. Below them are the defaults of the schema. This file adds the origins, and errors that say which setting is
wrong, where it was set and what is allowed.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import InitSettingsSource

from surgetank.errors import SettingsError
from surgetank.settings.environment import EnvironmentSource
from surgetank.settings.names import OPTIONS, flat, known_names, names_in, nearest, nested, variable_of
from surgetank.settings.origins import Origins
from surgetank.settings.schema import Settings
from surgetank.settings.secret_options import MASK, masked, protected

FILE = Path("surgetank.toml")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as loaded, for display: secrets in ``value`` are masked."""

    name: str
    value: Any
    default: Any
    origin: str
    variable: str
    description: str


def load(flags: Mapping[str, Any] | None = None, *, file: Path | None = None) -> Settings:
    """Load the settings: flags over the environment over the file over the defaults.

    ``flags`` maps dotted names (``kafka.bootstrap``) to values; None values are left out. ``file``: default
    SURGETANK_CONFIG, else surgetank.toml of the current folder if there is one.
    Raises SettingsError, which names each wrong setting, where it came from and what is allowed.
    """
    return _loaded(flags, file)[0]


def describe(flags: Mapping[str, Any] | None = None, *, file: Path | None = None) -> list[Setting]:
    """Return every setting as ``load`` would set it, with its default and where it came from.

    Raises SettingsError as ``load`` does.
    """
    settings, origins = _loaded(flags, file)
    defaults = Settings()
    found = []
    for name in known_names():
        section, _, last = name.partition(".")
        values = getattr(settings, section)
        found.append(
            Setting(
                name=name,
                value=masked(name, getattr(values, last)),
                default=masked(name, getattr(getattr(defaults, section), last)),
                origin=" + ".join(origins.within(name)) or "default",
                variable=variable_of(name) + ("__<OPTION>" if name == OPTIONS else ""),
                description=type(values).model_fields[last].description or "",
            )
        )
    return found


def _loaded(flags: Mapping[str, Any] | None, file: Path | None) -> tuple[Settings, Origins]:
    """Read every source; return the validated settings and where each value came from."""
    origins = Origins()
    written = {} if (path := _settings_file(file)) is None else flat(_read(path))
    origins.record(str(path), written)
    environment = EnvironmentSource()
    origins.record(environment.origin, environment.names)
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    origins.record("the command line", given)
    sources = (_source(given), environment, _source(written))
    try:
        return Settings(_build_sources=(sources, {})), origins
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(problem, origins) for problem in error.errors())) from None


def _source(values: Mapping[str, Any]) -> InitSettingsSource:
    """Return a source of values by dotted name, with their secrets wrapped."""
    return InitSettingsSource(Settings, nested({name: protected(name, values[name]) for name in sorted(values)}))


def _settings_file(file: Path | None) -> Path | None:
    """Return the settings file to read: the one that was named, or surgetank.toml if it is there."""
    named = file or (Path(chosen) if (chosen := os.environ.get("SURGETANK_CONFIG")) else None)
    return named or (FILE if FILE.exists() else None)


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file, which may be a pipe. (pydantic-settings skips a file that it cannot read.)"""
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"settings file {path}: not UTF-8: byte {error.start} is wrong") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {path}: not TOML: {error}") from None


def _explain(problem: Any, origins: Origins) -> str:
    """Return one line for one validation error: setting, value, origin, what is allowed."""
    name = ".".join(str(part) for part in problem["loc"])
    origin = origins.of(name)
    if problem["type"] == "extra_forbidden":
        known = ", ".join(sorted(names_in(name.rpartition(".")[0])))
        likely = next(filter(None, map(nearest, origins.names_below(name))), None)
        meant = f"; did you mean {_written(likely, origin)}?" if likely else ""
        return f"unknown setting {name!r} (from {origin}); known here: {known}{meant}"
    if problem["type"] == "model_type":
        return f"setting {name!r} (from {origin}) is a section; known in it: {', '.join(sorted(names_in(name)))}"
    message = problem["msg"].removeprefix("Value error, ")
    if not name:
        return f"settings: {message}"
    key = f" (variable {variable_of(name)})" if origin == EnvironmentSource.origin else ""
    return f"setting {name!r} = {_shown(name, problem.get('input'))!r} (from {origin}): {message}{key}"


def _shown(name: str, value: Any) -> Any:
    """Return a wrong value as it may be shown: what stands for all options of a client may hold a secret."""
    return MASK if name == OPTIONS and not isinstance(value, Mapping) else masked(name, value)


def _written(name: str, origin: str) -> str:
    """Return how a setting is written in its source: as a variable, or as a dotted name."""
    return variable_of(name) if origin == EnvironmentSource.origin else repr(name)
