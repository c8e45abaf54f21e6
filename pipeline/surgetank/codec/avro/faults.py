"""What can be wrong with a value, as numbers in the compiled loops and as text for people."""

from typing import NamedTuple

# Why a row cannot be decoded.
GOOD = 0
TRUNCATED = 1
TOO_MANY_BYTES = 2
OVER_64_BITS = 3
OVER_32_BITS = 4
BAD_BOOLEAN = 5
BAD_BRANCH = 6
BAD_SYMBOL = 7
BAD_COUNT = 8
BAD_TEXT = 9
BAD_DECIMAL = 10
TRAILING_BYTES = 11
# Why a row cannot be encoded.
FORBIDDEN_NULL = 12
NO_SYMBOL = 13
DECIMAL_OVER_SIZE = 14

_TEXTS = {
    TRUNCATED: "needs {what} bytes, {left} are left",
    TOO_MANY_BYTES: "a number of more than ten bytes",
    OVER_64_BITS: "the number has more than 64 bits",
    OVER_32_BITS: "the number has more than 32 bits",
    BAD_BOOLEAN: "a boolean is 0 or 1, this is {what}",
    BAD_BRANCH: "branch {what} of 2",
    BAD_SYMBOL: "symbol {what} of {argument}",
    BAD_COUNT: "a block of {what} items",
    BAD_TEXT: "not UTF-8: {reason}",
    BAD_DECIMAL: "the decimal has more digits than its type",
    TRAILING_BYTES: "{what} bytes follow the end of the record",
    FORBIDDEN_NULL: "is null",
    NO_SYMBOL: "the text is no symbol of the enum",
    DECIMAL_OVER_SIZE: "the decimal needs more than {argument} bytes",
}


class RowError(NamedTuple):
    """Why a row cannot be decoded or encoded.

    ``row`` is its place in the array that was given. ``position`` is the byte of the value, counted from 0, where
    what is wrong begins; -1 if the row was to be encoded. ``path`` is the field, as in ``legs[].origin``; it is empty
    for bytes behind the end of the record.
    """

    row: int
    position: int
    path: str
    problem: str

    def __str__(self) -> str:
        """Say where and what; no text of the value is in it."""
        byte = [f"byte {self.position}"] if self.position >= 0 else []
        field = [f"field {self.path!r}"] if self.path else []
        return f"{', '.join(byte + field)}{' ' if self.problem.startswith('is ') else ': '}{self.problem}"


def text_of(fault: int, what: int, argument: int, left: int, reason: str = "") -> str:
    """Return the text for a fault.

    ``what`` is the number that was found or needed, ``argument`` that of the instruction, ``left`` the bytes between
    the fault and the end of the value, ``reason`` what Python says about a text.
    """
    return _TEXTS[fault].format(what=what, argument=argument, left=left, reason=reason)
