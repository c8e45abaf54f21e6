"""Stateless features: each is computed from columns of the same event.

Calendar features are in UTC. Where local time matters, put it into a field of the event: the producer knows its zone.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.errors import TopologyError
from surgetank.features.number_columns import doubles_of, is_number, is_plain_number
from surgetank.features.spec import Feature, Float32s
from surgetank.features.string_columns import is_string, without_dictionary

Int64s = npt.NDArray[np.int64]

_TICKS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3_600, "days": 86_400}
FEW_ROWS = 256  # up to here, looking up one text after the other costs less than a call of Arrow
_THURSDAY = 3  # 1970-01-01, where Monday is 0


@dataclass(frozen=True, slots=True)
class Field(Feature):
    """A number or boolean as float32: integers above 2^24 are rounded, numbers above 3.4e38 become infinite.

    A decimal is the double nearest to it, a date the days since 1970-01-01, a time of day the seconds since midnight.
    """

    field: str

    @property
    def name(self) -> str:
        """The field's name."""
        return self.field

    @property
    def inputs(self) -> tuple[str, ...]:
        """The field."""
        return (self.field,)

    @property
    def expects(self) -> str:
        """The accepted type: a number or boolean."""
        return "a number or boolean"

    def takes(self, dtype: pa.DataType) -> bool:
        """Accept integers, floats, booleans, decimals, dates and times of day."""
        return is_number(dtype)

    def column(self, columns: pa.RecordBatch) -> Float32s:
        """Return float32 [m]: the numbers, 1 for true and 0 for false."""
        values = columns.column(self.field)
        if is_plain_number(values.type):
            return _float32(values)
        with np.errstate(over="ignore"):
            return doubles_of(values).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Category(Feature):
    """A string as its index in a vocabulary, from 0.

    A string outside the vocabulary is missing, as null is: the model was not trained on it. With ``unknown`` it is this
    index, and only null is missing. Tree models compare indexes, so a vocabulary in a meaningful order helps them.
    ``surgetank.vocabulary_file`` reads a vocabulary from a file.
    """

    field: str
    vocabulary: tuple[str, ...]
    unknown: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        if not self.vocabulary:
            raise TopologyError(f"category {self.field!r}: the vocabulary is empty")
        if len(set(self.vocabulary)) < len(self.vocabulary):
            twice = next(text for text in self.vocabulary if self.vocabulary.count(text) > 1)
            raise TopologyError(f"category {self.field!r}: {twice!r} is in the vocabulary twice")
        if self.unknown is not None and 0 <= self.unknown < len(self.vocabulary):
            raise TopologyError(
                f"category {self.field!r}: unknown is {self.unknown}, the index of {self.vocabulary[self.unknown]!r}; "
                f"use -1 or {len(self.vocabulary)}"
            )

    @property
    def name(self) -> str:
        """The field's name."""
        return self.field

    @property
    def inputs(self) -> tuple[str, ...]:
        """The field."""
        return (self.field,)

    @property
    def expects(self) -> str:
        """The accepted type: a string."""
        return "a string"

    def takes(self, dtype: pa.DataType) -> bool:
        """Accept strings, plain or dictionary-encoded (as decoded Avro enums are)."""
        return is_string(dtype)

    def column(self, columns: pa.RecordBatch) -> Float32s:
        """Return float32 [m]: indexes into the vocabulary, ``unknown`` or NaN for strings outside it, NaN for null."""
        texts = without_dictionary(columns.column(self.field))
        if len(texts) <= FEW_ROWS:
            indexes = _indexes(self.vocabulary)
            other = np.nan if self.unknown is None else self.unknown
            found = [np.nan if text is None else indexes.get(text, other) for text in texts.to_pylist()]
            return np.array(found, dtype=np.float32)
        places = _float32(pc.index_in(texts, _value_set(self.vocabulary, texts.type)))
        if self.unknown is None:
            return places
        outside = np.isnan(places) & texts.is_valid().to_numpy(zero_copy_only=False)
        return np.where(outside, np.float32(self.unknown), places)

    def declaration(self) -> dict[str, Any]:
        """Return kind, name and fields as plain JSON values, without ``unknown`` where it is not given."""
        found = Feature.declaration(self)
        if self.unknown is None:
            del found["unknown"]  # as in earlier versions: the fingerprint is the same
        return found


@dataclass(frozen=True, slots=True)
class _Calendar(Feature):
    """Base of the features that are derived from a timestamp."""

    field: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The field."""
        return (self.field,)

    @property
    def expects(self) -> str:
        """The accepted type: a timestamp."""
        return "a timestamp"

    def takes(self, dtype: pa.DataType) -> bool:
        """Accept timestamps of every unit; a timestamp without a zone is read as UTC."""
        return bool(pa.types.is_timestamp(dtype))


@dataclass(frozen=True, slots=True)
class HourOfDay(_Calendar):
    """The hour in UTC with its fraction, from 0 up to 24: 17:30 is 17.5."""

    @property
    def name(self) -> str:
        """The field's name and ``_hour_of_day``."""
        return f"{self.field}_hour_of_day"

    def column(self, columns: pa.RecordBatch) -> Float32s:
        """Return float32 [m]: hours since midnight, NaN for null."""
        times = columns.column(self.field)
        hour = _ticks_per(times, "hours")
        return _where_known(times, _ticks(times) % (24 * hour) / hour)


