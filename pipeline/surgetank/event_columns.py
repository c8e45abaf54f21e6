"""The columns of events as declarations name them: fields of records by their path, and times by their declared unit.

A field of a record is a column of its own, ``after.amount`` for the field ``amount`` of the record ``after``, null
where the record or one around it is null. A whole number whose unit is declared is a timestamp in UTC. All other
columns are those of the schema.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

import pyarrow as pa
import pyarrow.compute as pc

from surgetank.errors import TopologyError

TimeUnit = Literal["s", "ms", "us", "ns"]
TIME_UNITS: tuple[TimeUnit, ...] = get_args(TimeUnit)

Columns = TypeVar("Columns", pa.RecordBatch, pa.Table)

_SECONDS_MAX = (2**63 - 1) // 1000  # times are compared in milliseconds


class EventColumns:
    """Adds the columns that a declaration can name to the columns of decoded events.

    ``schema`` is the result. Raises TopologyError if a time unit is declared of a field that is not there, or is
    neither a whole number nor a timestamp of this unit; ``topic`` is for the message. A schema that already has the
    columns stays as it is.
    """

    def __init__(self, schema: pa.Schema, time_units: Mapping[str, TimeUnit], topic: str) -> None:
        fields = list(schema)
        names = set(schema.names)
        self._records: list[tuple[int, list[int]]] = []  # the place of each record, and those of its fields in it
        for place, field in enumerate(fields):  # which grows: records in records are found later
            if not pa.types.is_struct(field.type):
                continue
            inner = [field.type.field(number) for number in range(field.type.num_fields)]
            added = [number for number, each in enumerate(inner) if f"{field.name}.{each.name}" not in names]
            for number in added:
                each = inner[number]
                fields.append(pa.field(f"{field.name}.{each.name}", each.type, field.nullable or each.nullable))
                names.add(fields[-1].name)
            if added:
                self._records.append((place, added))
        self._times: list[tuple[int, TimeUnit]] = []
        places = {field.name: place for place, field in enumerate(fields)}
        for name, unit in time_units.items():
            if name not in places:
                raise TopologyError(
                    f"events {topic!r}: time_units names field {name!r}, which the events do not have; they have: "
                    f"{', '.join(places)}"
                )
            place = places[name]
            if _is_converted(fields[place].type, unit, name, topic):
                fields[place] = fields[place].with_type(pa.timestamp(unit, "UTC"))
                self._times.append((place, unit))
        self.schema = pa.schema(fields)
        self.changes = bool(self._records or self._times)

    def of(self, columns: Columns) -> Columns:
        """Return m rows with the columns of ``schema``, from m rows with those of the schema of the events."""
        if not self.changes:
            return columns
        arrays = list(columns.columns)
        for place, added in self._records:
            parts = arrays[place].flatten()
            arrays += [parts[number] for number in added]
        for place, unit in self._times:
            arrays[place] = _timestamps(arrays[place], unit)
        return type(columns).from_arrays(arrays, schema=self.schema)


def check_time_units(time_units: Mapping[str, str], topic: str) -> None:
    """Raise TopologyError unless all units are known; ``topic`` is for the message."""
    for name, unit in time_units.items():
        if unit not in TIME_UNITS:
            raise TopologyError(
                f"events {topic!r}: the time unit of {name!r} is {unit!r}; it must be one of {', '.join(TIME_UNITS)}"
            )


def unit_hint(name: str, schema: pa.Schema) -> str:
    """Return what to do about a field that is no timestamp, behind the sentence that says so; "" if nothing helps."""
    if not pa.types.is_signed_integer(schema.field(name).type):
        return ""
    units = ", ".join(TIME_UNITS)
    return f"; if its numbers are times, declare their unit, one of {units}: time_units={{{name!r}: ...}}"


def root_columns(names: Sequence[str], schema: pa.Schema) -> list[str]:
    """Return the columns of a schema that have these columns or, for a path, are the record at its start.

    A name of neither kind is returned as it is. No column is returned twice.
    """
    known = set(schema.names)

    def root(name: str) -> str:
        first = name.partition(".")[0]
        return first if name not in known and first in known else name

    return list(dict.fromkeys(root(name) for name in names))


def _is_converted(dtype: pa.DataType, unit: TimeUnit, name: str, topic: str) -> bool:
    """Return whether a column is to become a timestamp; False if it is one of this unit."""
    if pa.types.is_signed_integer(dtype):
        return True
    if not pa.types.is_timestamp(dtype):
        raise TopologyError(
            f"events {topic!r}: time_units names field {name!r}, which is {dtype}; a unit is declared of a whole "
            "number only: remove it from time_units"
        )
    if dtype.unit != unit:
        raise TopologyError(
            f"events {topic!r}: time_units says that field {name!r} is in {unit!r}, but its type in the schema is a "
            f"timestamp in {dtype.unit!r}: remove it from time_units, or correct the schema"
        )
    return False


def _timestamps(column: Any, unit: TimeUnit) -> Any:
    """Return whole numbers as timestamps in UTC; seconds beyond what 64 bits of milliseconds hold become the limit."""
    numbers = column.cast(pa.int64())
    if unit == "s":
        numbers = pc.max_element_wise(numbers, -_SECONDS_MAX, skip_nulls=False)
        numbers = pc.min_element_wise(numbers, _SECONDS_MAX, skip_nulls=False)
    return numbers.cast(pa.timestamp(unit, "UTC"))
