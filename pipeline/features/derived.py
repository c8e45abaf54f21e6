"""Derived columns: a number computed from other numbers of the same event.

Each stands as a feature of its own, or as what a statistic is taken of: ``cards.mean(Log1p("amount"), ...)``. Each
is written twice, over Arrow columns and as DuckDB SQL, and the two agree: whatever is null, NaN or infinite is
missing, going in and coming out.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import TopologyError
from pipeline.features.spec import Feature, Float32s, Float64s


@dataclass(frozen=True, slots=True)
class Derived(Feature):
    """Base of the derived columns. An operand, ``Value``, is the name of a column or another derived column."""

    @property
    @abstractmethod
    def operands(self) -> tuple["Value", ...]:
        """What it is computed from."""

    @abstractmethod
    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m] from the operands' float64 [m], where NaN is what is missing."""

    @abstractmethod
    def formula(self, *operands: str) -> str:
        """Return the SQL expression, from the operands' SQL expressions, where NULL is what is missing."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that its operands read, each once."""
        return tuple(dict.fromkeys(column for operand in self.operands for column in inputs_of(operand)))

    @property
    def expects(self) -> str:
        """A number or truth value."""
        return "a number or boolean"

    def takes(self, dtype: pa.DataType) -> bool:
        """Accept integers, floats and booleans."""
        return is_number(dtype)

    def column(self, columns: pa.RecordBatch) -> Float32s:
        """Return float32 [m], NaN where something is missing."""
        with np.errstate(over="ignore"):
            return numbers(self, columns).astype(np.float32)

    def sql(self) -> str:
        """Return a DuckDB expression over the events' columns, a DOUBLE, NULL where something is missing."""
        return sql_of(self)

    def declaration(self) -> dict[str, Any]:
        """Return kind, name and fields as plain JSON values, those of its operands within."""
        written = {each.name: _written(getattr(self, each.name)) for each in fields(self)}
        return {"kind": type(self).__name__, "name": self.name, **written}


Value = str | Derived


@dataclass(frozen=True, slots=True)
class Difference(Derived):
    """``left`` minus ``right``."""

    left: Value
    right: Value

    @property
    def name(self) -> str:
        """Such as ``left_minus_right``."""
        return f"{_part(self.left)}_minus_{_part(self.right)}"

    @property
    def operands(self) -> tuple[Value, ...]:
        """Both sides."""
        return (self.left, self.right)

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: what is left."""
        left, right = operands
        return left - right

    def formula(self, *operands: str) -> str:
        """Return the SQL of it."""
        left, right = operands
        return f"({left} - {right})"


@dataclass(frozen=True, slots=True)
class Ratio(Derived):
    """``part`` divided by ``whole``; missing where ``whole`` is 0."""

    part: Value
    whole: Value

    @property
    def name(self) -> str:
        """Such as ``part_per_whole``."""
        return f"{_part(self.part)}_per_{_part(self.whole)}"

    @property
    def operands(self) -> tuple[Value, ...]:
        """Both numbers."""
        return (self.part, self.whole)

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: quotients."""
        part, whole = operands
        return part / whole  # by 0 it is infinite or NaN, thus missing

    def formula(self, *operands: str) -> str:
        """Return the SQL of it."""
        part, whole = operands
        return f"({part} / {whole})"


@dataclass(frozen=True, slots=True)
class Log1p(Derived):
    """The natural logarithm of 1 + ``value``: for amounts with a long tail. Missing from -1 downwards."""

    value: Value

    @property
    def name(self) -> str:
        """Such as ``log1p_of_value``."""
        return f"log1p_of_{_part(self.value)}"

    @property
    def operands(self) -> tuple[Value, ...]:
        """The number."""
        return (self.value,)

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: logarithms."""
        return np.log1p(operands[0])

    def formula(self, *operands: str) -> str:
        """Return the SQL of it: DuckDB has no log1p, but for u = 1 + x, asinh((u - 1/u) / 2) = ln(u).

        The argument is written so that neither a tiny nor a huge x loses digits.
        """
        x = operands[0]
        return f"CASE WHEN {x} > -1 THEN asinh({x} / 2 * (1 + 1 / (1 + {x}))) END"


@dataclass(frozen=True, slots=True)
class IsNull(Derived):
    """1 where ``value`` is missing, else 0."""

    value: Value

    @property
    def name(self) -> str:
        """Such as ``value_is_null``."""
        return f"{_part(self.value)}_is_null"

    @property
    def operands(self) -> tuple[Value, ...]:
        """The number."""
        return (self.value,)

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: 0 and 1."""
        return np.isnan(operands[0]).astype(np.float64)

    def formula(self, *operands: str) -> str:
        """Return the SQL of it."""
        return f"CAST({operands[0]} IS NULL AS DOUBLE)"


@dataclass(frozen=True, slots=True)
class Above(Derived):
    """1 where ``value`` is greater than ``bound``, else 0. Its mean in a window is a share."""

    value: Value
    bound: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.bound):
            raise TopologyError(f"above {self.bound} of {name_of(self.value)!r}: the bound must be a finite number")
        object.__setattr__(self, "bound", float(self.bound))

    @property
    def name(self) -> str:
        """Such as ``value_above_15``."""
        return f"{_part(self.value)}_above_{repr(self.bound).removesuffix('.0')}"

    @property
    def operands(self) -> tuple[Value, ...]:
        """The number."""
        return (self.value,)

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: 0 and 1."""
        value = operands[0]
        return np.where(np.isnan(value), np.nan, value > self.bound)

    def formula(self, *operands: str) -> str:
        """Return the SQL of it."""
        return f"CAST({operands[0]} > CAST('{self.bound!r}' AS DOUBLE) AS DOUBLE)"


def numbers(value: Value, columns: pa.RecordBatch) -> Float64s:
    """Return float64 [m] of a column or derived column, NaN for what is null, NaN or infinite."""
    if isinstance(value, str):
        found = _float64(columns.column(value))
    else:
        with np.errstate(all="ignore"):  # what is not a number is missing, not an error
            found = value.compute(*(numbers(operand, columns) for operand in value.operands))
    return np.where(np.isfinite(found), found, np.nan)


def sql_of(value: Value) -> str:
    """Return a DuckDB expression for a column or derived column, a DOUBLE, NULL where it is not a finite number."""
    if isinstance(value, str):
        found = f"CAST({quoted(value)} AS DOUBLE)"
    else:
        found = value.formula(*(sql_of(operand) for operand in value.operands))
    return f"CASE WHEN isfinite({found}) THEN {found} END"


def name_of(value: Value) -> str:
    """Return the name of a column or derived column."""
    return value if isinstance(value, str) else value.name


def inputs_of(value: Value) -> tuple[str, ...]:
    """Return the columns of the events that a column or derived column reads."""
    return (value,) if isinstance(value, str) else value.inputs


def quoted(identifier: str) -> str:
    """Return an identifier as SQL writes it."""
    return '"' + identifier.replace('"', '""') + '"'


def is_number(dtype: pa.DataType) -> bool:
    """Say whether an Arrow type is an integer, a float or a boolean."""
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_boolean(dtype))


def _part(value: Value) -> str:
    """Return the name of an operand within another name, in parentheses where it could be misread."""
    return value if isinstance(value, str) else f"({value.name})"


def _written(field: object) -> object:
    return field.declaration() if isinstance(field, Derived) else field


def _float64(column: pa.Array) -> Float64s:
    if column.null_count or pa.types.is_boolean(column.type):
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    return column.to_numpy().astype(np.float64)  # type: ignore[no-any-return]
