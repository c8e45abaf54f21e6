"""Decimals as doubles: the double nearest to each decimal, ties to even, as Python's ``float(Decimal(...))``.

A decimal is a whole number of up to 256 bits divided by a power of ten. Where both are exact doubles, one division
rounds correctly. Up to 106 bits, the quotient is computed as the sum of two doubles, with an error far below the last
bit of the first: it is rounded unless a tie is within the error. All others take a long division, bit by bit.
"""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import float64, int64, types, uint64

from surgetank.compiled import compiled

Float64s = npt.NDArray[np.float64]

_WORD = 64
_ONE = np.uint64(1)
_TOP = np.uint64(1 << (_WORD - 1))
_ALL = np.uint64(2**_WORD - 1)
_EXACT_MAX = np.uint64(2**53)
_EXACT_POWER_MAX = 22  # the largest power of ten that is a double
_HIDDEN_BITS = np.uint64(11)  # of 64 bits, 53 fit a double
_HALF = np.uint64(1 << 10)
_BELOW = np.uint64((1 << 11) - 1)
_PAIR_MAX = np.uint64(1 << 42)  # of the second word: numbers of 106 bits are sums of two doubles
_LOW_HALF, _HALF_WORD = np.uint64(0xFFFFFFFF), np.uint64(32)
_WORD_POWER = 2.0**64
_SPLIT = 2.0**27 + 1  # splits a double into two of 26 bits
_PAIR_ERROR = 2.0**-90  # bounds the relative error of a quotient of sums of two doubles, about 2 ** -104

_words = types.Array(uint64, 1, "C", readonly=True)
_table = types.Array(uint64, 2, "C", readonly=True)
_double = types.Array(float64, 1, "C")


@compiled()
def _bits(words: Any) -> int:
    """Return the number of bits of a number, its lowest word first; 0 for 0."""
    for at in range(len(words) - 1, -1, -1):
        word = words[at]
        if word != 0:
            bits = _WORD * at
            while word != 0:
                word = word >> _ONE
                bits += 1
            return bits
    return 0


@compiled()
def _shift(words: Any, places: int) -> None:
    """Shift a number to the left; the bits that leave are 0."""
    whole = places // _WORD
    rest = np.uint64(places % _WORD)
    for at in range(len(words) - 1, -1, -1):
        shifted = words[at - whole] << rest if at >= whole else np.uint64(0)
        if rest != 0 and at > whole:
            shifted |= words[at - whole - 1] >> np.uint64(_WORD) - rest
        words[at] = shifted


@compiled()
def _subtract(words: Any, other: Any) -> bool:
    """Subtract another number of as many words if it is not the larger one; return whether it was not."""
    for at in range(len(words) - 1, -1, -1):
        if words[at] != other[at]:
            if words[at] < other[at]:
                return False
            break
    borrow = np.uint64(0)
    for at in range(len(words)):
        word = words[at]
        less = word - other[at] - borrow
        borrow = _ONE if other[at] > word or (other[at] == word and borrow != 0) else np.uint64(0)
        words[at] = less
    return True


@compiled()
def _quotient(rest: Any, divisor: Any, odd_power: Any, scale: int) -> float:
    """Return ``rest`` / 10 ** ``scale``, rounded once. ``rest`` is not 0; it and 5 ** scale leave the last word empty.

    ``divisor`` takes 5 ** ``scale``, which is in ``odd_power``. Both numbers change.
    """
    for at in range(len(divisor)):
        divisor[at] = odd_power[at]
    aligned = _bits(rest) - _bits(divisor)
    if aligned > 0:
        _shift(divisor, aligned)
    else:
        _shift(rest, -aligned)
    exponent = aligned - scale  # of the first bit of the quotient
    if not _subtract(rest, divisor):  # the first bit is 0: the next one is 1
        _shift(rest, 1)
        exponent -= 1
        _subtract(rest, divisor)
    found = _ONE
    for _ in range(_WORD - 1):
        _shift(rest, 1)
        found = found << _ONE
        if _subtract(rest, divisor):
            found |= _ONE
    kept, cut = found >> _HIDDEN_BITS, found & _BELOW
    left = _bits(rest) != 0
    if cut > _HALF or (cut == _HALF and (left or kept & _ONE != 0)):
        kept += _ONE
    return float(np.int64(kept)) * 2.0 ** (exponent - 52)


