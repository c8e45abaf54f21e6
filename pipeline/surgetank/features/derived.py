"""Derived columns: numbers computed from other numbers of the same event.

A derived column is a feature of its own or the value of an aggregate: ``cards.mean(Log1p("amount"), ...)``. Each is
implemented over Arrow columns and as DuckDB SQL with the same results: null, NaN and infinite values are missing,
both as inputs and as results.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from surgetank.errors import TopologyError
from surgetank.features.spec import Feature, Float32s, Float64s


@dataclass(frozen=True, slots=True)
class Derived(Feature):
    """Base of the derived columns. An operand (``Value``) is a column name or another derived column."""

    @property
    @abstractmethod
    def operands(self) -> tuple["Value", ...]:
        """The columns and derived columns that the result is computed from."""

    @abstractmethod
    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m] from the operands' float64 [m]. NaN means missing."""

    @abstractmethod
    def formula(self, *operands: str) -> str:
        """Return the SQL expression from the operands' SQL expressions. NULL means missing."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the operands read, without repetition."""
        return tuple(dict.fromkeys(column for operand in self.operands for column in inputs_of(operand)))

    @property
    def expects(self) -> str:
        """The accepted type: a number or boolean."""
        return "a number or boolean"

    def takes(self, dtype: pa.DataType) -> bool:
        """Accept integers, floats and booleans."""
        return is_number(dtype)

    def column(self, columns: pa.RecordBatch) -> Float32s:
        """Return float32 [m], NaN where the result is missing."""
        with np.errstate(over="ignore"):
            return numbers(self, columns).astype(np.float32)

    def sql(self) -> str:
        """Return a DuckDB expression over the events' columns, a DOUBLE, NULL where the result is missing."""
        return sql_of(self)

    def declaration(self) -> dict[str, Any]:
        """Return kind, name and fields as plain JSON values, with nested declarations for derived operands."""
        values = {each.name: _json_value(getattr(self, each.name)) for each in fields(self)}
        return {"kind": type(self).__name__, "name": self.name, **values}


Value = str | Derived


@dataclass(frozen=True, slots=True)
class Difference(Derived):
    """``left`` minus ``right``."""

    left: Value
    right: Value

    @property
    def name(self) -> str:
        """The name, for example ``left_minus_right``."""
        return f"{_operand_name(self.left)}_minus_{_operand_name(self.right)}"

    @property
    def operands(self) -> tuple[Value, ...]:
        """Both operands."""
        return (self.left, self.right)

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: the differences."""
        left, right = operands
        return left - right

    def formula(self, *operands: str) -> str:
        """Return the SQL expression."""
        left, right = operands
        return f"({left} - {right})"


@dataclass(frozen=True, slots=True)
class Ratio(Derived):
    """``part`` divided by ``whole``; missing where ``whole`` is 0."""

    part: Value
    whole: Value

    @property
    def name(self) -> str:
        """The name, for example ``part_per_whole``."""
        return f"{_operand_name(self.part)}_per_{_operand_name(self.whole)}"

    @property
    def operands(self) -> tuple[Value, ...]:
        """Both operands."""
        return (self.part, self.whole)

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: the quotients."""
        part, whole = operands
        return part / whole  # division by 0 gives infinity or NaN, which count as missing

    def formula(self, *operands: str) -> str:
        """Return the SQL expression."""
        part, whole = operands
        return f"({part} / {whole})"


