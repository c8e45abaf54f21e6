"""The interpreter that decodes JSON: one compiled loop for all schemas reads the objects of rows into columns."""

from typing import Any

from numba import int64, types

from surgetank.codec.avro.memory import load8, load64, store64
from surgetank.codec.json.faults import (
    EMPTY,
    ENDS_EARLY,
    GOOD,
    MISSING,
    NO_COLON,
    NO_COMMA,
    NO_NAME,
    NO_OBJECT,
    NO_VALUE,
    TOO_LARGE,
    TRAILING_BYTES,
    TWICE,
)
from surgetank.codec.json.faults import NULL as NULL_VALUE
from surgetank.codec.json.number_values import FULL_LEVEL, number_of
from surgetank.codec.json.program import (
    DEFAULT,
    DEFAULT_BYTES,
    FIELD,
    FIELD_COLUMNS,
    FIELD_COUNT,
    FIELDS,
    NAME_COLUMNS,
    NAME_COUNT,
    NAMES,
    SEEN,
    SUCCESSORS,
    TEXT,
    TEXT_BYTES,
    TEXTS,
)
from surgetank.codec.json.skipping import CLOSE_OBJECT, COLON, COMMA, OPEN_OBJECT, after_value
from surgetank.codec.json.texts import QUOTE, after_space, same_bytes, text_end
from surgetank.codec.json.values import FULL_HEAP, read_value, short_text
from surgetank.compiled import compiled

_result: Any = types.UniTuple
_int64s = types.Array(int64, 1, "C")
_table = types.Array(int64, 2, "C")


@compiled()
def _name(context: int, name: int) -> int:
    """Return the address of the row of a name."""
    return number_of(context, NAMES) + 8 * NAME_COLUMNS * name


@compiled()
def _read_name(context: int, last: int, at: int, end: int) -> tuple[int, int, int]:
    """Read the name whose opening quotation mark is at an address.

    Return its number, -1 if the schema does not have it, the address of the closing mark, and GOOD; or -1, where it is
    not valid, and the fault. The name that followed name ``last`` most recently is compared first.
    """
    texts = number_of(context, TEXTS)
    guess = number_of(number_of(context, SUCCESSORS), last)
    row = _name(context, guess)
    size = number_of(row, TEXT_BYTES)
    begin = at + 1
    if begin + size < end and load8(begin + size) == QUOTE and same_bytes(begin, texts + number_of(row, TEXT), size):
        return guess, begin + size, GOOD
    close, fault, escaped = text_end(begin, end)
    if fault != GOOD:
        return -1, close, fault
    begin, size = short_text(begin, close, escaped, context)
    for name in range(number_of(context, NAME_COUNT)):
        row = _name(context, name)
        if number_of(row, TEXT_BYTES) == size and same_bytes(texts + number_of(row, TEXT), begin, size):
            store64(number_of(context, SUCCESSORS) + 8 * last, name)
            return name, close, GOOD
    return -1, close, GOOD


@compiled()
def _field(context: int, f: int) -> int:
    """Return the address of the row of a field."""
    return number_of(context, FIELDS) + 8 * FIELD_COLUMNS * f


@compiled()
def _read_fields(context: int, open_brackets: Any, i: int, at: int, end: int) -> tuple[int, int, int, int]:
    """Read the fields of the object whose opening bracket is at an address, as value ``i`` of their columns.

    Return the address behind its closing bracket, GOOD, -1 and 0; or where it is not valid, the fault, the field (-1:
    none) and a number that belongs to the fault; or an address, FULL_HEAP or FULL_LEVEL, a field and what is full.
    """
    seen = number_of(context, SEEN)
    for f in range(number_of(context, FIELD_COUNT)):
        store64(seen + 8 * f, 0)
    last = number_of(context, NAME_COUNT)
    at = after_space(at + 1, end)
    if at < end and load8(at) == CLOSE_OBJECT:
        return at + 1, GOOD, -1, 0
    while True:
        if at >= end:
            return end, ENDS_EARLY, -1, 0
        if load8(at) != QUOTE:
            return at, NO_NAME, -1, 0
        begin = at
        name, at, fault = _read_name(context, last, at, end)
        if fault != GOOD:
            return at, fault, -1, 0
        f = -1
        if name >= 0:
            last = name
            f = number_of(_name(context, name), FIELD)
            if number_of(seen, f) != 0:
                return begin, TWICE, f, 0
            store64(seen + 8 * f, 1)
        at = after_space(at + 1, end)
        if at >= end:
            return end, ENDS_EARLY, f, 0
        if load8(at) != COLON:
            return at, NO_COLON, f, 0
        at = after_space(at + 1, end)
        if at >= end:
            return end, ENDS_EARLY, f, 0
        if f < 0:
            at, fault = after_value(at, end, open_brackets)
            if fault != GOOD:
                return at, fault, f, 0
        else:
            at, fault, what = read_value(_field(context, f), i, context, at, end)
            if fault != GOOD:
                return at, fault, f, what
        at = after_space(at, end)
        if at >= end:
            return end, ENDS_EARLY, -1, 0
        byte = load8(at)
        if byte == CLOSE_OBJECT:
            return at + 1, GOOD, -1, 0
        if byte != COMMA:
            return at, NO_COMMA, f, 0
        at = after_space(at + 1, end)


