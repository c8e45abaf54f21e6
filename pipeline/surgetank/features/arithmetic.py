"""Sums, differences, products and ratios of two columns, features or aggregates."""

from dataclasses import dataclass

from surgetank.features.derived import Derived, Pair, Value, operand_name
from surgetank.features.spec import Float64s


@dataclass(frozen=True, slots=True)
class Sum(Pair):
    """``left`` plus ``right``."""

    @property
    def name(self) -> str:
        """The name, for example ``left_plus_right``."""
        return f"{operand_name(self.left)}_plus_{operand_name(self.right)}"

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: the sums."""
        left, right = operands
        return left + right

    def formula(self, *operands: str) -> str:
        """Return the SQL expression."""
        left, right = operands
        return f"({left} + {right})"


@dataclass(frozen=True, slots=True)
class Difference(Pair):
    """``left`` minus ``right``."""

    @property
    def name(self) -> str:
        """The name, for example ``left_minus_right``."""
        return f"{operand_name(self.left)}_minus_{operand_name(self.right)}"

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: the differences."""
        left, right = operands
        return left - right

    def formula(self, *operands: str) -> str:
        """Return the SQL expression."""
        left, right = operands
        return f"({left} - {right})"


@dataclass(frozen=True, slots=True)
class Product(Pair):
    """``left`` times ``right``."""

    @property
    def name(self) -> str:
        """The name, for example ``left_times_right``."""
        return f"{operand_name(self.left)}_times_{operand_name(self.right)}"

    def compute(self, *operands: Float64s) -> Float64s:
        """Return float64 [m]: the products."""
        left, right = operands
        return left * right

    def formula(self, *operands: str) -> str:
        """Return the SQL expression."""
        left, right = operands
        return f"({left} * {right})"


@dataclass(frozen=True, slots=True)
class Ratio(Derived):
    """``part`` divided by ``whole``; missing where ``whole`` is 0."""

    part: Value
    whole: Value

    @property
    def name(self) -> str:
        """The name, for example ``part_per_whole``."""
        return f"{operand_name(self.part)}_per_{operand_name(self.whole)}"

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
