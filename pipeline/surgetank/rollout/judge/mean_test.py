"""A confidence sequence for a mean, or for a difference of two means: an interval that holds at every look.

Asymptotic, with Robbins' normal mixture (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024): with n units, the
standard deviation sd of one, and r^2 = (-2 ln alpha + ln(1 - 2 ln alpha)) / n_opt,

    margin = sd sqrt(2 (n r^2 + 1) / (n^2 r^2) ln(sqrt(n r^2 + 1) / alpha)).
"""

import math
from dataclasses import dataclass

from surgetank.rollout.judge.sums import KeySums

UNITS_AT_VERDICT = 2000  # n_opt; the margin is within a tenth of the best from 700 to 10,000 units
KEYS_MIN = 30  # of each version: with fewer keys, their variance is not known well enough


@dataclass(frozen=True, slots=True)
class ConfidenceInterval:
    """An estimate and its margin, both in the unit of the value. The margin is infinite where too little is known."""

    estimate: float
    margin: float

    @property
    def low(self) -> float:
        """The lower bound."""
        return self.estimate - self.margin

    @property
    def high(self) -> float:
        """The upper bound."""
        return self.estimate + self.margin


def margin(variance: float, units: float, alpha: float, units_at_verdict: float = UNITS_AT_VERDICT) -> float:
    """Return the margin of an estimate with this ``variance`` (sd^2 / n), after n ``units``.

    The interval holds at all looks together with probability 1 - ``alpha``; it is two-sided. It is narrowest, relative
    to the best for one look, after ``units_at_verdict``, which must not change during a test.
    """
    spent = -2 * math.log(alpha)
    x = units * (spent + math.log1p(spent)) / units_at_verdict  # n r^2
    return math.sqrt(variance * 2 * (x + 1) / x * (0.5 * math.log1p(x) - math.log(alpha)))


def mean(sums: KeySums, alpha: float) -> ConfidenceInterval:
    """Return the interval of a mean per block, with keys as independent units."""
    if sums.keys < KEYS_MIN:
        return ConfidenceInterval(sums.mean, math.inf)
    return ConfidenceInterval(sums.mean, margin(sums.variance_of_mean, sums.blocks, alpha))


def difference(candidate: KeySums, primary: KeySums, alpha: float) -> ConfidenceInterval:
    """Return the interval of the candidate's mean minus the primary's, from two groups of keys."""
    estimate = candidate.mean - primary.mean
    if min(candidate.keys, primary.keys) < KEYS_MIN:
        return ConfidenceInterval(estimate, math.inf)
    units = 1 / (1 / candidate.blocks + 1 / primary.blocks)
    return ConfidenceInterval(estimate, margin(candidate.variance_of_mean + primary.variance_of_mean, units, alpha))


def rate_difference(candidate: KeySums, primary: KeySums, alpha: float) -> ConfidenceInterval:
    """Return the interval of a difference of rates of flagged blocks.

    Each version gets one flagged and one other block more (Agresti and Caffo 2000): without them, no error at all
    would seem to be certainty.
    """
    more = KeySums.of_independent(2, 1, 1)
    return difference(candidate + more, primary + more, alpha)


def paired_rate(sums: KeySums, alpha: float) -> ConfidenceInterval:
    """Return the interval of a mean of differences -1, 0, 1; one of each sign is added, for the same reason."""
    return mean(sums + KeySums.of_independent(2, 0, 2), alpha)
