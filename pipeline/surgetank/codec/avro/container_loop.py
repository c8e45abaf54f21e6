"""Finds where each record of a block of an Avro object container file ends, without decoding it."""

from typing import Any

from numba import int64, types

from surgetank.codec.avro.program import ARGUMENT, CHILD, OP, TARGET, Op
from surgetank.codec.avro.reading import varint
from surgetank.compiled import compiled

END, INT, LONG, BOOLEAN, FLOAT, DOUBLE = (int(op) for op in (Op.END, Op.INT, Op.LONG, Op.BOOLEAN, Op.FLOAT, Op.DOUBLE))
STRING, BYTES, FIXED, ENUM = (int(op) for op in (Op.STRING, Op.BYTES, Op.FIXED, Op.ENUM))
DECIMAL, FIXED_DECIMAL, NULLABLE = (int(op) for op in (Op.DECIMAL, Op.FIXED_DECIMAL, Op.NULLABLE))
LOOP, BLOCK, ITEM_END, JUMP = (int(op) for op in (Op.LOOP, Op.BLOCK, Op.ITEM_END, Op.JUMP))

_int64s = types.Array(int64, 1, "C")
_table = types.Array(int64, 2, "C")


@compiled(int64(_table, int64, int64, _int64s, _int64s))
def record_ends(code: Any, data: int, size: int, remaining: Any, ends: Any) -> int:
    """Write the end of each of n records, int64 [n + 1] beginning with 0; return n, or the first that does not fit.

    ``code`` is that of the schema's program, ``data`` the address of the block of ``size`` bytes. ``remaining``, int64
    [levels], is room. Returns n + 1 if bytes are left over. Only lengths are checked: what is in a record is checked
    when it is decoded.
    """
    records = len(ends) - 1
    at, end = data, data + size
    ends[0] = 0
    for row in range(records):
        pc = 0
        while True:
            op = code[pc, OP]
            if op == END:
                break
            skip = 0
            if op == INT or op == LONG or op == ENUM:
                _, after = varint(at, end)
                if after < 0:
                    return row
                at = after
            elif op == STRING or op == BYTES or op == DECIMAL:
                skip, after = varint(at, end)
                if after < 0:
                    return row
                at = after
            elif op == NULLABLE:
                branch, after = varint(at, end)
                if after < 0:
                    return row
                at = after
                if branch == code[pc, ARGUMENT]:
                    pc = code[pc, TARGET]
                    continue
            elif op == BOOLEAN:
                skip = 1
            elif op == FLOAT:
                skip = 4
            elif op == DOUBLE:
                skip = 8
            elif op == FIXED or op == FIXED_DECIMAL:
                skip = code[pc, ARGUMENT]
            elif op == LOOP:
                remaining[code[pc, CHILD]] = 0
            elif op == BLOCK:
                child = code[pc, CHILD]
                if remaining[child] == 0:
                    number, after = varint(at, end)
                    if after >= 0 and number < 0:
                        number = -number
                        at = after
                        _, after = varint(at, end)  # the size of the block in bytes
                    if after < 0 or number < 0 or number > end - after:  # each item has a byte at least
                        return row
                    at = after
                    if number == 0:
                        pc = code[pc, TARGET]
                        continue
                    remaining[child] = number
                remaining[child] -= 1
            elif op == ITEM_END or op == JUMP:
                pc = code[pc, TARGET]
                continue
            if skip < 0 or skip > end - at:
                return row
            at += skip
            pc += 1
        ends[row + 1] = at - data
    return records if at == end else records + 1