@dataclass(frozen=True, slots=True)
class DayOfWeek(_Calendar):
    """The day of the week in UTC: Monday is 0, Sunday is 6."""

    @property
    def name(self) -> str:
        """The field's name and ``_day_of_week``."""
        return f"{self.field}_day_of_week"

    def column(self, columns: pa.RecordBatch) -> Float32s:
        """Return float32 [m]: days since Monday, NaN for null."""
        times = columns.column(self.field)
        return _where_known(times, (_days(times) + _THURSDAY) % 7)


@dataclass(frozen=True, slots=True)
class Month(_Calendar):
    """The month in UTC: January is 1, December is 12."""

    @property
    def name(self) -> str:
        """The field's name and ``_month``."""
        return f"{self.field}_month"

    def column(self, columns: pa.RecordBatch) -> Float32s:
        """Return float32 [m]: the number of the month, NaN for null."""
        times = columns.column(self.field)
        months = _days(times).astype("M8[D]").astype("M8[M]").astype(np.int64)  # since January 1970
        return _where_known(times, months % 12 + 1)


@dataclass(frozen=True, slots=True)
class Elapsed(Feature):
    """The time from one field to another with its fraction, negative if ``end`` is before ``start``."""

    start: str
    end: str
    unit: Literal["seconds", "minutes", "hours", "days"]

    def __post_init__(self) -> None:
        if self.unit not in _SECONDS:
            raise TopologyError(
                f"elapsed {self.start!r} to {self.end!r}: unit is {self.unit!r}; use one of {', '.join(_SECONDS)}"
            )

    @property
    def name(self) -> str:
        """The name, for example ``minutes_from_start_to_end``."""
        return f"{self.unit}_from_{self.start}_to_{self.end}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Both fields."""
        return (self.start, self.end)

    @property
    def expects(self) -> str:
        """The accepted type: a timestamp."""
        return "a timestamp"

    def takes(self, dtype: pa.DataType) -> bool:
        """Accept timestamps of every unit; a timestamp without a zone is read as UTC."""
        return bool(pa.types.is_timestamp(dtype))

    def column(self, columns: pa.RecordBatch) -> Float32s:
        """Return float32 [m]: the time between the fields in the unit, NaN if either field is null."""
        start, end = columns.column(self.start), columns.column(self.end)
        # Whole units and remainders are subtracted separately: float64 would lose digits of ticks since the epoch.
        end_whole, end_rest = np.divmod(_ticks(end), _ticks_per(end, self.unit))
        start_whole, start_rest = np.divmod(_ticks(start), _ticks_per(start, self.unit))
        rest = end_rest / _ticks_per(end, self.unit) - start_rest / _ticks_per(start, self.unit)
        between = (end_whole - start_whole) + rest
        return _where_known(start, _where_known(end, between))


def _float32(numbers: pa.Array) -> Float32s:
    """Return float32 [m] of an Arrow array of numbers or booleans, NaN for null."""
    if numbers.null_count or pa.types.is_boolean(numbers.type):
        return numbers.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    with np.errstate(over="ignore"):  # the same result with less overhead, which counts for small batches
        return numbers.to_numpy().astype(np.float32)  # type: ignore[no-any-return]


@cache
def _value_set(vocabulary: tuple[str, ...], dtype: pa.DataType) -> pa.Array:
    return pa.array(vocabulary, dtype)


@cache
def _indexes(vocabulary: tuple[str, ...]) -> dict[str, int]:
    return {text: index for index, text in enumerate(vocabulary)}


def _ticks(times: pa.Array) -> Int64s:
    """Return int64 [m]: ticks since the epoch in the unit of the array, 0 for null."""
    ticks = times.view(pa.int64())
    return (ticks.fill_null(0) if ticks.null_count else ticks).to_numpy()  # type: ignore[no-any-return]


def _ticks_per(times: pa.Array, unit: str) -> int:
    return _SECONDS[unit] * _TICKS_PER_SECOND[times.type.unit]


def _days(times: pa.Array) -> Int64s:
    """Return int64 [m]: whole days since the epoch."""
    return _ticks(times) // _ticks_per(times, "days")


def _where_known(times: pa.Array, values: npt.NDArray[np.generic]) -> Float32s:
    """Return the values as float32 [m], NaN where the time is null."""
    column = values.astype(np.float32)
    if times.null_count:
        column[times.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return column
