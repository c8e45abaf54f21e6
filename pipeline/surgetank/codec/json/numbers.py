"""JSON numbers read from memory, exactly: 64-bit integers, and doubles rounded to nearest. Compiled into the loop."""

from typing import Any

import numpy as np
from numba import float64, int64, types

from surgetank.codec.avro.memory import load8, store8
from surgetank.codec.json.faults import BAD_NUMBER, GOOD
from surgetank.compiled import compiled

_MINUS, _PLUS, _POINT, _ZERO, _NINE, _E = 0x2D, 0x2B, 0x2E, 0x30, 0x39, 0x65
_LOWEST = -0x8000000000000000
_DIGITS = 19  # significant digits, which fit 64 bits without a sign
_EXPONENT_MAX = 1_000_000_000  # larger ones are read as this one: the number is zero or infinite anyway

# Up to here mantissa and power of ten are exact doubles, so that one operation rounds the number correctly.
_MANTISSA_MAX = 2**53
_POWER_MAX = 22
_POWERS = tuple(10.0**k for k in range(_POWER_MAX + 1))

# No point halfway between two doubles has more significant digits than 767: of digits behind these it only matters
# whether all are 0.
_DIGITS_MAX = 800
ROOM = _DIGITS_MAX + 48  # bytes of scratch memory for ``to_double``

# The C library's function, with addresses as integers. It is called without a point, the only sign that is local.
_strtod: Any = types.ExternalFunction("strtod", float64(int64, int64))


@compiled()
def read_number(at: int, end: int) -> tuple[int, int, int, int, bool, bool]:
    """Read a number, which begins with a digit or a minus; what follows it is the caller's concern.

    Return the address behind it, GOOD, its first 19 significant digits as a number of 64 bits without a sign, the
    exponent of ten of its last digit (also if there are more digits than 19), whether it has no digits behind these,
    and whether it has neither fraction nor exponent. If it is not valid, return where, BAD_NUMBER, 0, 0, False, False.
    """
    if at < end and load8(at) == _MINUS:
        at += 1
    first = at
    mantissa = 0
    digits = 0  # significant ones
    exponent = 0
    while at < end and _ZERO <= load8(at) <= _NINE:
        if digits < _DIGITS:
            mantissa = 10 * mantissa + load8(at) - _ZERO
        if digits > 0 or load8(at) != _ZERO:
            digits += 1
        at += 1
    if at == first or (load8(first) == _ZERO and at > first + 1):
        return at, BAD_NUMBER, 0, 0, False, False
    whole = True
    if at < end and load8(at) == _POINT:
        whole = False
        at += 1
        first = at
        while at < end and _ZERO <= load8(at) <= _NINE:
            if digits < _DIGITS:
                mantissa = 10 * mantissa + load8(at) - _ZERO
            if digits > 0 or load8(at) != _ZERO:
                digits += 1
            at += 1
        if at == first:
            return at, BAD_NUMBER, 0, 0, False, False
        exponent = first - at
    if at < end and (load8(at) | 0x20) == _E:
        whole = False
        at += 1
        negative = at < end and load8(at) == _MINUS
        if at < end and (load8(at) == _MINUS or load8(at) == _PLUS):
            at += 1
        first = at
        power = 0
        while at < end and _ZERO <= load8(at) <= _NINE:
            power = min(10 * power + load8(at) - _ZERO, _EXPONENT_MAX)
            at += 1
        if at == first:
            return at, BAD_NUMBER, 0, 0, False, False
        exponent += -power if negative else power
    return at, GOOD, mantissa, exponent, digits <= _DIGITS, whole


@compiled()
def fits_long(mantissa: int, exact: bool, negative: bool) -> bool:
    """Return whether a whole number is one of 64 bits with a sign."""
    return exact and (mantissa >= 0 or (negative and mantissa == _LOWEST))


@compiled()
def to_double(begin: int, stop: int, mantissa: int, exponent: int, exact: bool, scratch: int) -> float:
    """Return a number that ``read_number`` read from ``begin`` to ``stop`` as the nearest double; ties to even.

    It is infinite if it is too large. ``scratch`` is the address of ROOM bytes.
    """
    negative = load8(begin) == _MINUS
    if exact and (mantissa == 0 or (0 < mantissa <= _MANTISSA_MAX and -_POWER_MAX <= exponent <= _POWER_MAX)):
        number = float(mantissa)
        if mantissa != 0:
            number = number * _POWERS[exponent] if exponent >= 0 else number / _POWERS[-exponent]
        return -number if negative else number
    return _any_double(begin, stop, exponent, scratch)


@compiled()
def _any_double(begin: int, stop: int, exponent: int, scratch: int) -> float:
    """Do the same for any number: write its digits as a whole number with an exponent, and let the C library read."""
    at, digits, dropped, rest = scratch, 0, 0, 0
    if load8(begin) == _MINUS:
        store8(at, _MINUS)
        at += 1
        begin += 1
    while begin < stop:
        byte = load8(begin)
        begin += 1
        if byte == _POINT:
            continue
        if byte < _ZERO or byte > _NINE:
            break
        if digits == 0 and byte == _ZERO:
            continue
        if digits < _DIGITS_MAX:
            store8(at, byte)
            at += 1
            digits += 1
        else:
            dropped += 1
            rest |= byte - _ZERO
    exponent += dropped
    if rest != 0:  # one digit more, for what follows is larger than 0
        store8(at, _ZERO + 1)
        at += 1
        exponent -= 1
    elif digits == 0:
        store8(at, _ZERO)
        at += 1
    store8(at, _E)
    store8(at + 1, _MINUS if exponent < 0 else _PLUS)
    at += 2
    size = abs(exponent)
    places = 1
    while size >= 10**places:
        places += 1
    for i in range(places):
        store8(at + places - 1 - i, _ZERO + size % 10)
        size //= 10
    store8(at + places, 0)
    number: float = _strtod(scratch, 0)
    return number


@compiled()
def bits_of(number: float) -> int:
    """Return the 64 bits of a double."""
    return int(np.float64(number).view(np.int64))


@compiled()
def bits_of_float(number: float) -> int:
    """Return the 32 bits of the float nearest to a double."""
    return int(np.float32(number).view(np.int32))
