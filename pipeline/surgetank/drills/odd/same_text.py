"""Whether the text that a score has for an id or a key is the one that its documentation promises."""

import math
import re
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from surgetank.drills.odd.avro_types import PER_SECOND, Json
from surgetank.drills.odd.features import meaning

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_TICKS = {"time-millis": 86_400_000, "time-micros": 86_400_000_000}


def is_text_of(text: str | None, value: Any, schema: Json) -> bool:
    """Return whether ``text`` is that of a physical value of a type; null has none."""
    if value is None or text is None:
        return value is None and text is None
    kind = meaning(schema)
    match kind:
        case "string" | "uuid" | "enum":
            return bool(text == value)
        case "bytes" | "fixed":
            return bool(text == value.hex())
        case "int" | "long":
            return text == str(value)
        case "boolean":
            return text == ("true" if value else "false")
        case "float" | "double":
            return _same_number(text, value, kind)
        case "decimal":
            return _same_decimal(text, value, schema)
        case _:
            return _same_time(text, value, kind)


def _same_number(text: str, value: float, kind: str) -> bool:
    found = float(text)
    if kind == "float" and math.isfinite(found):
        found = struct.unpack("<f", struct.pack("<f", found))[0]
    return found == value or (math.isnan(found) and math.isnan(value))


def _same_decimal(text: str, value: bytes, schema: Json) -> bool:
    if isinstance(schema, list):
        (schema,) = (branch for branch in schema if branch != "null")
    digits = int.from_bytes(value, "big", signed=True)
    return Decimal(text) == Decimal(f"{digits}E-{schema.get('scale', 0)}")


def _same_time(text: str, value: int, kind: str) -> bool:
    """Return whether a text is a time; one that no calendar of Python has may be written in any form of digits."""
    if kind == "date":
        try:
            return text in {(date(1970, 1, 1) + timedelta(days=value)).isoformat(), str(value)}
        except OverflowError:
            return re.fullmatch(r"-?[\d-]+", text) is not None
    if kind in _DAY_TICKS:
        ticks = _DAY_TICKS[kind]
        if not 0 <= value < ticks:
            return text == str(value)
        return _EPOCH + timedelta(microseconds=value * (86_400_000_000 // ticks)) == datetime.fromisoformat(
            f"1970-01-01 {text}+00:00"
        )
    per_second = PER_SECOND[kind.rpartition("-")[2]]
    try:
        moment = _EPOCH + timedelta(seconds=value // per_second)
    except OverflowError:
        return re.fullmatch(r"-?[\d:. -]+Z?", text) is not None
    fraction = f"{value % per_second:0{len(str(per_second)) - 1}d}"
    zone = "" if kind.startswith("local") else "Z"
    seconds = moment.replace(tzinfo=None).isoformat(sep=" ")
    return text in {f"{seconds}.{fraction}{zone}", str(value)}
