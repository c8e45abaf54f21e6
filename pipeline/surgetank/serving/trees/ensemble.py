"""A tree ensemble as a value: splits, leaves, sums, and the transform of the sums.

It keeps the meaning of ONNX Runtime: branches compare in float32, the weights of a target are added in float32 in the
order of the trees, and base values are added at the end. So its sums are those of ONNX Runtime to the last bit.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from surgetank.errors import ModelError
from surgetank.serving.model import Float32s

INFINITE = math.inf


class CannotCompile(ModelError):  # noqa: N818 - the name is what happened
    """A graph that the compiled loops cannot score; the message is the cause."""


class Transform(IntEnum):
    """What becomes of the sums of a row. The pairs make two columns, no and yes, from one sum."""

    NONE = 0
    LOGISTIC = 1
    SOFTMAX = 2
    SOFTMAX_ZERO = 3
    PAIR_COMPLEMENT = 4  # [1 - s, s]
    PAIR_LOGISTIC = 5  # [logistic(-s), logistic(s)]
    PAIR_SIGNED = 6  # [-s, s]

    @property
    def is_pair(self) -> bool:
        """Whether one sum becomes two columns."""
        return self >= Transform.PAIR_COMPLEMENT


@dataclass(frozen=True, slots=True)
class ValueRange:
    """The numbers above ``low`` up to and including ``high``. A bound of None is none: infinities are included."""

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class SplitCondition:
    """A test of one feature: a number in one of the intervals (ascending, disjoint) passes; NaN if ``missing``."""

    feature: int
    intervals: tuple[ValueRange, ...]
    missing: bool


@dataclass(frozen=True, slots=True)
class Split:
    """An inner node. A child is the index of a split, or ``~index`` of a leaf."""

    condition: SplitCondition
    passed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Trees over float32 [features]. A root is the index of a split, or ``~index`` of a leaf.

    ``weights`` is float32 [leaves, targets], ``base`` float32 [targets]. The sums are divided by ``divisor`` before
    the base values are added; 1 for a sum, the number of trees for an average.
    """

    features: int
    roots: tuple[int, ...]
    splits: tuple[Split, ...]
    weights: Float32s
    base: Float32s
    divisor: float
    transform: Transform

    @property
    def columns(self) -> int:
        """The number of columns of an answer."""
        return 2 if self.transform.is_pair else len(self.base)


def condition(mode: str, feature: int, values: Iterable[float], *, missing: bool) -> SplitCondition:
    """Return the condition of an ONNX node. ``values`` is the threshold, or the members of a set.

    NaN passes BRANCH_NEQ, as every number does that is unequal. Raises CannotCompile for an unknown mode and for NaN as
    a threshold.
    """
    thresholds = [float(np.float32(value)) + 0.0 for value in values]  # + 0.0: zero has no sign
    if any(math.isnan(value) for value in thresholds):
        raise CannotCompile(f"a node compares feature {feature} with NaN")
    if mode == "BRANCH_MEMBER":
        return SplitCondition(feature, _joined(ValueRange(_below(value), value) for value in thresholds), missing)
    (value,) = thresholds
    below = _below(value)
    match mode:
        case "BRANCH_LEQ":
            intervals: tuple[ValueRange, ...] = (ValueRange(None, value),)
        case "BRANCH_LT":
            intervals = () if below is None else (ValueRange(None, below),)
        case "BRANCH_GTE":
            intervals = (ValueRange(below, None),)
        case "BRANCH_GT":
            intervals = () if value == INFINITE else (ValueRange(value, None),)
        case "BRANCH_EQ":
            intervals = (ValueRange(below, value),)
        case "BRANCH_NEQ":
            lower = () if below is None else (ValueRange(None, below),)
            intervals = lower if value == INFINITE else (*lower, ValueRange(value, None))
            missing = True
        case _:
            raise CannotCompile(f"nodes of the mode {mode!r} are not known")
    return SplitCondition(feature, intervals, missing)


def _below(value: float) -> float | None:
    """Return the next lower float32, None below minus infinity."""
    return None if value == -INFINITE else float(np.nextafter(np.float32(value), np.float32(-INFINITE)))


def _joined(intervals: Iterable[ValueRange]) -> tuple[ValueRange, ...]:
    """Return the intervals of single numbers, ascending and each once."""
    ordered = sorted(set(intervals), key=lambda each: -INFINITE if each.high is None else each.high)
    return tuple(ordered)
