"""The compiled loops that score the rows of a matrix, in blocks of 128 rows, without the interpreter lock.

A block is coded (``cuts``), then each tree adds a weight to the sum of each row, in the order of the trees, in float32.
Which way through the trees is taken (``layout``) depends on the number of rows only. Both ways add the same weights in
the same order, so the score of a row depends on this row alone, to the last bit.
"""

import math
from typing import Any

import numpy as np
from numba import boolean, float32, int16, int32, int64, types, void

from surgetank.compiled import compiled
from surgetank.serving.trees.cuts import MISSING
from surgetank.serving.trees.ensemble import Transform
from surgetank.serving.trees.layout import DE_BRUIJN, FIRST_READ, GROUP, LAST_READ

ROWS = 128  # of a block
STEP = 32  # rows of a block are worked on in multiples of this, so that no vector is cut

NONE = int(Transform.NONE)
LOGISTIC = int(Transform.LOGISTIC)
SOFTMAX = int(Transform.SOFTMAX)
SOFTMAX_ZERO = int(Transform.SOFTMAX_ZERO)
PAIR_COMPLEMENT = int(Transform.PAIR_COMPLEMENT)
PAIR_LOGISTIC = int(Transform.PAIR_LOGISTIC)
ZERO = 1e-7  # SOFTMAX_ZERO leaves smaller numbers out
ALL_DEAD = 0xFFFF

# Of the exponential function.
LN_2, LOG2_E = 0.6931471805599453, 1.4426950408889634
SERIES = np.array([1 / math.factorial(term) for term in range(11, -1, -1)])
POWER_MAX = 1022
EXPONENT_MAX = 708.0
POWERS = 2.0 ** np.arange(-POWER_MAX, POWER_MAX + 1)

_MATRIX = types.Array(float32, 2, "C", readonly=True)


@compiled()
def _code(matrix: Any, start: Any, count: Any, bounds: Any, cuts: Any, codes: Any, values: Any, at: Any) -> None:
    """Set ``codes[feature, row]``, int16 bits, of ``count`` rows from row ``start`` of the matrix.

    A binary search without branches, for all rows at once. ``values`` and ``at`` are room for float32 and int32 [ROWS].
    """
    for feature in range(len(bounds)):
        column, first, room = bounds[feature, 0], bounds[feature, 1], bounds[feature, 2]
        for row in range(count):
            values[row] = matrix[start + row, column]
            at[row] = 0
        half = np.int32((room + 1) >> 1)
        while half > 0:
            probe = np.int32(first + half - 1)
            for row in range(count):
                below = cuts[np.uint32(probe + at[row])] < values[row]
                at[row] += half if below else np.int32(0)
            half = np.int32(half >> 1)
        for row in range(count):
            value = values[row]
            codes[feature, row] = np.int16(MISSING) if math.isnan(value) else np.int16(at[row])


@compiled()
def _walk(codes: Any, count: Any, nodes: Any, roots: Any, weights: Any, sums: Any) -> None:
    """Add the weights of the reached leaves to ``sums[target, row]``, from split to split."""
    targets = len(sums)
    for tree in range(len(roots)):
        root = roots[tree]
        for row in range(count):
            node = root
            while node >= 0:
                at = np.uint32(node)
                packed = nodes[at, 1]
                shifted = np.int16(codes[np.uint32(nodes[at, 0]), row] - (packed >> 16))
                node = nodes[at, 3] if shifted <= np.int16(packed) else nodes[at, 2]
            place = np.uint32(~node)
            for target in range(targets):
                sums[target, row] += weights[place, target]


@compiled()
def _search(codes: Any, rows: Any, tests: Any, words: Any, weights: Any, sums: Any, dead: Any, place: Any) -> None:
    """Add the weights of the reached leaves to ``sums[target, row]``, by the bits of all leaves.

    ``dead`` and ``place`` are room for uint16 and int32 [ROWS].
    """
    targets = len(sums)
    for word in range(len(words)):
        begin, end, base, flags = words[word, 0], words[word, 1], words[word, 2], words[word, 3]
        for row in range(rows):
            dead[row] = 0
        for test in range(begin, end, GROUP):
            f0, f1 = np.uint32(tests[test, 0]), np.uint32(tests[test + 1, 0])
            f2, f3 = np.uint32(tests[test + 2, 0]), np.uint32(tests[test + 3, 0])
            low0, low1, low2, low3 = tests[test, 1], tests[test + 1, 1], tests[test + 2, 1], tests[test + 3, 1]
            width0, width1 = tests[test, 2], tests[test + 1, 2]
            width2, width3 = tests[test + 2, 2], tests[test + 3, 2]
            bits0, bits1 = np.uint16(tests[test, 3]), np.uint16(tests[test + 1, 3])
            bits2, bits3 = np.uint16(tests[test + 2, 3]), np.uint16(tests[test + 3, 3])
            none = np.uint16(0)
            for row in range(rows):
                cleared = dead[row]
                cleared |= bits0 if np.int16(codes[f0, row] - low0) <= width0 else none
                cleared |= bits1 if np.int16(codes[f1, row] - low1) <= width1 else none
                cleared |= bits2 if np.int16(codes[f2, row] - low2) <= width2 else none
                cleared |= bits3 if np.int16(codes[f3, row] - low3) <= width3 else none
                dead[row] = cleared
        if flags == FIRST_READ + LAST_READ and targets == 1:
            for row in range(rows):
                sums[0, row] += weights[np.uint32(base + _lowest(dead[row])), 0]
            continue
        if flags & FIRST_READ:
            for row in range(rows):
                place[row] = base + _lowest(dead[row])
        else:
            for row in range(rows):
                found = base + _lowest(dead[row])
                place[row] = found if dead[row] != ALL_DEAD else place[row]
        if flags & LAST_READ:
            for target in range(targets):
                for row in range(rows):
                    sums[target, row] += weights[np.uint32(place[row]), target]