@dataclass(frozen=True, slots=True)
class Log1p(Derived):
    """The natural logarithm of 1 + ``value``, for amounts with a long tail. Missing for values of -1 and below."""

    value: Value

    @property
    def name(self) -> str:
        """The name, for example ``log1p_of_value``."""
        return f"log1p_of_{_operand_name(self.value)}"

    @property
    def operands(self) -> tuple[Value, ...]:
        """The operand."""
        return (self.value,)

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: the logarithms."""
        return np.log1p(operands[0])

    def formula(self, *operands: str) -> str:
        """Return the SQL expression. DuckDB has no log1p, but for u = 1 + x, asinh((u - 1/u) / 2) = ln(u).

        This form of the argument keeps the precision of very small and very large x.
        """
        x = operands[0]
        return f"CASE WHEN {x} > -1 THEN asinh({x} / 2 * (1 + 1 / (1 + {x}))) END"


@dataclass(frozen=True, slots=True)
class IsNull(Derived):
    """1 where ``value`` is missing, else 0."""

    value: Value

    @property
    def name(self) -> str:
        """The name, for example ``value_is_null``."""
        return f"{_operand_name(self.value)}_is_null"

    @property
    def operands(self) -> tuple[Value, ...]:
        """The operand."""
        return (self.value,)

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: 0 and 1."""
        return np.isnan(operands[0]).astype(np.float64)

    def formula(self, *operands: str) -> str:
        """Return the SQL expression."""
        return f"CAST({operands[0]} IS NULL AS DOUBLE)"


@dataclass(frozen=True, slots=True)
class Above(Derived):
    """1 where ``value`` is greater than ``bound``, else 0. The mean over a window is the share of such values."""

    value: Value
    bound: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.bound):
            raise TopologyError(f"above {self.bound} of {name_of(self.value)!r}: the bound must be a finite number")
        object.__setattr__(self, "bound", float(self.bound))

    @property
    def name(self) -> str:
        """The name, for example ``value_above_15``."""
        return f"{_operand_name(self.value)}_above_{repr(self.bound).removesuffix('.0')}"

    @property
    def operands(self) -> tuple[Value, ...]:
        """The operand."""
        return (self.value,)

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: 0 and 1, NaN where the operand is missing."""
        value = operands[0]
        return np.where(np.isnan(value), np.nan, value > self.bound)

    def formula(self, *operands: str) -> str:
        """Return the SQL expression."""
        return f"CAST({operands[0]} > CAST('{self.bound!r}' AS DOUBLE) AS DOUBLE)"


def numbers(value: Value, columns: pa.RecordBatch) -> Float64s:
    """Return float64 [m] of a column or derived column, NaN for null, NaN and infinite values."""
    if isinstance(value, str):
        result = _float64(columns.column(value))
    else:
        with np.errstate(all="ignore"):  # an undefined result is missing, not an error
            result = value.compute(*(numbers(operand, columns) for operand in value.operands))
    return np.where(np.isfinite(result), result, np.nan)


def sql_of(value: Value) -> str:
    """Return a DuckDB expression for a column or derived column, a DOUBLE, NULL unless it is a finite number."""
    if isinstance(value, str):
        result = f"CAST({quoted(value)} AS DOUBLE)"
    else:
        result = value.formula(*(sql_of(operand) for operand in value.operands))
    return f"CASE WHEN isfinite({result}) THEN {result} END"


def name_of(value: Value) -> str:
    """Return the name of a column or derived column."""
    return value if isinstance(value, str) else value.name


def inputs_of(value: Value) -> tuple[str, ...]:
    """Return the columns of the events that a column or derived column reads."""
    return (value,) if isinstance(value, str) else value.inputs


def quoted(identifier: str) -> str:
    """Return a quoted SQL identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def is_number(dtype: pa.DataType) -> bool:
    """Say whether an Arrow type is an integer, a float or a boolean."""
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_boolean(dtype))


def _operand_name(value: Value) -> str:
    """Return the name of an operand as part of another name, in parentheses where it would be ambiguous."""
    return value if isinstance(value, str) else f"({value.name})"


def _json_value(field: object) -> object:
    return field.declaration() if isinstance(field, Derived) else field


def _float64(column: pa.Array) -> Float64s:
    if column.null_count or pa.types.is_boolean(column.type):
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    return column.to_numpy().astype(np.float64)  # type: ignore[no-any-return]
