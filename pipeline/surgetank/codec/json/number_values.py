"""Reads the JSON numbers of one field into its column, one or an array of them. Compiled into the loop."""

from surgetank.codec.avro.decode_loop import DOUBLE, INT, LONG, store_bit
from surgetank.codec.avro.memory import load8, load32, load64, store32, store64
from surgetank.codec.json.faults import (
    ARRAY,
    BOOLEAN,
    ENDS_EARLY,
    GOOD,
    NO_COMMA,
    NO_VALUE,
    NOT_WHOLE,
    NULL_ITEM,
    OBJECT,
    OVER_32_BITS,
    OVER_64_BITS,
    OVER_FLOAT,
    TEXT,
    WRONG_ITEM,
)
from surgetank.codec.json.numbers import bits_of, bits_of_float, fits_long, read_number, to_double
from surgetank.codec.json.program import (
    ARGUMENT,
    BUFFER,
    CAPACITIES,
    DATA,
    FIELD_COLUMNS,
    FIELDS,
    MEMORY,
    OP,
    SCRATCH,
    VALIDITY,
)
from surgetank.codec.json.skipping import (
    CLOSE_ARRAY,
    COMMA,
    FALSE,
    MINUS,
    NULL,
    OPEN_ARRAY,
    OPEN_OBJECT,
    TRUE,
    after_word,
    is_digit,
)
from surgetank.codec.json.texts import QUOTE, after_space
from surgetank.compiled import compiled

FULL_LEVEL = 101  # no fault: a level has no room for an item


@compiled()
def number_of(table: int, place: int) -> int:
    """Return a number of a table, which is given by its address. Arrays cost more: each is seven arguments."""
    number: int = load64(table + 8 * place)
    return number


@compiled()
def buffer_of(field: int, context: int) -> int:
    """Return the address of the buffer of a field's values or offsets."""
    return number_of(number_of(context, MEMORY), number_of(field, BUFFER))


@compiled()
def write_valid(field: int, i: int, context: int) -> None:
    """Mark a value as one that is not null."""
    validity = number_of(field, VALIDITY)
    if validity >= 0:
        store_bit(number_of(number_of(context, MEMORY), validity), i, 1)


@compiled()
def read_number_value(field: int, i: int, context: int, at: int, end: int) -> tuple[int, int, int]:
    """Read an int, a long, a float or a double."""
    after, fault, mantissa, exponent, exact, whole = read_number(at, end)
    if fault != GOOD:
        return after, fault, 0
    op = number_of(field, OP)
    buffer = buffer_of(field, context)
    if op == LONG or op == INT:
        negative = load8(at) == MINUS
        if not whole:
            return at, NOT_WHOLE, 0
        if not fits_long(mantissa, exact, negative):
            return at, OVER_32_BITS if op == INT else OVER_64_BITS, 0
        number = -mantissa if negative else mantissa
        if op == LONG:
            store64(buffer + 8 * i, number)
        elif number < -0x80000000 or number > 0x7FFFFFFF:
            return at, OVER_32_BITS, 0
        else:
            store32(buffer + 4 * i, number)
    else:
        rounded = to_double(at, after, mantissa, exponent, exact, number_of(context, SCRATCH))
        if op == DOUBLE:
            bits = bits_of(rounded)
            if bits >> 52 & 0x7FF == 0x7FF:
                return at, OVER_FLOAT, 0
            store64(buffer + 8 * i, bits)
        else:
            bits = bits_of_float(rounded)
            if bits >> 23 & 0xFF == 0xFF:
                return at, OVER_FLOAT, 0
            store32(buffer + 4 * i, bits)
    write_valid(field, i, context)
    return after, GOOD, 0


@compiled()
def _kind_of(byte: int, at: int, end: int) -> int:
    """Return the kind of the JSON value, which is no number, that begins with a byte at an address; -1 if none does."""
    if byte == QUOTE:
        return TEXT
    if byte == TRUE or byte == FALSE or byte == NULL:
        if after_word(at, end) == 0:
            return -1
        return NULL_ITEM if byte == NULL else BOOLEAN
    if byte == OPEN_OBJECT:
        return OBJECT
    return ARRAY if byte == OPEN_ARRAY else -1


@compiled()
def read_array(field: int, i: int, context: int, at: int, end: int) -> tuple[int, int, int]:
    """Read an array of numbers, none null, behind the items of the values before."""
    item = number_of(context, FIELDS) + 8 * FIELD_COLUMNS * number_of(field, ARGUMENT)
    level = number_of(field, DATA)
    room = number_of(number_of(context, CAPACITIES), level)
    offsets = buffer_of(field, context) + 4 * i
    place = load32(offsets)
    at = after_space(at + 1, end)
    closed = at < end and load8(at) == CLOSE_ARRAY
    while not closed:
        if at >= end:
            return end, ENDS_EARLY, 0
        byte = load8(at)
        if byte != MINUS and not is_digit(byte):
            kind = _kind_of(byte, at, end)
            return at, NO_VALUE if kind < 0 else WRONG_ITEM, kind
        if place >= room:
            return at, FULL_LEVEL, level
        at, fault, what = read_number_value(item, place, context, at, end)
        if fault != GOOD:
            return at, fault, what
        place += 1
        at = after_space(at, end)
        if at >= end:
            return end, ENDS_EARLY, 0
        byte = load8(at)
        closed = byte == CLOSE_ARRAY
        if not closed:
            if byte != COMMA:
                return at, NO_COMMA, 0
            at = after_space(at + 1, end)
    store32(offsets + 4, place)
    write_valid(field, i, context)
    return at + 1, GOOD, 0
