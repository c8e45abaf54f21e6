"""The interpreter that encodes: one compiled loop for all schemas runs a program over the rows of Arrow columns."""

from typing import Any

from numba import int64, types

from surgetank.codec.avro.decode_loop import (
    BLOCK,
    BOOLEAN,
    BYTES,
    DECIMAL,
    DOUBLE,
    END,
    ENUM,
    FIXED,
    FIXED_DECIMAL,
    FLOAT,
    INT,
    ITEM_END,
    JUMP,
    LONG,
    LOOP,
    NULLABLE,
    SLACK,
    STRING,
)
from surgetank.codec.avro.faults import DECIMAL_OVER_SIZE, FORBIDDEN_NULL, GOOD, NO_SYMBOL
from surgetank.codec.avro.memory import load8, load32, load64, store8, store32, store64
from surgetank.codec.avro.program import ARGUMENT, BUFFER, CHILD, DATA, LEVEL, OP, TARGET, Op
from surgetank.codec.avro.reading import copied
from surgetank.codec.avro.writing import decimal_bytes, write_decimal, write_varint
from surgetank.compiled import compiled

REQUIRE = int(Op.REQUIRE)

# The rows of the table of buffers: where the first value is, the end of the memory, and the place of the first bit.
ADDRESS, MEMORY_END, FIRST_BIT = range(3)

_VARINT = 10  # bytes, at most; a number of 32 bits takes five
_INT_VARINT = 5

_int64s = types.Array(int64, 1, "C")
_table = types.Array(int64, 2, "C")


@compiled(int64(_table, _table, _table, int64, int64))
def bytes_bound(code: Any, buffers: Any, levels: Any, rows: int, frame_bytes: int) -> int:
    """Return how many bytes the rows take at most. The arguments are those of ``encode_rows``."""
    firsts, counts = levels[0], levels[1]
    firsts[0] = 0
    counts[0] = rows
    total = rows * frame_bytes + SLACK
    for pc in range(len(code)):
        op = code[pc, OP]
        count = counts[code[pc, LEVEL]]
        first = firsts[code[pc, LEVEL]]
        buffer = buffers[ADDRESS, code[pc, BUFFER]]
        if op == INT or op == ENUM:
            total += count * _INT_VARINT
        elif op == LONG:
            total += count * _VARINT
        elif op == DOUBLE:
            total += count * 8
        elif op == FLOAT:
            total += count * 4
        elif op == BOOLEAN or op == NULLABLE:
            total += count
        elif op == FIXED or op == FIXED_DECIMAL:
            total += count * code[pc, ARGUMENT]
        elif op == DECIMAL:
            total += count * (code[pc, DATA] + 1 + _INT_VARINT)
        elif op == STRING or op == BYTES or op == LOOP:
            begin = load32(buffer + 4 * first) if count else 0
            end = load32(buffer + 4 * (first + count)) if count else 0
            total += count * (_INT_VARINT + 1)
            if op == LOOP:
                firsts[code[pc, CHILD]] = begin
                counts[code[pc, CHILD]] = end - begin
            else:
                total += end - begin
    return total


@compiled()
def _bit(buffers: Any, b: int, index: int) -> int:
    """Return a bit of a buffer of bits; 1 if there is no such buffer."""
    address = buffers[ADDRESS, b]
    if address == 0:
        return 1
    place = index + buffers[FIRST_BIT, b]
    bit: int = (load8(address + (place >> 3)) >> (place & 7)) & 1
    return bit


