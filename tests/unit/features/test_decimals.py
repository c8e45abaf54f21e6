"""Decimals as numbers: equal to what Python's decimal module says of each value."""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.features.decimals import decimals_as_doubles

DIGITS_MAX = 76


def exact(unscaled: int, scale: int) -> Decimal:
    """Return the decimal, without rounding."""
    with localcontext() as context:
        context.prec = DIGITS_MAX + 1
        return Decimal(unscaled).scaleb(-scale)


def column_of(values: Sequence[Decimal | None], precision: int, scale: int) -> pa.Array:
    """Return a column of the type that a field of this precision has."""
    dtype = pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    return pa.array(values, dtype)


@st.composite
def decimals(draw: st.DrawFn) -> tuple[int, int, list[int | None]]:
    """Draw a precision, a scale, and whole numbers of so many digits, many of them next to a tie of two doubles."""
    precision = draw(st.integers(1, DIGITS_MAX))
    scale = draw(st.integers(0, precision))
    bound: int = 10**precision - 1

    def near_tie(significand: int, exponent: int, off: int) -> int:
        tie = (2 * (2**52 + significand) + 1) * 10**scale  # times 2 ** exponent, divided by 10 ** scale
        number: int = tie << exponent if exponent >= 0 else tie >> -exponent
        return min(bound, number + off)

    ties = st.builds(near_tie, st.integers(0, 2**52 - 1), st.integers(-200, 130), st.integers(-1, 1))
    numbers = st.one_of(st.integers(-bound, bound), ties, ties.map(lambda number: -number), st.sampled_from([0, bound]))
    return precision, scale, draw(st.lists(st.one_of(st.none(), numbers), min_size=1, max_size=20))


@settings(max_examples=500, deadline=None)
@given(decimals())
def test_decimals_are_the_doubles_of_the_decimal_module(drawn: tuple[int, int, list[int | None]]) -> None:
    """Each is the nearest double, bit for bit, and null is NaN."""
    precision, scale, numbers = drawn
    values = [None if number is None else exact(number, scale) for number in numbers]
    expected = np.array([np.nan if value is None else float(value) for value in values])
    assert np.array_equal(decimals_as_doubles(column_of(values, precision, scale)), expected, equal_nan=True)


@pytest.mark.parametrize("precision", [38, 76])
@pytest.mark.parametrize("scale", [0, 1, 18, 22, 23, 38])
def test_the_largest_and_the_smallest_decimals_of_a_type(precision: int, scale: int) -> None:
    """They fill the words of the division."""
    numbers = [10**precision - 1, 1 - 10**precision, 1, -1, 2**53 + 1, 2**64 - 1, 2**64, -(2**64), 0]
    values = [exact(number, scale) for number in numbers]
    assert decimals_as_doubles(column_of(values, precision, scale)).tolist() == [float(value) for value in values]


@pytest.mark.parametrize("scale", range(23))
@pytest.mark.parametrize("bits", [64, 80, 104, 105, 106, 107, 120])
def test_decimals_next_to_a_tie_of_two_doubles(scale: int, bits: int) -> None:
    """The last digit decides, also where two doubles together have just the bits of the number, or too few."""
    random = Random(f"{scale}/{bits}")
    numbers = []
    for _ in range(100):
        odd = random.randrange(2**53 + 1, 2**54, 2)  # halfway between two doubles
        shift = bits - (odd * 10**scale).bit_length()
        tie = odd * 10**scale << shift if shift >= 0 else odd * 10**scale >> -shift
        numbers += [tie - 1, tie, tie + 1, -tie]
    values = [exact(number, scale) for number in numbers]
    expected = [number / 10**scale for number in numbers]  # Python divides whole numbers exactly, and rounds once
    assert decimals_as_doubles(column_of(values, 38, scale)).tolist() == expected


def test_a_division_with_equal_words_borrows_through_them() -> None:
    """The second word of three that are subtracted is the same in both numbers."""
    number = (5**76 << 19) + 2**192 - 2**64
    values = [exact(number, DIGITS_MAX), exact(-(2**128), DIGITS_MAX)]
    assert decimals_as_doubles(column_of(values, 76, 76)).tolist() == [float(value) for value in values]


def test_a_slice_of_decimals_and_no_decimals() -> None:
    """A column may begin in the middle of its memory, and may be empty."""
    column = column_of([Decimal("1.50"), None, Decimal("-0.07"), Decimal("9.99")], 5, 2)
    assert decimals_as_doubles(column[2:]).tolist() == [-0.07, 9.99]
    assert np.isnan(decimals_as_doubles(column[1:2])).all()
    assert decimals_as_doubles(column[:0]).tolist() == []
