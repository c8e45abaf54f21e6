"""Reads the JSON value of one field into its column. Compiled into the loop."""

from typing import Any

from surgetank.codec.avro.decode_loop import (
    BOOLEAN,
    BYTES,
    DOUBLE,
    ENUM,
    FIXED,
    FLOAT,
    INT,
    LONG,
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
    NOT_WHOLE,
    NUMBER,
    OBJECT,
    OVER_32_BITS,
    OVER_64_BITS,
    OVER_FLOAT,
    TEXT,
    WRONG_KIND,
    WRONG_SIZE,
)
from surgetank.codec.json.faults import BOOLEAN as BOOLEAN_KIND
from surgetank.codec.json.numbers import bits_of, bits_of_float, fits_long, read_number, to_double
from surgetank.codec.json.program import ARGUMENT, BUFFER, DATA, OP, SYMBOLS, TEXT_BYTES, VALIDITY
from surgetank.codec.json.program import TEXT as TEXT_AT
from surgetank.codec.json.skipping import FALSE, MINUS, NULL, OPEN_ARRAY, OPEN_OBJECT, TRUE, after_word, is_digit
from surgetank.codec.json.texts import QUOTE, read_base64, same_bytes, text_end, unescaped
from surgetank.compiled import compiled

FULL_HEAP = 100  # no fault: a buffer of bytes has no room for a text


@compiled()
def read_value(
    fields: Any, f: int, i: int, symbols: Any, texts: int, memory: Any, room: Any, at: int, end: int
) -> tuple[int, int, int]:
    """Read the value at an address below ``end`` as value ``i`` of field ``f``.

    Return the address behind it, GOOD and 0; or where it is not valid, the fault and a number that belongs to it; or
    an address, FULL_HEAP and the buffer that is full. ``fields`` and ``symbols`` are those of the program, ``texts``
    is the address of its texts. ``memory`` and ``room`` are those of ``decode_rows``.
    """
    byte = load8(at)
    op = fields[f, OP]
    if byte == QUOTE:
        if op == STRING or op == BYTES:
            return _read_string(fields, f, i, memory, room, at, end)
        if op == ENUM or op == FIXED:
            return _read_known_text(fields, f, i, symbols, texts, memory, room, at, end)
        return at, WRONG_KIND, TEXT
    if byte == MINUS or is_digit(byte):
        if op == LONG or op == DOUBLE or op == INT or op == FLOAT:
            return _read_number(fields, f, i, memory, at, end)
        return at, WRONG_KIND, NUMBER
    if byte == TRUE or byte == FALSE or byte == NULL:
        after = after_word(at, end)
        if after == 0:
            return at, NO_VALUE, byte
        if byte == NULL:
            if fields[f, VALIDITY] < 0:
                return at, FORBIDDEN_NULL, 0
            _write_null(fields, f, i, memory)
            return after, GOOD, 0
        if op != BOOLEAN:
            return at, WRONG_KIND, BOOLEAN_KIND
        store_bit(memory[fields[f, BUFFER]], i, 1 if byte == TRUE else 0)
        _write_valid(fields, f, i, memory)
        return after, GOOD, 0
    if byte == OPEN_OBJECT:
        return at, WRONG_KIND, OBJECT
    if byte == OPEN_ARRAY:
        return at, WRONG_KIND, ARRAY
    return at, NO_VALUE, byte


@compiled()
def _write_valid(fields: Any, f: int, i: int, memory: Any) -> None:
    """Mark a value as one that is not null."""
    if fields[f, VALIDITY] >= 0:
        store_bit(memory[fields[f, VALIDITY]], i, 1)


@compiled()
def _write_null(fields: Any, f: int, i: int, memory: Any) -> None:
    """Write a null, and zeros or no bytes as its value."""
    op = fields[f, OP]
    buffer = memory[fields[f, BUFFER]]
    store_bit(memory[fields[f, VALIDITY]], i, 0)
    if op == BOOLEAN:
        store_bit(buffer, i, 0)
    elif op == STRING or op == BYTES:
        store32(buffer + 4 * i + 4, load32(buffer + 4 * i))
    elif op == LONG or op == DOUBLE:
        store64(buffer + 8 * i, 0)
    elif op == FIXED:
        size = fields[f, ARGUMENT]
        for j in range(size):
            store8(buffer + size * i + j, 0)
    else:
        store32(buffer + 4 * i, 0)


@compiled()
def _read_string(fields: Any, f: int, i: int, memory: Any, room: Any, at: int, end: int) -> tuple[int, int, int]:
    """Read a text, or the bytes that it encodes in base64."""
    begin = at + 1
    close, fault, escaped = text_end(begin, end)
    if fault != GOOD:
        return close, fault, 0
    size = close - begin
    heap = fields[f, DATA]
    offsets = memory[fields[f, BUFFER]] + 4 * i
    place = load32(offsets)
    if place + size + SLACK > room[heap]:
        return at, FULL_HEAP, heap
    target = memory[heap] + place
    if escaped:
        stop, half = unescaped(begin, close, target)
        if half != 0:
            return half, LONE_SURROGATE, 0
        size = stop - target
    else:
        copied(begin, target, size, end)
    if fields[f, OP] == BYTES:
        size = read_base64(target, size, target)
        if size < 0:
            return at, BAD_BASE64, 0
    store32(offsets + 4, place + size)
    _write_valid(fields, f, i, memory)
    return close + 1, GOOD, 0


@compiled()
def short_text(begin: int, close: int, escaped: bool, scratch: int, scratch_bytes: int) -> tuple[int, int]:
    """Return the address and size of a text without its escapes, or 0 and -1 if it is longer than any that is known.

    A text with half of a surrogate pair is none that is known. ``scratch`` is the address of so many bytes.
    """
    size = close - begin
    if not escaped:
        return begin, size
    if size > scratch_bytes:
        return 0, -1
    stop, half = unescaped(begin, close, scratch)
    return (scratch, stop - scratch) if half == 0 else (0, -1)


@compiled()
def _read_known_text(
    fields: Any, f: int, i: int, symbols: Any, texts: int, memory: Any, room: Any, at: int, end: int
) -> tuple[int, int, int]:
    """Read a symbol of an enum, or the bytes of a fixed in base64."""
    close, fault, escaped = text_end(at + 1, end)
    if fault != GOOD:
        return close, fault, 0
    scratch = memory[len(memory) - 1]
    begin, size = short_text(at + 1, close, escaped, scratch, room[len(room) - 1])
    buffer = memory[fields[f, BUFFER]]
    argument = fields[f, ARGUMENT]
    if fields[f, OP] == ENUM:
        for symbol in range(fields[f, SYMBOLS]):
            row = argument + symbol
            if symbols[row, TEXT_BYTES] == size and same_bytes(texts + symbols[row, TEXT_AT], begin, size):
                store32(buffer + 4 * i, symbol)
                _write_valid(fields, f, i, memory)
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
    _write_valid(fields, f, i, memory)
    return close + 1, GOOD, 0


@compiled()
def _read_number(fields: Any, f: int, i: int, memory: Any, at: int, end: int) -> tuple[int, int, int]:
    """Read an int, a long, a float or a double."""
    after, fault, mantissa, exponent, exact, whole = read_number(at, end)
    if fault != GOOD:
        return after, fault, 0
    op = fields[f, OP]
    buffer = memory[fields[f, BUFFER]]
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
        rounded = to_double(at, after, mantissa, exponent, exact, memory[len(memory) - 1])
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
    _write_valid(fields, f, i, memory)
    return after, GOOD, 0
