"""Random stateless features, with the value that each must have for an event, computed without the engine.

Values are float32 numbers, NaN for missing. An event is the dict that fastavro reads, with times as whole numbers.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any

import numpy as np

from surgetank.drills.odd.avro_types import PER_SECOND, TIMESTAMPS, Json

Event = Mapping[str, Any]

NUMBERS = ("int", "long", "float", "double", "boolean")
_PER_UNIT = {"date": 1, "time-millis": 1_000, "time-micros": 1_000_000}  # days, and ticks per second
VOCABULARY = ("A", "B", "C", "D")

_LOGICAL = {
    "int": ("date", "time-millis"),
    "long": ("time-micros", *TIMESTAMPS),
    "bytes": ("decimal",),
    "fixed": ("decimal",),
    "string": ("uuid",),
}
_UNITS = {"seconds": 1, "minutes": 60, "hours": 3_600, "days": 86_400}
_DAY_SECONDS = 86_400


class Need(StrEnum):
    """What a feature needs a field to be."""

    NUMBER = "a number or boolean"
    TEXT = "a string"
    TIMESTAMP = "a timestamp"


@dataclass(frozen=True, slots=True)
class OddFeature:
    """A feature as Python source, the fields that it reads, and its value for an event.

    ``value`` None: the feature is an aggregate of a table, which facts update if ``of_facts`` is set, over a window of
    ``window_days``, 0 without one.
    """

    source: str
    reads: tuple[tuple[str, Need], ...]
    value: Callable[[Event], float] | None = None
    of_facts: bool = False
    window_days: float = 0.0


def meaning(schema: Json) -> str:
    """Return what a type means to the engine: its logical type if that is known, else its own name; unions omit null.

    An unknown logical type means nothing, as the Avro specification demands.
    """
    if isinstance(schema, list):
        (schema,) = (branch for branch in schema if branch != "null")
    if isinstance(schema, str):
        return schema
    kind, logical = schema["type"], schema.get("logicalType")
    if not isinstance(kind, str):
        return meaning(kind)
    return logical if logical in _LOGICAL.get(kind, ()) else kind


def fits(need: Need, schema: Json) -> bool:
    """Return whether a field of a type must be accepted by a feature that needs this."""
    match need:
        case Need.NUMBER:
            return meaning(schema) in {*NUMBERS, *_PER_UNIT, "decimal"}
        case Need.TEXT:
            return meaning(schema) in {"string", "uuid", "enum"}
        case Need.TIMESTAMP:
            return meaning(schema) in TIMESTAMPS


def per_second(schema: Json) -> int:
    """Return the ticks per second of a timestamp."""
    return PER_SECOND[meaning(schema).rpartition("-")[2]]


def number_feature(field: str, schema: Json) -> OddFeature:
    """Return the feature that is a number; dates are days since 1970, times of day seconds since midnight."""
    kind = meaning(schema)

    def value(event: Event) -> float:
        number = event[field]
        if number is not None and kind == "decimal":
            number = int.from_bytes(number, "big", signed=True) / 10 ** _scale(schema)
        elif number is not None and kind in _PER_UNIT:
            number /= _PER_UNIT[kind]
        return _float32(number)

    return OddFeature(f"Field({field!r})", ((field, Need.NUMBER),), value)


def category_feature(field: str) -> OddFeature:
    """Return the feature that is the place of a text in ``VOCABULARY``."""
    places = {text: float(place) for place, text in enumerate(VOCABULARY)}
    return OddFeature(
        f"Category({field!r}, {VOCABULARY!r})",
        ((field, Need.TEXT),),
        lambda event: places.get(event[field], math.nan),
    )


def calendar_feature(random: Random, field: str, ticks: int) -> OddFeature:
    """Return a calendar feature of a timestamp with so many ticks per second."""
    day = _DAY_SECONDS * ticks
    kinds: tuple[tuple[str, Callable[[int], float]], ...] = (
        ("HourOfDay", lambda time: _float32(time % day / (3_600 * ticks))),
        ("DayOfWeek", lambda time: float((time // day + 3) % 7)),
        ("Month", lambda time: float(_month(time // day))),
    )
    kind, of = random.choice(kinds)
    return OddFeature(
        f"{kind}({field!r})",
        ((field, Need.TIMESTAMP),),
        lambda event: math.nan if event[field] is None else of(event[field]),
    )


def elapsed_feature(random: Random, start: tuple[str, int], end: tuple[str, int]) -> OddFeature:
    """Return the feature that is the time between two timestamps, given as their names and ticks per second."""
    unit = random.choice(tuple(_UNITS))

    def value(event: Event) -> float:
        if event[start[0]] is None or event[end[0]] is None:
            return math.nan
        # Exact: the difference of two fractions, rounded once.
        numerator = event[end[0]] * start[1] - event[start[0]] * end[1]
        return _float32(numerator / (start[1] * end[1] * _UNITS[unit]))

    needs = ((start[0], Need.TIMESTAMP), (end[0], Need.TIMESTAMP))
    return OddFeature(f"Elapsed({start[0]!r}, {end[0]!r}, unit={unit!r})", needs, value)


def _scale(schema: Json) -> int:
    """Return the scale of a decimal."""
    if isinstance(schema, list):
        (schema,) = (branch for branch in schema if branch != "null")
    return int(schema.get("scale", 0))


def _float32(number: float | None) -> float:
    if number is None:
        return math.nan
    with np.errstate(over="ignore"):
        return float(np.float32(number))


def _month(days: int) -> int:
    """Return the month, 1 to 12, of a day of the proleptic Gregorian calendar, counted from 1970-01-01.

    The calendar repeats every 400 years; its years are counted from March here, so that leap days are at their ends.
    """
    day = (days + 719_468) % 146_097
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    month = (5 * (day - (365 * year + year // 4 - year // 100)) + 2) // 153
    return (month + 2) % 12 + 1