@compiled(int64(_table, _table, _table, int64, int64, int64, int64, _int64s, _table))
def encode_rows(
    code: Any,
    buffers: Any,
    levels: Any,
    rows: int,
    schema_id: int,
    frame_bytes: int,
    out: int,
    offsets: Any,
    failures: Any,
) -> int:
    """Encode all rows to the address ``out``; return how many failed. These take no bytes.

    ``code`` is that of the program. ``buffers`` is int64 [3, buffers]; the values of a level are counted from the
    address on. ``levels`` is room, int64 [2, levels]. Before each body stands the Confluent frame with ``schema_id``,
    if ``frame_bytes`` is 5 and not 0. ``offsets``, int64 [rows + 1], takes where each value starts. ``failures``,
    int64 [rows, 4], takes of each that failed the row, the fault, the instruction and a number that belongs to it.
    """
    index, stop = levels[0], levels[1]
    failed = 0
    at = out
    for row in range(rows):
        begin = at
        offsets[row] = begin - out
        index[0] = row
        if frame_bytes:
            store8(at, 0)
            for j in range(4):
                store8(at + 1 + j, schema_id >> (24 - 8 * j))
            at += 5
        fault = GOOD
        pc = 0
        while True:
            op = code[pc, OP]
            i = index[code[pc, LEVEL]]
            b = code[pc, BUFFER]
            buffer = buffers[ADDRESS, b]
            if op == END:
                break
            elif op == INT:
                at = write_varint(at, load32(buffer + 4 * i))
            elif op == LONG:
                at = write_varint(at, load64(buffer + 8 * i))
            elif op == DOUBLE:
                store64(at, load64(buffer + 8 * i))
                at += 8
            elif op == STRING or op == BYTES:
                begins = load32(buffer + 4 * i)
                size = load32(buffer + 4 * i + 4) - begins
                at = write_varint(at, size)
                heap = code[pc, DATA]
                copied(buffers[ADDRESS, heap] + begins, at, size, buffers[MEMORY_END, heap])
                at += size
            elif op == NULLABLE:
                null_at = code[pc, ARGUMENT]
                if _bit(buffers, b, i) == 0:
                    store8(at, 2 * null_at)
                    at += 1
                    pc = code[pc, TARGET]
                    continue
                store8(at, 2 - 2 * null_at)
                at += 1
            elif op == REQUIRE:
                if _bit(buffers, b, i) == 0:
                    fault = FORBIDDEN_NULL
                    break
            elif op == BOOLEAN:
                store8(at, _bit(buffers, b, i))
                at += 1
            elif op == FLOAT:
                store32(at, load32(buffer + 4 * i))
                at += 4
            elif op == ENUM:
                symbol = load32(buffer + 4 * i)
                if symbol < 0:
                    fault = NO_SYMBOL
                    break
                at = write_varint(at, symbol)
            elif op == FIXED:
                size = code[pc, ARGUMENT]
                for j in range(size):
                    store8(at + j, load8(buffer + size * i + j))
                at += size
            elif op == DECIMAL or op == FIXED_DECIMAL:
                width = code[pc, DATA]
                source = buffer + width * i
                size = decimal_bytes(source, width)
                if op == DECIMAL:
                    at = write_varint(at, size)
                else:
                    if size > code[pc, ARGUMENT]:
                        fault = DECIMAL_OVER_SIZE
                        break
                    size = code[pc, ARGUMENT]
                at = write_decimal(source, width, at, size)
            elif op == LOOP:
                child = code[pc, CHILD]
                index[child] = load32(buffer + 4 * i)
                stop[child] = load32(buffer + 4 * i + 4)
                if stop[child] > index[child]:
                    at = write_varint(at, stop[child] - index[child])
            elif op == BLOCK:
                child = code[pc, CHILD]
                if index[child] >= stop[child]:
                    store8(at, 0)
                    at += 1
                    pc = code[pc, TARGET]
                    continue
            elif op == ITEM_END:
                index[code[pc, CHILD]] += 1
                pc = code[pc, TARGET]
                continue
            elif op == JUMP:
                pc = code[pc, TARGET]
                continue
            pc += 1
        if fault != GOOD:
            failures[failed, 0] = row
            failures[failed, 1] = fault
            failures[failed, 2] = pc
            failures[failed, 3] = i
            failed += 1
            at = begin
    offsets[rows] = at - out
    return failed