@compiled()
def _read_object(context: int, open_brackets: Any, i: int, at: int, end: int) -> tuple[int, int, int, int]:
    """Read a whole value, and the defaults of missing fields. The arguments and the result are as above."""
    at = after_space(at, end)
    if at >= end:
        return end, ENDS_EARLY, -1, 0
    begin = at
    is_object = load8(at) == OPEN_OBJECT
    field = -1
    what = 0
    if is_object:
        at, fault, field, what = _read_fields(context, open_brackets, i, at, end)
    else:
        at, fault = after_value(at, end, open_brackets)
    if fault != GOOD:
        return at, fault, field, what
    at = after_space(at, end)
    if at < end:
        return at, TRAILING_BYTES, -1, end - at
    if not is_object:
        return begin, NO_OBJECT, -1, 0
    for f in range(number_of(context, FIELD_COUNT)):
        if number_of(number_of(context, SEEN), f) == 0:
            row = _field(context, f)
            size = number_of(row, DEFAULT_BYTES)
            if size == 0:
                return at, MISSING, f, 0
            text = number_of(context, TEXTS) + number_of(row, DEFAULT)
            _, fault, what = read_value(row, i, context, text, text + size)
            if fault != GOOD:
                return at, fault, f, what
    return at, GOOD, -1, 0


@compiled(
    _result(int64, 2)(
        int64,  # context
        _int64s,  # open_brackets
        _int64s,  # wire
        int64,  # rows
        _int64s,  # kept
        _table,  # failures
        _int64s,  # progress
    )
)
def decode_rows(
    context: int, open_brackets: Any, wire: Any, rows: int, kept: Any, failures: Any, progress: Any
) -> tuple[int, int]:
    """Decode rows until all are decoded or memory is full; return 0 and 0, FULL_HEAP and the buffer, or FULL_LEVEL and
    the level.

    ``context`` is the address of what is needed beside the rows: see ``program``. ``open_brackets``, int64 [levels], is
    room. ``wire`` is int64 [5]: the addresses of the validity bits (0: there are none), int64 offsets and bytes, the
    array's offset, and how many bytes of a value are decoded at most. ``kept``, int64 [rows], takes the rows that were
    decoded, ``failures``, int64 [rows, 5], of the others the row, the fault, the position, the field (-1: none) and a
    number that belongs to the fault. ``progress``, int64 [3], is how many rows were read, decoded and failed.
    """
    validity, offsets, data, array_offset, bytes_max = wire[0], wire[1], wire[2], wire[3], wire[4]
    while progress[0] < rows:
        row = progress[0]
        place = row + array_offset
        begin = data + load64(offsets + 8 * place)
        end = data + load64(offsets + 8 * place + 8)
        at = begin
        field = -1
        what = 0
        if validity != 0 and (load8(validity + (place >> 3)) >> (place & 7)) & 1 == 0:
            fault = NULL_VALUE
        elif begin == end:
            fault = EMPTY
        elif end - begin > bytes_max:
            fault = TOO_LARGE
            what = end - begin
        else:
            at, fault, field, what = _read_object(context, open_brackets, progress[1], begin, end)
        if fault == FULL_HEAP or fault == FULL_LEVEL:
            return fault, what
        if fault == GOOD:
            kept[progress[1]] = row
            progress[1] += 1
        else:
            if NO_VALUE <= fault <= NO_COMMA:
                what = load8(at)
            failure = failures[progress[2]]
            failure[0], failure[1], failure[2], failure[3], failure[4] = row, fault, at - begin, field, what
            progress[2] += 1
        progress[0] += 1
    return 0, 0