@compiled()
def _lowest(dead: Any) -> Any:
    """Return the place in its word of the lowest leaf that is not dead."""
    bits = np.int64(dead)
    lowest = np.uint16(~bits & (bits + 1))
    return np.uint16(np.uint16(lowest * DE_BRUIJN) >> 12)


@compiled()
def _exp(value: Any) -> Any:
    """Return e to the power of a float64, within 1e-11 relative, by its series: the same bits on every machine."""
    bounded = 0.0 if math.isnan(value) else min(max(value, -EXPONENT_MAX), EXPONENT_MAX)
    power = np.floor(bounded * LOG2_E + 0.5)
    rest = bounded - power * LN_2
    total = 0.0
    for term in range(len(SERIES)):
        total = total * rest + SERIES[term]
    return value if math.isnan(value) else total * POWERS[np.uint32(power + POWER_MAX)]


@compiled()
def _logistic(value: Any) -> Any:
    return 1.0 / (1.0 + _exp(-np.float64(value)))


@compiled()
def _transform(answer: Any, start: Any, count: Any, kind: Any) -> None:
    """Transform rows of float32 [rows, columns] in place. A pair has its sum in its first column."""
    columns = answer.shape[1]
    for row in range(start, start + count):
        if kind == LOGISTIC:
            for column in range(columns):
                answer[row, column] = _logistic(answer[row, column])
        elif kind in (SOFTMAX, SOFTMAX_ZERO):
            highest = answer[row, 0]
            for column in range(1, columns):
                highest = max(highest, answer[row, column])
            total = 0.0
            for column in range(columns):
                value = np.float64(answer[row, column])
                if kind == SOFTMAX or value > ZERO or value < -ZERO:
                    value = _exp(value - np.float64(highest))
                    total += value
                else:
                    value *= _exp(-np.float64(highest))
                answer[row, column] = value
            total = total if total != 0.0 else math.nan
            for column in range(columns):
                answer[row, column] = answer[row, column] / total
        else:
            total = np.float64(answer[row, 0])
            if kind == PAIR_COMPLEMENT:
                answer[row, 0], answer[row, 1] = np.float32(1.0) - answer[row, 0], answer[row, 0]
            elif kind == PAIR_LOGISTIC:
                answer[row, 0], answer[row, 1] = _logistic(-total), _logistic(total)
            else:
                answer[row, 0], answer[row, 1] = -total, total


@compiled(
    void(
        _MATRIX,
        types.Array(int32, 2, "C"),
        types.Array(float32, 1, "C"),
        types.Array(int32, 2, "C"),
        types.Array(int32, 1, "C"),
        types.Array(float32, 2, "C"),
        types.Array(int16, 2, "C"),
        types.Array(int32, 2, "C"),
        types.Array(float32, 1, "C"),
        float32,
        int64,
        boolean,
        types.Array(float32, 2, "C"),
    )
)
def score(
    matrix: Any,
    bounds: Any,
    cuts: Any,
    nodes: Any,
    roots: Any,
    weights: Any,
    tests: Any,
    words: Any,
    base: Any,
    divisor: Any,
    kind: Any,
    searching: Any,
    answer: Any,
) -> None:
    """Score float32 [m, F] into ``answer``, float32 [m, columns]. The arrays are those of ``Layout``.

    ``base``, ``divisor`` and ``kind`` (a ``Transform``) are those of ``Ensemble``; ``searching``: search, else walk.
    """
    targets = len(base)
    codes = np.zeros((max(1, len(bounds)), ROWS), dtype=np.int16)
    values = np.empty(ROWS, dtype=np.float32)
    at = np.empty(ROWS, dtype=np.int32)
    dead = np.empty(ROWS, dtype=np.uint16)
    sums = np.empty((targets, ROWS), dtype=np.float32)
    for start in range(0, len(matrix), ROWS):
        count = min(ROWS, len(matrix) - start)
        _code(matrix, start, count, bounds, cuts, codes, values, at)
        sums[:] = 0.0
        if searching:
            rows = (count + STEP - 1) // STEP * STEP
            _search(codes, rows, tests, words, weights, sums, dead, at)
        else:
            _walk(codes, count, nodes, roots, weights, sums)
        for target in range(targets):
            for row in range(count):
                total = sums[target, row]
                if divisor != 1:
                    total /= divisor
                answer[start + row, target] = total + base[target]
        if kind != NONE:
            _transform(answer, start, count, kind)


@compiled(void(types.Array(float32, 2, "C"), int64))
def transform(answer: Any, kind: Any) -> None:
    """Transform all rows of float32 [m, columns] in place; ``kind`` is a ``Transform`` that is no pair."""
    _transform(answer, 0, len(answer), kind)
