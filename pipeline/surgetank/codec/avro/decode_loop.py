"""The interpreter that decodes: one compiled loop for all schemas runs a program over the bodies of rows."""

from typing import Any

from numba import int64, types

from surgetank.codec.avro.faults import (
    BAD_BOOLEAN,
    BAD_BRANCH,
    BAD_COUNT,
    BAD_DECIMAL,
    BAD_SYMBOL,
    BAD_TEXT,
    GOOD,
    OVER_32_BITS,
    TRAILING_BYTES,
    TRUNCATED,
)
from surgetank.codec.avro.memory import load8, load32, load64, store8, store32, store64
from surgetank.codec.avro.program import ARGUMENT, BUFFER, CHILD, DATA, LEVEL, OP, TARGET, Op
from surgetank.codec.avro.reading import copied, is_utf8, read_decimal, varint
from surgetank.compiled import compiled

END, INT, LONG, BOOLEAN, FLOAT, DOUBLE = (int(op) for op in (Op.END, Op.INT, Op.LONG, Op.BOOLEAN, Op.FLOAT, Op.DOUBLE))
STRING, BYTES, FIXED, ENUM = (int(op) for op in (Op.STRING, Op.BYTES, Op.FIXED, Op.ENUM))
DECIMAL, FIXED_DECIMAL, NULLABLE = (int(op) for op in (Op.DECIMAL, Op.FIXED_DECIMAL, Op.NULLABLE))
LOOP, BLOCK, ITEM_END, JUMP = (int(op) for op in (Op.LOOP, Op.BLOCK, Op.ITEM_END, Op.JUMP))
FILL, FILL_BIT, FILL_OFFSET = (int(op) for op in (Op.FILL, Op.FILL_BIT, Op.FILL_OFFSET))

# Why the loop stopped before the last row: a heap has no room for a value, or the buffers of a level for an item.
FULL_HEAP, FULL_LEVEL = 100, 101
SLACK = 8  # bytes behind a heap that a copy may overwrite

_result: Any = types.UniTuple
_int64s = types.Array(int64, 1, "C")
_table = types.Array(int64, 2, "C")


@compiled()
def store_bit(bits: int, index: int, bit: int) -> None:
    """Write a bit of a bitmap that is written in order: those behind it in its byte are cleared."""
    at = bits + (index >> 3)
    place = index & 7
    store8(at, bit if place == 0 else (load8(at) & ((1 << place) - 1)) | (bit << place))


