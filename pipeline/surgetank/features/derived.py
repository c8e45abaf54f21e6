"""Derived columns: numbers computed from columns of an event and from other features of it, in float64.

A derived column is a feature of its own, ``Ratio("amount", cards.mean("amount", window=days(1)))``, or, if it reads
only columns, also the value of an aggregate: ``cards.mean(Log1p("amount"), ...)``. The values of aggregates are
implemented over Arrow columns and as DuckDB SQL with the same results; features are computed by one function online
and offline. Null, NaN and infinite values are missing, both as operands and as results.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from surgetank.errors import TopologyError
from surgetank.features.number_columns import doubles_of, is_number
from surgetank.features.spec import NO_AGGREGATES, Feature, Float32s, Float64s, Input


@dataclass(frozen=True, slots=True)
class Derived(Feature):
    """Base of the derived columns. An operand (``Value``) is a column name, another feature, or an aggregate."""

    @property
    @abstractmethod
    def operands(self) -> tuple["Value", ...]:
        """The columns, features and aggregates that the result is computed from."""

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
        """Accept integers, floats, booleans, decimals, dates and times of day."""
        return is_number(dtype)

    @property
    def aggregates(self) -> tuple[Input, ...]:
        """The aggregates of the operands, without repetition."""
        operands = (operand for operand in self.operands if isinstance(operand, Input))
        return tuple(dict.fromkeys(aggregate for operand in operands for aggregate in operand.aggregates))

    def check(self, schema: pa.Schema) -> None:
        """Raise TopologyError, naming feature and column, if events of this schema cannot supply an operand."""
        for operand in self.operands:
            if isinstance(operand, Input):
                operand.check(schema)
            else:
                self.check_column(operand, schema)

    def column(self, columns: pa.RecordBatch) -> Float32s:
        """Return float32 [m], NaN where the result is missing. Raises KeyError if an operand reads an aggregate."""
        return self.evaluate(columns, NO_AGGREGATES)

    def evaluate(self, columns: pa.RecordBatch, aggregates: Mapping[str, Float64s]) -> Float32s:
        """Return float32 [m], NaN where the result is missing."""
        with np.errstate(over="ignore"):
            return numbers(self, columns, aggregates).astype(np.float32)

    def sql(self) -> str:
        """Return a DuckDB expression over the events' columns, a DOUBLE, NULL where the result is missing."""
        return sql_of(self)

    def declaration(self) -> dict[str, Any]:
        """Return kind, name and fields as plain JSON values, with nested declarations for derived operands."""
        values = {each.name: _json_value(getattr(self, each.name)) for each in fields(self)}
        return {"kind": type(self).__name__, "name": self.name, **values, **self.code()}


Value = str | Input


@dataclass(frozen=True, slots=True)
class Pair(Derived):
    """Base of what is computed from two operands."""

    left: Value
    right: Value

    @property
    def operands(self) -> tuple[Value, ...]:
        """Both operands."""
        return (self.left, self.right)


@dataclass(frozen=True, slots=True)
class Log1p(Derived):
    """The natural logarithm of 1 + ``value``, for amounts with a long tail. Missing for values of -1 and below."""

    value: Value

    @property
    def name(self) -> str:
        """The name, for example ``log1p_of_value``."""
        return f"log1p_of_{operand_name(self.value)}"

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
    """1 where ``value`` is missing, else 0. A feature reads a column of any type, an aggregate only numbers."""

    value: Value

    @property
    def expects(self) -> str:
        """The accepted type: any."""
        return "of any type"

    def takes(self, dtype: pa.DataType) -> bool:  # noqa: ARG002
        """Accept every type."""
        return True

    @property
    def name(self) -> str:
        """The name, for example ``value_is_null``."""
        return f"{operand_name(self.value)}_is_null"

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
        return f"{operand_name(self.value)}_above_{repr(self.bound).removesuffix('.0')}"

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


def numbers(value: Value, columns: pa.RecordBatch, aggregates: Mapping[str, Float64s] = NO_AGGREGATES) -> Float64s:
    """Return float64 [m] of a column, feature or aggregate, NaN for null, NaN and infinite values.

    A column that holds no numbers is 0 where it is not null. ``aggregates`` holds float64 [m] for each aggregate that
    the value is computed from, by name; KeyError is raised if one is absent.
    """
    if isinstance(value, str):
        result = _float64(columns.column(value))
    elif isinstance(value, Derived):
        with np.errstate(all="ignore"):  # an undefined result is missing, not an error
            result = value.compute(*(numbers(operand, columns, aggregates) for operand in value.operands))
    else:
        result = value.evaluate(columns, aggregates).astype(np.float64)
    return np.where(np.isfinite(result), result, np.nan)


def sql_of(value: Value) -> str:
    """Return a DuckDB expression for a column or derived column, a DOUBLE, NULL unless it is a finite number.

    Raises TopologyError for other features and for aggregates, which have no expression over the columns of an event.
    """
    if isinstance(value, str):
        result = f"CAST({quoted(value)} AS DOUBLE)"
    elif isinstance(value, Derived):
        result = value.formula(*(sql_of(operand) for operand in value.operands))
    else:
        raise TopologyError(
            f"{value.name!r} cannot be aggregated: an aggregate reads columns and numbers derived from columns"
        )
    return f"CASE WHEN isfinite({result}) THEN {result} END"


def name_of(value: Value) -> str:
    """Return the name of a column, feature or aggregate."""
    return value if isinstance(value, str) else value.name


def inputs_of(value: Value) -> tuple[str, ...]:
    """Return the columns of the events that a column, feature or aggregate reads."""
    return (value,) if isinstance(value, str) else value.inputs


def quoted(identifier: str) -> str:
    """Return a quoted SQL identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def operand_name(value: Value) -> str:
    """Return the name of an operand as part of another name, in parentheses where it would be ambiguous."""
    return value if isinstance(value, str) else f"({value.name})"


def _json_value(field: object) -> object:
    return field.declaration() if isinstance(field, Input) else field


def _float64(column: pa.Array) -> Float64s:
    if not is_number(column.type):
        return np.where(column.is_null().to_numpy(zero_copy_only=False), np.nan, 0.0)
    return doubles_of(column)
