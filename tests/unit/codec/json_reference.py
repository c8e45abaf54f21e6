"""The row of a JSON value by Python's json module and the documented rules: an oracle that is not our own decoder."""

import base64
import json
import re
from typing import Any, NamedTuple

import numpy as np

LONG_BITS, INT_BITS = 63, 31


class NotJson(Exception):  # noqa: N818 - the name is what happened
    """The value is not JSON."""


class Misfit(Exception):  # noqa: N818 - the name is what happened
    """The value is JSON and does not fit the schema."""


class Digits(NamedTuple):
    """A number as its text."""

    text: str


Pairs = list[tuple[str, Any]]


def reference_row(value: bytes, fields: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the columns of a value. Raises NotJson or Misfit."""
    try:
        pairs = json.loads(
            value.decode(), object_pairs_hook=_Object, parse_int=Digits, parse_float=Digits, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from None
    if not isinstance(pairs, _Object):
        raise Misfit("no object")
    return {field["name"]: _field(pairs, field) for field in fields}


class _Object(list[tuple[str, Any]]):
    """The names and values of an object, as often as they are there."""


def _refuse(name: str) -> None:
    raise ValueError(name)


def _field(pairs: Pairs, field: dict[str, Any]) -> Any:
    names = {field["name"], *field.get("aliases", ())}
    found = [value for name, value in pairs if name in names]
    nullable = isinstance(field["type"], list)
    kind = next(each for each in field["type"] if each != "null") if nullable else field["type"]
    if len(found) > 1:
        raise Misfit("twice")
    if not found:
        if "default" in field:
            default = field["default"]
            is_bytes = _name(kind) in {"bytes", "fixed"}
            return default.encode("latin-1") if is_bytes and default is not None else default
        if nullable:
            return None
        raise Misfit("missing")
    if found[0] is None:
        if nullable:
            return None
        raise Misfit("null")
    return _value(found[0], kind)


def _name(kind: Any) -> str:
    return kind if isinstance(kind, str) else str(kind["type"])


def _value(value: Any, kind: Any) -> Any:
    match _name(kind), value:
        case "array", list() if not isinstance(value, _Object):
            if not all(isinstance(item, Digits) for item in value):
                raise Misfit("an item that is no number")
            return [_value(item, kind["items"]) for item in value]
        case "boolean", bool():
            return value
        case "string", str():
            return _text(value)
        case "enum", str() if value in kind["symbols"]:
            return value
        case (("bytes" | "fixed"), str()):
            raw = _bytes(value)
            if _name(kind) == "fixed" and len(raw) != kind["size"]:
                raise Misfit("size")
            return raw
        case ("int" | "long") as name, Digits():
            if not re.fullmatch("-?[0-9]+", value.text) or len(value.text) > 40:
                raise Misfit("not whole, or of far too many digits")
            number, bits = int(value.text), INT_BITS if name == "int" else LONG_BITS
            if not -(2**bits) <= number < 2**bits:
                raise Misfit("bits")
            return number
        case ("float" | "double") as name, Digits():
            with np.errstate(over="ignore"):
                rounded = float(np.float32(float(value.text))) if name == "float" else float(value.text)
            if np.isinf(rounded):
                raise Misfit("too large")
            return rounded
    raise Misfit("kind")


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Misfit("half of a surrogate pair") from None
    return value


def _bytes(value: str) -> bytes:
    if len(value) % 4 or not re.fullmatch("[A-Za-z0-9+/]*={0,2}", value, re.ASCII):
        raise Misfit("base64")
    return base64.b64decode(value)