@compiled(
    _result(int64, 4)(
        _table,  # code
        _table,  # limits
        _int64s,  # addresses
        _int64s,  # heaps
        _int64s,  # capacities
        _table,  # levels
        _table,  # wire
        _int64s,  # rows
        int64,  # first
        _int64s,  # kept
        _table,  # failures
        int64,  # failed
    )
)
def decode_rows(
    code: Any,
    limits: Any,
    addresses: Any,
    heaps: Any,
    capacities: Any,
    levels: Any,
    wire: Any,
    rows: Any,
    first: int,
    kept: Any,
    failures: Any,
    failed: int,
) -> tuple[int, int, int, int]:
    """Decode rows[first:]; return where it stopped, how many rows failed, and what is full (or 0) and which one.

    ``code`` and ``limits`` are those of the program. ``addresses``, int64 [buffers], and ``heaps``, the bytes of each,
    say where to write; ``capacities``, int64 [levels], how many items a level has room for. ``levels`` is int64
    [3, levels]: the values of each, also at the end; room for a copy; room for the items left of a block. ``wire`` is
    int64 [1, 4]: the addresses of the bytes, of their end and of their int64 offsets; the bytes before each body.
    ``kept``, int64 [rows], takes the rows that were decoded. ``failures``, int64 [rows, 5], takes of the others the
    row, the fault, the position, the instruction and a number that belongs to the fault.
    """
    counts, before, remaining = levels[0], levels[1], levels[2]
    data, data_end, offsets, skipped = wire[0, 0], wire[0, 1], wire[0, 2], wire[0, 3]
    for k in range(first, len(rows)):
        row = rows[k]
        begin = data + load64(offsets + 8 * row)
        end = data + load64(offsets + 8 * row + 8)
        at = begin + skipped
        before[:] = counts
        fault = GOOD
        what = 1
        pc = 0
        while True:
            op = code[pc, OP]
            i = counts[code[pc, LEVEL]]
            buffer = addresses[code[pc, BUFFER]]
            if op == END:
                if at != end:
                    fault, what = TRAILING_BYTES, end - at
                break
            elif op == INT:
                number, after = varint(at, end)
                if after < 0:
                    fault = -after
                    break
                if number < -0x80000000 or number > 0x7FFFFFFF:
                    fault = OVER_32_BITS
                    break
                at = after
                store32(buffer + 4 * i, number)
            elif op == LONG:
                number, after = varint(at, end)
                if after < 0:
                    fault = -after
                    break
                at = after
                store64(buffer + 8 * i, number)
            elif op == DOUBLE:
                if end - at < 8:
                    fault, what = TRUNCATED, 8
                    break
                store64(buffer + 8 * i, load64(at))
                at += 8
            elif op == STRING or op == BYTES:
                number, after = varint(at, end)
                if after < 0:
                    fault = -after
                    break
                at = after
                if number < 0 or number > end - at:
                    fault, what = TRUNCATED, number
                    break
                place = load32(buffer + 4 * i)
                heap = code[pc, DATA]
                if place + number + SLACK > heaps[heap]:
                    fault, what = FULL_HEAP, heap
                    break
                foreign = copied(at, addresses[heap] + place, number, data_end)
                if foreign != 0 and op == STRING and not is_utf8(at, at + number):
                    fault, what = BAD_TEXT, number
                    break
                at += number
                store32(buffer + 4 * i + 4, place + number)
            elif op == NULLABLE:
                number, after = varint(at, end)
                if after < 0:
                    fault = -after
                    break
                if number < 0 or number > 1:
                    fault, what = BAD_BRANCH, number
                    break
                at = after
                if number == code[pc, ARGUMENT]:
                    store_bit(buffer, i, 0)
                    pc = code[pc, TARGET]
                    continue
                store_bit(buffer, i, 1)
            elif op == BOOLEAN:
                if at >= end:
                    fault = TRUNCATED
                    break
                byte = load8(at)
                if byte > 1:
                    fault, what = BAD_BOOLEAN, byte
                    break
                store_bit(buffer, i, byte)
                at += 1
            elif op == FLOAT:
                if end - at < 4:
                    fault, what = TRUNCATED, 4
                    break
                store32(buffer + 4 * i, load32(at))
                at += 4
            elif op == ENUM:
                number, after = varint(at, end)
                if after < 0:
                    fault = -after
                    break
                if number < 0 or number >= code[pc, ARGUMENT]:
                    fault, what = BAD_SYMBOL, number
                    break
                at = after
                store32(buffer + 4 * i, number)
            elif op == FIXED:
                size = code[pc, ARGUMENT]
                if end - at < size:
                    fault, what = TRUNCATED, size
                    break
                for j in range(size):
                    store8(buffer + size * i + j, load8(at + j))
                at += size
            elif op == DECIMAL or op == FIXED_DECIMAL:
                size = code[pc, ARGUMENT]
                if op == DECIMAL:
                    size, after = varint(at, end)
                    if after < 0:
                        fault = -after
                        break
                    at = after
                if size < 0 or size > end - at:
                    fault, what = TRUNCATED, size
                    break
                width = code[pc, DATA]
                if not read_decimal(at, size, buffer + width * i, width, limits[code[pc, CHILD]]):
                    fault = BAD_DECIMAL
                    break
                at += size
            elif op == LOOP:
                remaining[code[pc, CHILD]] = 0
            elif op == BLOCK:
                child = code[pc, CHILD]
                if remaining[child] == 0:
                    number, after = varint(at, end)
                    if after >= 0 and number < 0:
                        number = -number
                        if number < 0:
                            fault, what = BAD_COUNT, number
                            break
                        at = after
                        _, after = varint(at, end)  # the size of the block in bytes, for readers that want to skip it
                    if after < 0:
                        fault = -after
                        break
                    at = after
                    if number == 0:
                        store32(buffer + 4 * i + 4, counts[child])
                        pc = code[pc, TARGET]
                        continue
                    remaining[child] = number
                if counts[child] >= capacities[child]:
                    fault, what = FULL_LEVEL, child
                    break
                remaining[child] -= 1
            elif op == ITEM_END:
                counts[code[pc, CHILD]] += 1
                pc = code[pc, TARGET]
                continue
            elif op == JUMP:
                pc = code[pc, TARGET]
                continue
            elif op == FILL:
                size = code[pc, ARGUMENT]
                for j in range(size):
                    store8(buffer + size * i + j, 0)
            elif op == FILL_BIT:
                store_bit(buffer, i, 0)
            elif op == FILL_OFFSET:
                store32(buffer + 4 * i + 4, load32(buffer + 4 * i))
            pc += 1
        if fault == GOOD:
            kept[counts[0]] = row
            counts[0] += 1
            continue
        counts[:] = before
        if fault >= FULL_HEAP:
            return k, failed, fault, what
        failures[failed, 0] = row
        failures[failed, 1] = fault
        failures[failed, 2] = (end if fault == TRUNCATED and what == 1 else at) - begin
        failures[failed, 3] = pc
        failures[failed, 4] = what
        failed += 1
    return len(rows), failed, GOOD, 0
