"""What can be wrong with a JSON value: numbers in the compiled loop, texts for people, reasons of dead letters."""

from typing import NamedTuple

import pyarrow as pa

from surgetank.codec import base
from surgetank.records import DeadLetterReason

LEVELS_MAX = 512  # levels of objects and arrays in a value

GOOD = 0
# The value is none for JSON.
NULL = 1
EMPTY = 2
TOO_LARGE = 3
# The value is not JSON.
ENDS_EARLY = 10
NO_VALUE = 11
NO_NAME = 12
NO_COLON = 13
NO_COMMA = 14
BAD_NUMBER = 15
BAD_ESCAPE = 16
CONTROL_CHARACTER = 17
NOT_UTF8 = 18
TOO_DEEP = 19
TRAILING_BYTES = 20
# The value is JSON as far as it was read, and does not fit the schema.
NO_OBJECT = 30
WRONG_KIND = 31
FORBIDDEN_NULL = 32
MISSING = 33
TWICE = 34
NOT_WHOLE = 35
OVER_32_BITS = 36
OVER_64_BITS = 37
OVER_FLOAT = 38
NO_SYMBOL = 39
LONE_SURROGATE = 40
BAD_BASE64 = 41
WRONG_SIZE = 42
WRONG_ITEM = 43

# The kinds of JSON values, as the number that belongs to WRONG_KIND and WRONG_ITEM.
OBJECT, ARRAY, TEXT, NUMBER, BOOLEAN, NULL_ITEM = range(6)
_KINDS = ("an object", "an array", "a text", "a number", "a boolean", "a null")

_TEXTS = {
    NULL: "the value is null",
    EMPTY: "the value has no bytes",
    TOO_LARGE: "{what} bytes; at most {bytes_max} are decoded",
    ENDS_EARLY: "the JSON ends too early",
    NO_VALUE: "0x{what:02x} does not begin a JSON value",
    NO_NAME: "0x{what:02x} instead of a name in quotation marks",
    NO_COLON: "0x{what:02x} instead of a colon",
    NO_COMMA: "0x{what:02x} instead of a comma or the closing bracket",
    BAD_NUMBER: "not a JSON number",
    BAD_ESCAPE: "not a JSON escape sequence",
    CONTROL_CHARACTER: "a control character that is not escaped",
    NOT_UTF8: "not UTF-8: {utf8}",
    TOO_DEEP: f"nested more than {LEVELS_MAX} levels deep",
    TRAILING_BYTES: "{what} bytes follow the end of the object",
    NO_OBJECT: "the value is not an object",
    WRONG_KIND: "{kind} instead of {type}",
    FORBIDDEN_NULL: "is null",
    MISSING: "is missing",
    TWICE: "is there twice",
    NOT_WHOLE: "the number has a fraction or an exponent, and the type is {type}",
    OVER_32_BITS: "the number has more than 32 bits",
    OVER_64_BITS: "the number has more than 64 bits",
    OVER_FLOAT: "the number is too large for {type}",
    NO_SYMBOL: "the text is no symbol of the enum",
    LONE_SURROGATE: "half of a surrogate pair",
    BAD_BASE64: "the text is not base64",
    WRONG_SIZE: "the base64 text does not encode {type}",
    WRONG_ITEM: "{kind} in {type}",
}


class JsonFault(NamedTuple):
    """Why a value cannot be decoded.

    ``number`` is one of the faults. ``position`` is the byte of the value, counted from 0, at which it was noticed;
    ``field`` is the field, "" if it is in none of the schema.
    """

    number: int
    position: int
    field: str
    problem: str

    @property
    def reason(self) -> DeadLetterReason:
        """The reason of the dead letter."""
        match self.number:
            case number if number >= NO_OBJECT:
                return base.UNDECODABLE
            case number if number >= ENDS_EARLY:
                return base.NOT_JSON
        return {NULL: base.NULL_VALUE, EMPTY: base.EMPTY, TOO_LARGE: base.VALUE_TOO_LARGE}[self.number]

    def __str__(self) -> str:
        """Say where and what; no text of the value is in it."""
        if self.number < ENDS_EARLY:
            return self.problem
        field = f", field {self.field!r}" if self.field else ""
        return f"byte {self.position}{field}{' ' if self.problem.startswith('is ') else ': '}{self.problem}"


def fault_of(
    number: int, position: int, field: str, what: int, field_type: str, value: pa.LargeBinaryScalar, bytes_max: int
) -> JsonFault:
    """Return a fault with its text.

    ``what`` is the number that the loop gives, ``field_type`` the type of the field with its article, ``value`` the
    bytes that do not decode, ``bytes_max`` how many are decoded at most.
    """
    utf8 = ""
    if number == NOT_UTF8:
        try:
            value.as_py().decode()
        except UnicodeDecodeError as error:
            position, utf8 = error.start, error.reason
    problem = _TEXTS[number].format(
        what=what,
        kind=_KINDS[what] if number in (WRONG_KIND, WRONG_ITEM) else "",
        type=field_type,
        utf8=utf8,
        bytes_max=bytes_max,
    )
    return JsonFault(number, position, field, problem)
