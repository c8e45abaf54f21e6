"""Reads over JSON values that the schema does not name, and checks that they are JSON. Compiled into the loop."""

from typing import Any

from surgetank.codec.avro.memory import load8
from surgetank.codec.json.faults import ENDS_EARLY, GOOD, NO_COLON, NO_COMMA, NO_NAME, NO_VALUE, TOO_DEEP
from surgetank.codec.json.numbers import read_number
from surgetank.codec.json.texts import QUOTE, after_space, text_end
from surgetank.compiled import compiled

OPEN_OBJECT, CLOSE_OBJECT = 0x7B, 0x7D
OPEN_ARRAY, CLOSE_ARRAY = 0x5B, 0x5D
COMMA, COLON, MINUS = 0x2C, 0x3A, 0x2D
TRUE, FALSE, NULL = 0x74, 0x66, 0x6E  # their first letters

_TRUE, _FALSE, _NULL = (tuple(b"true"), tuple(b"false"), tuple(b"null"))
_CLOSING = 2  # a closing bracket is as many behind its opening one

# What comes next in an object or array.
_VALUE, _FIRST_VALUE, _NAME, _FIRST_NAME, _SEPARATOR = range(5)


@compiled()
def after_word(at: int, end: int) -> int:
    """Return the address behind true, false or null, 0 if it is none of them."""
    first = load8(at)
    size = 5 if first == FALSE else 4
    if at + size > end:
        return 0
    for i in range(size):
        byte = load8(at + i)
        if first == FALSE:
            if byte != _FALSE[i]:
                return 0
        elif first == TRUE:
            if byte != _TRUE[i]:
                return 0
        elif byte != _NULL[i]:
            return 0
    return at + size


@compiled()
def is_digit(byte: int) -> bool:
    """Return whether a byte is one of the digits 0 to 9."""
    return 0x30 <= byte <= 0x39


@compiled()
def _after_scalar(at: int, end: int) -> tuple[int, int]:
    """Return the address behind a text, number or word, and GOOD; or where it is not valid, and the fault."""
    byte = load8(at)
    if byte == QUOTE:
        close, fault, _ = text_end(at + 1, end)
        return (close + 1 if fault == GOOD else close), fault
    if byte == MINUS or is_digit(byte):
        after, fault, _, _, _, _ = read_number(at, end)
        return after, fault
    if byte == TRUE or byte == FALSE or byte == NULL:
        after = after_word(at, end)
        if after != 0:
            return after, GOOD
    return at, NO_VALUE


@compiled()
def after_value(at: int, end: int, open_brackets: Any) -> tuple[int, int]:
    """Return the address behind the value at an address below ``end``, and GOOD; or where it is no JSON, and the fault.

    ``open_brackets`` is room, int64 [levels]: more levels are TOO_DEEP.
    """
    depth = 0
    follows = _VALUE
    while True:
        at = after_space(at, end)
        if at >= end:
            return end, ENDS_EARLY
        byte = load8(at)
        closes = depth > 0 and byte == open_brackets[depth - 1] + _CLOSING
        if closes and (follows == _SEPARATOR or follows == _FIRST_VALUE or follows == _FIRST_NAME):
            depth -= 1
            at += 1
            follows = _SEPARATOR
        elif follows == _SEPARATOR:
            if byte != COMMA:
                return at, NO_COMMA
            at += 1
            follows = _NAME if open_brackets[depth - 1] == OPEN_OBJECT else _VALUE
            continue
        elif follows == _NAME or follows == _FIRST_NAME:
            if byte != QUOTE:
                return at, NO_NAME
            close, fault, _ = text_end(at + 1, end)
            if fault != GOOD:
                return close, fault
            at = after_space(close + 1, end)
            if at >= end:
                return end, ENDS_EARLY
            if load8(at) != COLON:
                return at, NO_COLON
            at += 1
            follows = _VALUE
            continue
        elif byte == OPEN_OBJECT or byte == OPEN_ARRAY:
            if depth == len(open_brackets):
                return at, TOO_DEEP
            open_brackets[depth] = byte
            depth += 1
            at += 1
            follows = _FIRST_NAME if byte == OPEN_OBJECT else _FIRST_VALUE
            continue
        else:
            at, fault = _after_scalar(at, end)
            if fault != GOOD:
                return at, fault
            follows = _SEPARATOR
        if depth == 0:
            return at, GOOD