@compiled()
def _two_product(one: float, other: float) -> tuple[float, float]:
    """Return the product of two doubles as the sum of two doubles, exactly."""
    product = one * other
    split = _SPLIT * one
    one_high = split - (split - one)
    one_low = one - one_high
    split = _SPLIT * other
    other_high = split - (split - other)
    other_low = other - other_high
    rest = one_low * other_low - (((product - one_high * other_high) - one_low * other_high) - one_high * other_low)
    return product, rest


@compiled()
def _pair_quotient(first: Any, second: Any, power: float) -> float:
    """Return the whole number of two words, the lowest first, of 106 bits, / ``power``; -1.0 if a tie may be near."""
    upper = float(np.int64(second)) * _WORD_POWER
    middle = float(np.int64(first >> _HALF_WORD)) * 2.0**32
    high = upper + middle
    low = (middle - (high - upper)) + float(np.int64(first & _LOW_HALF))
    quotient = high / power
    product, product_rest = _two_product(quotient, power)
    correction = (((high - product) - product_rest) + low) / power
    error = quotient * _PAIR_ERROR
    rounded = quotient + (correction - error)
    return rounded if rounded == quotient + (correction + error) else -1.0


@compiled(types.void(_table, int64, _words, float64, _double))
def _to_doubles(numbers: Any, scale: int, odd_power: Any, power: float, found: Any) -> None:
    """Write the double of each row of ``numbers``, uint64 [n, words], two's complement, the lowest word first."""
    width = numbers.shape[1]
    top = width - 1
    rest, divisor = np.empty(width + 1, dtype=np.uint64), np.empty(width + 1, dtype=np.uint64)
    for row in range(len(numbers)):
        negative = numbers[row, top] >= _TOP
        carry = _ONE
        used = 0  # the last word that is not 0
        for at in range(width):
            word = numbers[row, at]
            if negative:
                word = (word ^ _ALL) + carry
                carry = _ONE if carry != 0 and word == 0 else np.uint64(0)
            rest[at] = word
            if word != 0:
                used = at
        rest[width] = 0
        if used == 0 and rest[0] <= _EXACT_MAX and (scale <= _EXACT_POWER_MAX or rest[0] == 0):
            number = float(np.int64(rest[0])) / power
        else:
            number = -1.0
            if scale <= _EXACT_POWER_MAX and used <= 1 and rest[1] < _PAIR_MAX:
                number = _pair_quotient(rest[0], rest[1], power)
            if number < 0:
                number = _quotient(rest, divisor, odd_power, scale)
        found[row] = -number if negative else number


def decimals_as_doubles(column: pa.Array) -> Float64s:
    """Return float64 [m]: the double nearest to each decimal of 128 or 256 bits, NaN for null."""
    width, scale = column.type.bit_width // _WORD, column.type.scale
    found = np.empty(len(column))
    if len(column):
        words = np.frombuffer(column.buffers()[1], np.uint64, width * len(column), 8 * width * column.offset)
        _to_doubles(words.reshape(-1, width), scale, _odd_power(width, scale), 10.0**scale, found)
    if column.null_count:
        found[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return found


@cache
def _odd_power(width: int, scale: int) -> npt.NDArray[np.uint64]:
    """Return 5 ** ``scale`` in one word more than ``width``, the lowest first."""
    return np.frombuffer((5**scale).to_bytes(8 * (width + 1), "little"), dtype=np.uint64)
