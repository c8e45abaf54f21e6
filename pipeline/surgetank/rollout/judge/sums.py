"""Sums of a value over keys: enough for its mean, and for the variance of the mean where rows of a key are alike.

Keys are sticky: a key is answered by one version during a step. The rows of a key are therefore no independent
evidence, the keys are. A block is a key in a window of time; a key contributes the number of its blocks n and the total
Y of a value in them. The variance of the mean sum(Y) / sum(n) follows from the residuals Y - mean n of the keys
(linearization of a ratio, Cochran 1977, section 6.3; cluster-robust in econometrics).
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeySums:
    """Sums over the keys of one version, or of two versions that answered the same rows.

    ``keys``: their number. ``blocks``: sum of n. ``total``: sum of Y, in the unit of the value. ``squares``: sum of
    Y Y. ``products``: sum of Y n. ``blocks_squared``: sum of n n. For a flag, Y is a number of blocks.
    """

    keys: int = 0
    blocks: int = 0
    total: float = 0.0
    squares: float = 0.0
    products: float = 0.0
    blocks_squared: int = 0

    def __add__(self, other: "KeySums") -> "KeySums":
        """Return the sums over the keys of both. A key that both contain counts as two."""
        return KeySums(
            self.keys + other.keys,
            self.blocks + other.blocks,
            self.total + other.total,
            self.squares + other.squares,
            self.products + other.products,
            self.blocks_squared + other.blocks_squared,
        )

    @classmethod
    def of_independent(cls, units: int, total: float, squares: float) -> "KeySums":
        """Return the sums of independent units, each a key with one block. ``squares``: sum of the squared values."""
        return cls(units, units, total, squares, total, units)

    @property
    def mean(self) -> float:
        """The mean of the value per block; 0 without blocks."""
        return self.total / self.blocks if self.blocks else 0.0

    @property
    def variance_of_mean(self) -> float:
        """The variance of ``mean``, with keys as the independent units; infinite for fewer than two keys."""
        if self.keys < 2:
            return math.inf
        return self.residual_squares(self.mean) * self.keys / (self.keys - 1) / self.blocks**2

    def residual_squares(self, mean: float) -> float:
        """Return the sum over keys of (Y - mean n) squared, at least 0."""
        return max(0.0, self.squares - 2 * mean * self.products + mean * mean * self.blocks_squared)


NO_KEYS = KeySums()


def design_effect(first: KeySums, second: KeySums) -> float:
    """Return by which factor a flag's counts have more variance than counts of independent blocks; at least 1.

    Rao and Scott 1992, with the mean of both versions, so that it holds where both are alike. Divide counts by it.
    """
    both = first + second
    mean = both.mean
    expected = both.blocks * mean * (1 - mean)
    return max(1.0, both.residual_squares(mean) / expected) if expected > 0 else 1.0
