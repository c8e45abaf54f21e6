"""The codes of numbers decide every condition as the numbers do."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.serving.trees.cuts import CUTS_MAX, MISSING, cuts_of, failing_ranges, positions
from surgetank.serving.trees.ensemble import CannotCompile, SplitCondition, ValueRange, condition

OPERATORS = {
    "BRANCH_LEQ": lambda x, t: x <= t,
    "BRANCH_LT": lambda x, t: x < t,
    "BRANCH_GTE": lambda x, t: x >= t,
    "BRANCH_GT": lambda x, t: x > t,
    "BRANCH_EQ": lambda x, t: x == t,
    "BRANCH_NEQ": lambda x, t: x != t,
}
numbers = st.floats(width=32, allow_nan=False)
few = st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf]), numbers)


@given(
    tests=st.lists(st.tuples(st.sampled_from(sorted(OPERATORS)), few, st.booleans()), min_size=1, max_size=6),
    members=st.lists(few, max_size=4),
    more=st.lists(st.floats(width=32), max_size=10),
)
def test_a_code_fails_where_its_number_fails(
    tests: list[tuple[str, float, bool]], members: list[float], more: list[float]
) -> None:
    """For each mode: numbers at the thresholds, beside them, anywhere, infinite, and NaN."""
    made = [condition(mode, 0, [threshold], missing=missing) for mode, threshold, missing in tests]
    made.append(condition("BRANCH_MEMBER", 0, members, missing=False))
    cuts = cuts_of(made).get(0, np.zeros(0, np.float32))
    place = positions({0: cuts})[0]
    special = [math.inf, -math.inf, math.nan]
    at = np.array([*(threshold for _, threshold, _ in tests), *members, *more, *special], np.float32)
    with np.errstate(over="ignore"):
        values = np.concatenate([at, np.nextafter(at, np.float32(np.inf)), np.nextafter(at, np.float32(-np.inf))])
    for value in values:
        code = MISSING if np.isnan(value) else int((cuts < value).sum())
        failed = [any((code - low) % 65_536 <= width for low, width in failing_ranges(each, place)) for each in made]
        expected = [
            not (missing if np.isnan(value) and mode != "BRANCH_NEQ" else OPERATORS[mode](value, np.float32(threshold)))
            for mode, threshold, missing in tests
        ]
        expected.append(not any(value == np.float32(member) for member in members))
        assert failed == expected


def test_a_condition_on_a_threshold_fails_on_one_range() -> None:
    """So that a search makes one test for it, whatever NaN does; but for two ranges a set needs two."""
    place = {1.0: 0, 2.0: 1}
    for missing in (False, True):
        for intervals in ((ValueRange(None, 1.0),), (ValueRange(1.0, None),)):
            assert len(failing_ranges(SplitCondition(0, intervals, missing), place)) == 1
    assert len(failing_ranges(SplitCondition(0, (ValueRange(1.0, 2.0),), missing=False), place)) == 1
    assert len(failing_ranges(SplitCondition(0, (ValueRange(1.0, 2.0),), missing=True), place)) == 2


def test_too_many_thresholds_of_a_feature_are_refused() -> None:
    """A code has 16 bits."""
    many = np.nextafter(np.arange(1, CUTS_MAX + 2, dtype=np.float32), np.float32(0))
    with pytest.raises(CannotCompile, match="feature 3 has 65,535 distinct thresholds"):
        cuts_of(condition("BRANCH_LEQ", 3, [value], missing=False) for value in many)
