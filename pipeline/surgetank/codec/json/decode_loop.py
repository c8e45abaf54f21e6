"""The interpreter that decodes JSON: one compiled loop for all schemas reads the objects of rows into columns."""

from typing import Any

from numba import int64, types

from surgetank.codec.avro.memory import load8, load64
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
from surgetank.codec.json.program import DEFAULT, DEFAULT_BYTES, FIELD, TEXT, TEXT_BYTES
from surgetank.codec.json.skipping import CLOSE_OBJECT, COLON, COMMA, OPEN_OBJECT, after_value
from surgetank.codec.json.texts import QUOTE, after_space, same_bytes, text_end
from surgetank.codec.json.values import FULL_HEAP, read_value, short_text
from surgetank.compiled import compiled

_result: Any = types.UniTuple
_int64s = types.Array(int64, 1, "C")
_table = types.Array(int64, 2, "C")


@compiled()
def _read_name(
    names: Any, texts: int, successors: Any, last: int, memory: Any, room: Any, at: int, end: int
) -> tuple[int, int, int]:
    """Read the name whose opening quotation mark is at an address.

    Return its number, -1 if the schema does not have it, the address of the closing mark, and GOOD; or -1, where it is
    not valid, and the fault. The name that followed name ``last`` most recently is compared first.
    """
    guess = successors[last]
    size = names[guess, TEXT_BYTES]
    begin = at + 1
    if begin + size < end and load8(begin + size) == QUOTE and same_bytes(begin, texts + names[guess, TEXT], size):
        return guess, begin + size, GOOD
    close, fault, escaped = text_end(begin, end)
    if fault != GOOD:
        return -1, close, fault
    begin, size = short_text(begin, close, escaped, memory[len(memory) - 1], room[len(room) - 1])
    for name in range(len(names)):
        if names[name, TEXT_BYTES] == size and same_bytes(texts + names[name, TEXT], begin, size):
            successors[last] = name
            return name, close, GOOD
    return -1, close, GOOD


@compiled()
def _read_fields(
    fields: Any,
    names: Any,
    symbols: Any,
    texts: int,
    memory: Any,
    room: Any,
    successors: Any,
    seen: Any,
    open_brackets: Any,
    i: int,
    at: int,
    end: int,
) -> tuple[int, int, int, int]:
    """Read the fields of the object whose opening bracket is at an address, as value ``i`` of their columns.

    Return the address behind its closing bracket, GOOD, -1 and 0; or where it is not valid, the fault, the field (-1:
    none) and a number that belongs to the fault; or an address, FULL_HEAP, a field and the buffer that is full.
    ``seen``, int64 [F], takes 1 for each field that is there.
    """
    seen[:] = 0
    last = len(names)
    at = after_space(at + 1, end)
    if at < end and load8(at) == CLOSE_OBJECT:
        return at + 1, GOOD, -1, 0
    while True:
        if at >= end:
            return end, ENDS_EARLY, -1, 0
        if load8(at) != QUOTE:
            return at, NO_NAME, -1, 0
        begin = at
        name, at, fault = _read_name(names, texts, successors, last, memory, room, at, end)
        if fault != GOOD:
            return at, fault, -1, 0
        f = -1
        if name >= 0:
            last = name
            f = names[name, FIELD]
            if seen[f] != 0:
                return begin, TWICE, f, 0
            seen[f] = 1
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
            at, fault, what = read_value(fields, f, i, symbols, texts, memory, room, at, end)
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
def _read_object(
    fields: Any,
    names: Any,
    symbols: Any,
    texts: int,
    memory: Any,
    room: Any,
    successors: Any,
    seen: Any,
    open_brackets: Any,
    i: int,
    at: int,
    end: int,
) -> tuple[int, int, int, int]:
    """Read a whole value, and the defaults of missing fields. The arguments and the result are as above."""
    at = after_space(at, end)
    if at >= end:
        return end, ENDS_EARLY, -1, 0
    begin = at
    is_object = load8(at) == OPEN_OBJECT
    field = -1
    what = 0
    if is_object:
        at, fault, field, what = _read_fields(
            fields, names, symbols, texts, memory, room, successors, seen, open_brackets, i, at, end
        )
    else:
        at, fault = after_value(at, end, open_brackets)
    if fault != GOOD:
        return at, fault, field, what
    at = after_space(at, end)
    if at < end:
        return at, TRAILING_BYTES, -1, end - at
    if not is_object:
        return begin, NO_OBJECT, -1, 0
    for f in range(len(fields)):
        if seen[f] == 0:
            size = fields[f, DEFAULT_BYTES]
            if size == 0:
                return at, MISSING, f, 0
            text = texts + fields[f, DEFAULT]
            _, fault, what = read_value(fields, f, i, symbols, texts, memory, room, text, text + size)
            if fault != GOOD:
                return at, fault, f, what
    return at, GOOD, -1, 0


@compiled(
    _result(int64, 2)(
        _table,  # fields
        _table,  # names
        _table,  # symbols
        int64,  # texts
        _int64s,  # memory
        _int64s,  # room
        _int64s,  # successors
        _int64s,  # seen
        _int64s,  # open_brackets
        _int64s,  # wire
        int64,  # rows
        _int64s,  # kept
        _table,  # failures
        _int64s,  # progress
    )
)
def decode_rows(
    fields: Any,
    names: Any,
    symbols: Any,
    texts: int,
    memory: Any,
    room: Any,
    successors: Any,
    seen: Any,
    open_brackets: Any,
    wire: Any,
    rows: int,
    kept: Any,
    failures: Any,
    progress: Any,
) -> tuple[int, int]:
    """Decode rows until all are decoded or a buffer is full; return 0 and 0, or FULL_HEAP and the buffer.

    ``fields``, ``names`` and ``symbols`` are those of the program, ``texts`` is the address of its texts. ``memory``,
    int64 [buffers + 1], are the addresses of the buffers and of scratch memory, ``room`` the bytes of each where it is
    a buffer of bytes, and of the scratch memory. ``successors``, int64 [N + 1], remembers which name follows a name,
    and which comes first. ``seen``, int64 [F], and ``open_brackets``, int64 [levels], are room. ``wire`` is int64 [5]:
    the addresses of the validity bits (0: there are none), int64 offsets and bytes, the array's offset, and how many
    bytes of a value are decoded at most. ``kept``, int64 [rows], takes the rows that were decoded, ``failures``, int64
    [rows, 5], of the others the row, the fault, the position, the field (-1: none) and a number that belongs to the
    fault. ``progress``, int64 [3], is how many rows were read, decoded and failed.
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
            at, fault, field, what = _read_object(
                fields,
                names,
                symbols,
                texts,
                memory,
                room,
                successors,
                seen,
                open_brackets,
                progress[1],
                begin,
                end,
            )
        if fault == FULL_HEAP:
            return FULL_HEAP, what
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
