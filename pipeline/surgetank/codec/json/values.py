"""Reads the JSON value of one field into its column. Compiled into the loop."""

from surgetank.codec.avro.decode_loop import (
    BOOLEAN,
    BYTES,
    DOUBLE,
    ENUM,
    FIXED,
    FLOAT,
    INT,
    LONG,
    LOOP,
    SLACK,
    STRING,
    store_bit,
)
from surgetank.codec.avro.memory import load8, load32, store8, store32, store64
from surgetank.codec.avro.reading import copied
from surgetank.codec.json.faults import (
    ARRAY,
    BAD_BASE64,
    FORBIDDEN_NULL,
    GOOD,
    LONE_SURROGATE,
    NO_SYMBOL,
    NO_VALUE,
    NUMBER,
    OBJECT,
    TEXT,
    WRONG_KIND,
    WRONG_SIZE,
)
from surgetank.codec.json.faults import BOOLEAN as BOOLEAN_KIND
from surgetank.codec.json.number_values import buffer_of, number_of, read_array, read_number_value, write_valid
from surgetank.codec.json.program import (
    ARGUMENT,
    DATA,
    MEMORY,
    NAME_COLUMNS,
    OP,
    ROOM,
    SCRATCH,
    SCRATCH_BYTES,
    SYMBOL_TABLE,
    SYMBOLS,
    TEXT_BYTES,
    TEXTS,
    VALIDITY,
)
from surgetank.codec.json.program import TEXT as TEXT_AT
from surgetank.codec.json.skipping import (
    FALSE,
    MINUS,
    NULL,
    OPEN_ARRAY,
    OPEN_OBJECT,
    TRUE,
    after_word,
    is_digit,
)
from surgetank.codec.json.texts import QUOTE, read_base64, same_bytes, text_end, unescaped
from surgetank.compiled import compiled

FULL_HEAP = 100  # no fault: a buffer of bytes has no room for a text


@compiled()
def read_value(field: int, i: int, context: int, at: int, end: int) -> tuple[int, int, int]:
    """Read the value at an address below ``end`` as value ``i`` of a field, given by the address of its row.

    Return the address behind it, GOOD and 0; or where it is not valid, the fault and a number that belongs to it; or
    an address, and FULL_HEAP and the buffer that is full, or FULL_LEVEL and the level. ``context`` is that of
    ``decode_rows``.
    """
    byte = load8(at)
    op = number_of(field, OP)
    if byte == QUOTE:
        if op == STRING or op == BYTES:
            return _read_string(field, i, context, at, end)
        if op == ENUM or op == FIXED:
            return _read_known_text(field, i, context, at, end)
        return at, WRONG_KIND, TEXT
    if byte == MINUS or is_digit(byte):
        if op == LONG or op == DOUBLE or op == INT or op == FLOAT:
            return read_number_value(field, i, context, at, end)
        return at, WRONG_KIND, NUMBER
    if byte == TRUE or byte == FALSE or byte == NULL:
        after = after_word(at, end)
        if after == 0:
            return at, NO_VALUE, byte
        if byte == NULL:
            if number_of(field, VALIDITY) < 0:
                return at, FORBIDDEN_NULL, 0
            _write_null(field, i, context)
            return after, GOOD, 0
        if op != BOOLEAN:
            return at, WRONG_KIND, BOOLEAN_KIND
        store_bit(buffer_of(field, context), i, 1 if byte == TRUE else 0)
        write_valid(field, i, context)
        return after, GOOD, 0
    if byte == OPEN_OBJECT:
        return at, WRONG_KIND, OBJECT
    if byte == OPEN_ARRAY:
        return read_array(field, i, context, at, end) if op == LOOP else (at, WRONG_KIND, ARRAY)
    return at, NO_VALUE, byte


@compiled()
def _write_null(field: int, i: int, context: int) -> None:
    """Write a null, and zeros or no bytes as its value."""
    op = number_of(field, OP)
    buffer = buffer_of(field, context)
    store_bit(number_of(number_of(context, MEMORY), number_of(field, VALIDITY)), i, 0)
    if op == BOOLEAN:
        store_bit(buffer, i, 0)
    elif op == STRING or op == BYTES or op == LOOP:
        store32(buffer + 4 * i + 4, load32(buffer + 4 * i))
    elif op == LONG or op == DOUBLE:
        store64(buffer + 8 * i, 0)
    elif op == FIXED:
        size = number_of(field, ARGUMENT)
        for j in range(size):
            store8(buffer + size * i + j, 0)
    else:
        store32(buffer + 4 * i, 0)


@compiled()
def _read_string(field: int, i: int, context: int, at: int, end: int) -> tuple[int, int, int]:
    """Read a text, or the bytes that it encodes in base64."""
    begin = at + 1
    close, fault, escaped = text_end(begin, end)
    if fault != GOOD:
        return close, fault, 0
    size = close - begin
    heap = number_of(field, DATA)
    offsets = buffer_of(field, context) + 4 * i
    place = load32(offsets)
    if place + size + SLACK > number_of(number_of(context, ROOM), heap):
        return at, FULL_HEAP, heap
    target = number_of(number_of(context, MEMORY), heap) + place
    if escaped:
        stop, half = unescaped(begin, close, target)
        if half != 0:
            return half, LONE_SURROGATE, 0
        size = stop - target
    else:
        copied(begin, target, size, end)
    if number_of(field, OP) == BYTES:
        size = read_base64(target, size, target)
        if size < 0:
            return at, BAD_BASE64, 0
    store32(offsets + 4, place + size)
    write_valid(field, i, context)
    return close + 1, GOOD, 0


@compiled()
def short_text(begin: int, close: int, escaped: bool, context: int) -> tuple[int, int]:
    """Return the address and size of a text without its escapes, or 0 and -1 if it is longer than any that is known.

    A text with half of a surrogate pair is none that is known. A text with escapes is written to the scratch memory.
    """
    size = close - begin
    if not escaped:
        return begin, size
    if size > number_of(context, SCRATCH_BYTES):
        return 0, -1
    scratch = number_of(context, SCRATCH)
    stop, half = unescaped(begin, close, scratch)
    return (scratch, stop - scratch) if half == 0 else (0, -1)


@compiled()
def _read_known_text(field: int, i: int, context: int, at: int, end: int) -> tuple[int, int, int]:
    """Read a symbol of an enum, or the bytes of a fixed in base64."""
    close, fault, escaped = text_end(at + 1, end)
    if fault != GOOD:
        return close, fault, 0
    scratch = number_of(context, SCRATCH)
    begin, size = short_text(at + 1, close, escaped, context)
    buffer = buffer_of(field, context)
    argument = number_of(field, ARGUMENT)
    if number_of(field, OP) == ENUM:
        for symbol in range(number_of(field, SYMBOLS)):
            row = number_of(context, SYMBOL_TABLE) + 8 * NAME_COLUMNS * (argument + symbol)
            text = number_of(context, TEXTS) + number_of(row, TEXT_AT)
            if number_of(row, TEXT_BYTES) == size and same_bytes(text, begin, size):
                store32(buffer + 4 * i, symbol)
                write_valid(field, i, context)
                return close + 1, GOOD, 0
        return at, NO_SYMBOL, 0
    if size != (argument + 2) // 3 * 4:
        return at, WRONG_SIZE, 0
    size = read_base64(begin, size, scratch)
    if size < 0:
        return at, BAD_BASE64, 0
    if size != argument:
        return at, WRONG_SIZE, 0
    for j in range(size):
        store8(buffer + size * i + j, load8(scratch + j))
    write_valid(field, i, context)
    return close + 1, GOOD, 0
