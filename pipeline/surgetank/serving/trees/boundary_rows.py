"""Rows on which two implementations of a tree ensemble differ if they differ anywhere: at the thresholds."""

from collections.abc import Mapping, Sequence

import numpy as np

from surgetank.serving.model import Float32s
from surgetank.serving.trees.cuts import cuts_of
from surgetank.serving.trees.graph import TreeGraph
from surgetank.serving.trees.steps import Arithmetic, Columns, GraphStep, Scale

SHARE_SPECIAL = 0.1  # of the cells of a row with missing or infinite values
ROWS_MIN, ROWS_MAX = 2_000, 50_000


@np.errstate(all="ignore")
def boundary_rows(graph: TreeGraph, features: int, seed: int = 3) -> Float32s:
    """Return float32 [m, features]: random, boundary, infinite and missing rows; the same for the same seed.

    Each bound of a condition and its two float32 neighbours are in at least one row, as long as no feature has more
    than 16,000 of them; where a step before the trees scales the numbers, these are rounded. A third of the rows has
    only such numbers, a third also NaN and infinities, a third is random between and beyond the bounds.
    """
    random = np.random.default_rng(seed)
    cuts = _of_input(graph)
    near = {feature: _neighbours(each) for feature, each in cuts.items() if len(each)}
    rows = int(np.clip(max((len(each) for each in near.values()), default=0), ROWS_MIN, ROWS_MAX))
    boundary, numbers = np.zeros((rows, features), np.float32), np.zeros((rows, features), np.float32)
    for feature in range(features):
        of = near.get(feature, np.zeros(1, np.float32))
        finite = of[np.isfinite(of)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
        room = (high - low) * 0.1 + 1.0
        boundary[:, feature] = random.permutation(np.resize(random.permutation(of), rows))
        numbers[:, feature] = np.clip(random.uniform(low - room, high + room, rows), -3e38, 3e38)
    special = boundary.copy()
    chosen = random.random(special.shape) < SHARE_SPECIAL
    special[chosen] = random.choice([np.nan, np.nan, np.inf, -np.inf], int(chosen.sum()))
    whole = np.stack([np.full(features, each, np.float32) for each in (np.nan, np.inf, -np.inf, 0.0)])
    return np.concatenate([boundary, special, numbers, whole])


def _neighbours(values: Float32s) -> Float32s:
    lower, upper = np.nextafter(values, np.float32(-np.inf)), np.nextafter(values, np.float32(np.inf))
    return np.unique(np.concatenate([lower, values, upper]))


def _of_input(graph: TreeGraph) -> Mapping[int, Float32s]:
    """Return the numbers of each column of the input that the steps before the trees make bounds, rounded."""
    cuts = cuts_of(split.condition for split in graph.ensemble.splits)
    return dict(_undone(graph.before, feature, each) for feature, each in cuts.items())


def _undone(steps: Sequence[GraphStep], column: int, values: Float32s) -> tuple[int, Float32s]:
    for step in reversed(steps):
        match step:
            case Columns(taken):
                column = int(taken[column])
            case Scale(offset, scale):
                values = _times(values, 1 / scale[column % len(scale)]) + offset[column % len(offset)]
            case Arithmetic(operation, constant, reversed_) if not reversed_ or operation in {"Add", "Mul"}:
                number = constant[column % len(constant)]
                match operation:
                    case "Add":
                        values = values - number
                    case "Sub":
                        values = values + number
                    case "Mul":
                        values = _times(values, 1 / number)
                    case _:
                        values = _times(values, number)
    return column, values


def _times(values: Float32s, factor: np.float32) -> Float32s:
    return values if not np.isfinite(factor) else values * factor
