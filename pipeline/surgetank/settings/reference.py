"""Renders the settings reference from the schema: ``python -m surgetank.settings.reference > docs/settings.md``."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from surgetank.settings.names import OPTIONS, variable_of
from surgetank.settings.schema import Settings
from surgetank.settings.section import Unit

_TYPES = {str: "text", SecretStr: "text", int: "integer", float: "number", bool: "true or false", Path: "path"}
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}  # by the attribute of the constraint
_HEADER = """# Settings

<!-- Generated from pipeline/surgetank/settings/schema.py by `make reference`. Do not edit. -->

Every setting has a default. A value can come from four sources; a later one in this list overrides an earlier one:

1. the default in the tables below;
2. the settings file: `surgetank.toml` in the folder of the project, or the file named by the variable
   `SURGETANK_CONFIG` or by the option `--config` of a command. A section below is a table of this TOML file;
3. the environment: `SURGETANK_<SECTION>__<NAME>`, with two underscores between section and name. A variable with an
   empty value counts as not set;
4. the command line: `--set SECTION.NAME=VALUE` and the options that stand for a setting, for example `--bootstrap`.

`surgetank settings` prints every setting with its value, its default and the source of its value.

The folder of the project is the current folder, or that of `surgetank --project FOLDER` before the command, or of the
variable `SURGETANK_PROJECT`. Relative paths are relative to it.

An unknown setting is an error in every source: the command ends with exit code 2 and names the setting, its source and
the known names. Some variables with the prefix `SURGETANK_` are not settings:

- `SURGETANK_PROJECT`, the folder of the project, `SURGETANK_CONFIG`, the path of the settings file, and
  `SURGETANK_CACHE`, the folder for downloads;
- `SURGETANK_MAVEN_REPOSITORY`, the address of a mirror of Maven Central, for the jars of a local Kafka;
- `SURGETANK_KAFKA_VERSION`, the version of a local Kafka, as 3.9.2, or its beginning, for the newest of these;
- those that Kubernetes sets for a Service named `surgetank` or `surgetank-...`, which are ignored:
  `SURGETANK_SERVICE_HOST`, `SURGETANK_SERVICE_PORT`, `SURGETANK_SERVICE_PORT_<NAME>`, `SURGETANK_PORT` if its value
  is a URL, and `SURGETANK_PORT_<NUMBER>_<PROTOCOL>`, alone or with `_PROTO`, `_PORT` or `_ADDR`. They are
  kept out of the container by `enableServiceLinks: false` in the pod.

Options of librdkafka belong below `kafka.client` and keep their names: `"sasl.password"` in the file, or
`SURGETANK_KAFKA__CLIENT__SASL_PASSWORD` in the environment, where underscores stand for dots.

Passwords, keys, tokens and `sasl.oauthbearer.config` are secrets: no output, log or error message shows their values.
Set them in the environment or in the settings file, or name a file that holds one: `"sasl.password_file"` below
`kafka.client`, or `SURGETANK_KAFKA__CLIENT__SASL_PASSWORD_FILE`, and so for every secret; `http.token_file`. `--set`
refuses secrets, because every user of a machine can read the command lines of its processes; it takes the names of
their files.
"""


def render() -> str:
    """Return the reference as Markdown: one table per section, in the order of the schema."""
    return "\n".join([_HEADER, *(_section(name, field) for name, field in Settings.model_fields.items())])


def _section(name: str, field: FieldInfo) -> str:
    model: type[BaseModel] = type(field.default)
    lines = [
        f"## {name}",
        "",
        (model.__doc__ or "").strip(),
        "",
        "| name | type | default | unit | meaning | environment variable |",
        "|---|---|---|---|---|---|",
        *(_row(f"{name}.{each}", inner) for each, inner in model.model_fields.items()),
        "",
    ]
    return "\n".join(lines)


def _row(name: str, field: FieldInfo) -> str:
    units = [each.name for each in field.metadata if isinstance(each, Unit)]
    variable = variable_of(name) + ("__<OPTION>" if name == OPTIONS else "")
    cells = (
        f"`{name.partition('.')[2]}`",
        _type(field),
        _default(field.get_default(call_default_factory=True)),
        "".join(units),
        field.description or "",
        f"`{variable}`",
    )
    return "| " + " | ".join(_cell(each) for each in cells) + " |"


def _type(field: FieldInfo) -> str:
    """Return the type in words, with its bounds: ``integer, at least 1``."""
    return ", ".join([_named(field.annotation), *_bounds(field)])


def _named(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(f"`{each}`" for each in arguments)
    if origin is dict:
        return "table of text"
    if origin is UnionType:
        return " or ".join(_named(each) for each in arguments if each is not type(None))
    return _TYPES[annotation]


def _bounds(field: FieldInfo) -> Iterator[str]:
    for each in field.metadata:
        yield from (f"{words} {getattr(each, bound)}" for bound, words in _BOUNDS.items() if hasattr(each, bound))


def _default(value: Any) -> str:
    if value is None or value in ("", {}):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    """Escape what would end a cell, or be taken for a tag where it is not code."""
    outside = re.split(r"(`[^`]*`)", text.replace("|", r"\|"))
    return "".join(each if each.startswith("`") else each.replace("<", "&lt;") for each in outside)


if __name__ == "__main__":
    sys.stdout.write(render())
