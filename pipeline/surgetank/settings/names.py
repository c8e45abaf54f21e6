"""Names of settings: dotted names, the variables that stand for them, and the nearest known name to a wrong one."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from surgetank.settings.schema import ENVIRONMENT_PREFIX, SEPARATOR, Settings
from surgetank.settings.secret_options import option_of_variable

OPTIONS = "kafka.client"  # below it all names are librdkafka's, with their dots
_SIMILARITY_MIN = 0.75  # of difflib: below it a suggestion is a guess


def known_names() -> list[str]:
    """Return the dotted name of every setting, in the order of the schema."""
    return [f"{section}.{name}" for section in Settings.model_fields for name in names_in(section)]


def names_in(section: str) -> list[str]:
    """Return the names of a section's settings, those of all sections for ``""``, and none for an unknown section."""
    if not section:
        return list(Settings.model_fields)
    field = Settings.model_fields.get(section)
    model = field.annotation if field else None
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def variable_of(name: str) -> str:
    """Return the environment variable of a setting; below ``kafka.client`` dots become underscores."""
    if name.startswith(f"{OPTIONS}."):
        option = name.removeprefix(f"{OPTIONS}.").replace(".", "_")
        return f"{variable_of(OPTIONS)}{SEPARATOR}{option}".upper()
    return f"{ENVIRONMENT_PREFIX}{name.replace('.', SEPARATOR)}".upper()


def name_of(variable: str) -> str:
    """Return the dotted name that a variable stands for, known or not."""
    name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace(SEPARATOR, ".")
    if name.startswith(f"{OPTIONS}."):
        return f"{OPTIONS}.{option_of_variable(name.removeprefix(f'{OPTIONS}.'))}"
    return name


def nearest(name: str) -> str | None:
    """Return the known setting that a wrong dotted name most likely means, None if there is no likely one."""
    known = known_names()
    alike = difflib.get_close_matches(name, known, n=1, cutoff=_SIMILARITY_MIN)
    if alike:
        return alike[0]
    same = [each for each in known if each.rpartition(".")[2] == name.rpartition(".")[2]]
    return same[0] if len(same) == 1 else None


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted name; an empty mapping is a value of its own."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted name as a tree. No name may lie below another one, except one with an empty mapping."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = parts(name)
        level = tree
        for section in sections:
            level = level.setdefault(section, {})
        level[last] = value
    return tree


def parts(name: str) -> list[str]:
    """Split a dotted name; the name of a librdkafka option keeps its dots."""
    if name.startswith(f"{OPTIONS}."):
        return [*OPTIONS.split("."), name.removeprefix(f"{OPTIONS}.")]
    return name.split(".")


def above(name: str) -> Iterable[str]:
    """Yield the dotted names of what a name lies in, outermost first."""
    split = parts(name)
    return (".".join(split[:depth]) for depth in range(1, len(split)))
