"""The environment as a source of settings: ``SURGETANK_<SECTION>__<NAME>``; unknown variables are refused."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_settings import EnvSettingsSource

from surgetank.errors import SettingsError
from surgetank.settings.names import OPTIONS, flat, known_names, name_of, nearest, variable_of
from surgetank.settings.schema import ENVIRONMENT_PREFIX, SEPARATOR, Settings
from surgetank.settings.secret_options import option_of_variable, protected

PROJECT = "SURGETANK_PROJECT"  # folder of the project
# Beside it the path of the settings file, the folder of downloads, and where jars are downloaded from.
NOT_SETTINGS = frozenset({PROJECT, "SURGETANK_CONFIG", "SURGETANK_CACHE", "SURGETANK_MAVEN_REPOSITORY"})

# Kubernetes sets these in every container for each Service of its namespace, here for one named surgetank or
# surgetank-<more>: {NAME}_SERVICE_HOST, {NAME}_SERVICE_PORT[_{PORT NAME}], {NAME}_PORT (a URL) and
# {NAME}_PORT_{NUMBER}_{PROTOCOL}[_PROTO|_PORT|_ADDR].
_SERVICE_VARIABLE = re.compile(
    r"SURGETANK_(?:[A-Z0-9]+_)*?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|(?P<url>PORT)|PORT_\d{1,5}_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_URL = re.compile(r"(?:tcp|udp|sctp)://.+")


class EnvironmentSource(EnvSettingsSource):
    """Reads settings from environment variables; empty ones count as not set.

    ``names`` maps the dotted name of each setting found to its variable.
    Raises SettingsError for variables with the prefix of settings that name no section.
    """

    origin = "the environment"

    def __init__(self) -> None:
        super().__init__(Settings)
        variables = setting_variables(os.environ)
        self.env_vars = {variable.lower(): value for variable, value in variables.items()}
        self.names = {name_of(variable): variable for variable in variables}

    def __call__(self) -> dict[str, Any]:
        """Return the nested values. A section that the schema does not have is kept, so that validation refuses it."""
        values = super().__call__()
        for name in self.names:
            section = name.partition(".")[0]
            if section not in Settings.model_fields:
                values[section] = {}
        kafka = values.get("kafka", {})
        if isinstance(kafka.get("client"), dict):
            options = flat(kafka["client"])
            kafka["client"] = protected(OPTIONS, {option_of_variable(name): value for name, value in options.items()})
        return values


def setting_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that set something, empty ones left out.

    Raises SettingsError, one line for each variable that has the prefix of settings and is none.
    """
    found = {
        variable: value
        for variable, value in environment.items()
        if variable.startswith(ENVIRONMENT_PREFIX)
        and variable not in NOT_SETTINGS
        and not is_service_variable(variable, value)
    }
    if unknown := [variable for variable in found if SEPARATOR not in variable]:
        raise SettingsError("\n".join(_refusals(unknown)))
    return {variable: value for variable, value in found.items() if value}


def is_service_variable(variable: str, value: str) -> bool:
    """Return whether Kubernetes sets this variable for a Service named surgetank or surgetank-<more>."""
    found = _SERVICE_VARIABLE.fullmatch(variable)
    return found is not None and (found["url"] is None or _SERVICE_URL.fullmatch(value) is not None)


def _refusals(unknown: Iterable[str]) -> Iterable[str]:
    for variable in unknown:
        likely = _meant(variable)
        yield (
            f"unknown variable {variable!r} in the environment; settings are {ENVIRONMENT_PREFIX}<SECTION>__<NAME>, "
            f"with two underscores between{f'; did you mean {likely}?' if likely else ''}"
        )


def _meant(variable: str) -> str | None:
    """Return the variable of the setting that one without two underscores most likely means."""
    written = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
    same = [name for name in known_names() if name.replace(".", "_") == written]
    name = same[0] if same else nearest(written)
    return variable_of(name) if name else None
