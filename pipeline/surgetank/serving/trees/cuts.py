"""Turns the numbers of a feature into 16-bit codes, and conditions on numbers into ranges of codes.

The cuts of a feature are the bounds of its conditions, ascending. The code of a number is how many cuts lie below it,
so ``x <= cuts[i]`` is ``code <= i``, exactly. NaN has the code 65,535. A range of codes may wrap around from 65,535 to
0, so most conditions fail on one range, NaN included.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from surgetank.serving.model import Float32s
from surgetank.serving.trees.ensemble import CannotCompile, SplitCondition

MISSING = 65_535
CUTS_MAX = MISSING - 1
FEATURES_MAX = 32_767


class CodeRange(NamedTuple):
    """The codes ``low``, ``low + 1``, ..., ``low + width``, modulo 65,536."""

    low: int
    width: int


def cuts_of(conditions: Iterable[SplitCondition]) -> dict[int, Float32s]:
    """Return the cuts, float32 ascending, of each tested feature. Raises CannotCompile if there are too many."""
    found: dict[int, set[float]] = defaultdict(set)
    for each in conditions:
        bounds = (bound for interval in each.intervals for bound in (interval.low, interval.high))
        found[each.feature].update(bound for bound in bounds if bound is not None)
    for feature, cuts in found.items():
        if len(cuts) > CUTS_MAX:
            raise CannotCompile(f"feature {feature} has {len(cuts):,} distinct thresholds, more than {CUTS_MAX:,}")
    if len(found) > FEATURES_MAX:
        raise CannotCompile(f"{len(found):,} features are tested, more than {FEATURES_MAX:,}")
    return {feature: np.array(sorted(cuts), dtype=np.float32) for feature, cuts in sorted(found.items())}


def positions(cuts: Mapping[int, Float32s]) -> dict[int, dict[float, int]]:
    """Return the position of each cut of each feature."""
    return {feature: {cut: at for at, cut in enumerate(values.tolist())} for feature, values in cuts.items()}


def failing_ranges(condition: SplitCondition, place: Mapping[float, int]) -> list[CodeRange]:
    """Return the disjoint ranges of the codes that fail a condition; ``place``: positions of its feature's cuts."""
    passing = [
        (
            0 if interval.low is None else place[interval.low] + 1,
            MISSING - 1 if interval.high is None else place[interval.high],
        )
        for interval in condition.intervals
    ]
    if condition.missing:
        passing.append((MISSING, MISSING))
    failing, start = [], 0
    for low, high in passing:
        if low > start:
            failing.append((start, low - 1))
        start = high + 1
    if start <= MISSING:
        failing.append((start, MISSING))
    if len(failing) > 1 and failing[0][0] == 0 and failing[-1][1] == MISSING:
        (_, first_high), (last_low, _) = failing[0], failing.pop()
        failing[0] = (last_low, first_high + MISSING + 1)
    return [CodeRange(low, high - low) for low, high in failing]
