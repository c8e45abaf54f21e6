"""Conditions on the columns of an event: 1 where they hold, 0 where they do not, missing where that is not known.

They are features, and say which events a pipeline takes and scores: ``Events(only=...)``, ``Pipeline(score_only=...)``.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.errors import TopologyError
from surgetank.features.derived import Derived, Pair, Value, operand_name
from surgetank.features.spec import Feature, Float32s, Float64s
from surgetank.features.string_columns import is_string, without_dictionary


@dataclass(frozen=True, slots=True)
class OneOf(Feature):
    """1 where a text is one of ``texts``, else 0; missing for null."""

    field: str
    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        given: object = self.texts
        if isinstance(given, str):
            raise TopologyError(f"one of {self.field!r}: texts is one text; write ({given!r},)")
        object.__setattr__(self, "texts", tuple(self.texts))
        if not self.texts:
            raise TopologyError(f"one of {self.field!r}: there are no texts")

    @property
    def name(self) -> str:
        """The name, for example ``country_in_NL_BE``."""
        return f"{self.field}_in_{'_'.join(self.texts)}"

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
        """Return float32 [m]: 0 and 1, NaN for null."""
        texts = without_dictionary(columns.column(self.field))
        found = pc.is_in(texts, pa.array(self.texts, texts.type)).to_numpy(zero_copy_only=False).astype(np.float32)
        if texts.null_count:
            found[texts.is_null().to_numpy(zero_copy_only=False)] = np.nan
        return found  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class And(Pair):
    """1 where both conditions hold, 0 where one does not; else missing. A number other than 0 holds."""

    @property
    def name(self) -> str:
        """The name, for example ``(amount_above_500)_and_(country_in_NL)``."""
        return f"{operand_name(self.left)}_and_{operand_name(self.right)}"

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: 0 and 1, NaN where missing."""
        left, right = operands
        unknown = np.isnan(left) | np.isnan(right)
        return np.where((left == 0) | (right == 0), 0.0, np.where(unknown, np.nan, 1.0))

    def formula(self, *operands: str) -> str:
        """Return the SQL expression."""
        left, right = operands
        return f"CAST(({left} <> 0) AND ({right} <> 0) AS DOUBLE)"


@dataclass(frozen=True, slots=True)
class Or(Pair):
    """1 where one of two conditions holds, 0 where both do not; else missing. A number other than 0 holds."""

    @property
    def name(self) -> str:
        """The name, for example ``(amount_above_500)_or_(country_in_NL)``."""
        return f"{operand_name(self.left)}_or_{operand_name(self.right)}"

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: 0 and 1, NaN where missing."""
        left, right = operands
        holds = (~np.isnan(left) & (left != 0)) | (~np.isnan(right) & (right != 0))
        unknown = np.isnan(left) | np.isnan(right)
        return np.where(holds, 1.0, np.where(unknown, np.nan, 0.0))

    def formula(self, *operands: str) -> str:
        """Return the SQL expression."""
        left, right = operands
        return f"CAST(({left} <> 0) OR ({right} <> 0) AS DOUBLE)"


@dataclass(frozen=True, slots=True)
class Not(Derived):
    """1 where a condition does not hold, 0 where it holds; missing where that is not known."""

    condition: Value

    @property
    def name(self) -> str:
        """The name, for example ``not_(amount_above_500)``."""
        return f"not_{operand_name(self.condition)}"

    @property
    def operands(self) -> tuple[Value, ...]:
        """The condition."""
        return (self.condition,)

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: 0 and 1, NaN where missing."""
        return np.where(np.isnan(operands[0]), np.nan, operands[0] == 0)

    def formula(self, *operands: str) -> str:
        """Return the SQL expression."""
        return f"CAST({operands[0]} = 0 AS DOUBLE)"
