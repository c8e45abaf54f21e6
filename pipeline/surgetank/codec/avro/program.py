"""A schema as a program: a table of instructions for the compiled interpreters, and the Arrow buffers that they use.

The fields of a record follow each other, nested records in line. A union with null skips its inner type by a jump;
an array or a map is a loop. No schema that becomes columns contains itself, so that every loop is active at most once
at a time and the interpreters need no stack.

Values lie in buffers. A *level* counts the values of all buffers that grow together: level 0 the rows, and a level
more for the items of each array or map.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, auto

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.codec.avro.types import Array, AvroType, Enum, Fixed, Map, Nullable, Primitive, Record, arrow_schema

Int64s = npt.NDArray[np.int64]


class Op(IntEnum):
    """What an instruction does. Those from FILL on write an empty value where the record around is null."""

    END = 0
    INT = auto()
    LONG = auto()
    BOOLEAN = auto()
    FLOAT = auto()
    DOUBLE = auto()
    STRING = auto()
    BYTES = auto()
    FIXED = auto()
    ENUM = auto()
    DECIMAL = auto()
    FIXED_DECIMAL = auto()
    NULLABLE = auto()
    LOOP = auto()
    BLOCK = auto()
    ITEM_END = auto()
    JUMP = auto()
    REQUIRE = auto()  # to encode only: what follows may not be null
    FILL = auto()
    FILL_BIT = auto()
    FILL_OFFSET = auto()


# The columns of the table of instructions.
OP, LEVEL, BUFFER, DATA, ARGUMENT, TARGET, CHILD = range(7)
COLUMNS = 7

# The width of a buffer, in bytes for each value, or one of these.
BITS = -2  # a bit for each value
HEAP = -1  # bytes of any length; its offsets are the buffer before it


@dataclass(frozen=True, slots=True)
class Buffer:
    """One Arrow buffer: how wide its values are, and the level that counts them. Offsets have one value more."""

    width: int
    level: int
    offsets: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """An Arrow array: its type, the level that counts its values, its buffers (-1: no validity), its children."""

    type: pa.DataType
    level: int
    validity: int
    buffers: tuple[int, ...]
    children: tuple["Shape", ...] = ()
    symbols: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """A schema, made ready. ``code`` is int64 [instructions, COLUMNS]; ``paths`` names the field of each instruction.

    ``limits`` is int64 [k, 4]: ten to the power of each decimal's precision, the lowest 64 bits first.
    """

    code: Int64s
    paths: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    levels: int
    shapes: tuple[Shape, ...]
    limits: Int64s


def program_of(record: Record, *, checked: bool = False) -> Program:
    """Return the program of a record.

    ``checked``: a program to encode columns that have nulls where none may be. Whatever is not nullable has a validity
    buffer too, and an instruction that looks at it.
    """
    builder = _Builder(checked)
    shapes = builder.fields(record, list(arrow_schema(record)), "", 0)
    builder.emit(Op.END, "")
    return Program(
        code=np.array(builder.code, dtype=np.int64),
        paths=tuple(builder.paths),
        buffers=tuple(builder.buffers),
        levels=builder.levels,
        shapes=shapes,
        limits=np.frombuffer(b"".join(builder.limits) or bytes(32), dtype=np.int64).reshape(-1, 4).copy(),
    )


_OPS = {
    "int": (Op.INT, 4),
    "long": (Op.LONG, 8),
    "boolean": (Op.BOOLEAN, BITS),
    "float": (Op.FLOAT, 4),
    "double": (Op.DOUBLE, 8),
}


@dataclass(slots=True)
class _Builder:
    checked: bool
    code: list[list[int]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    limits: list[bytes] = field(default_factory=list)
    levels: int = 1

    def emit(
        self, op: Op, path: str, level: int = 0, buffer: int = 0, data: int = 0, argument: int = 0, child: int = 0
    ) -> int:
        """Append an instruction and return its place; its target is set later."""
        self.code.append([op, level, buffer, data, argument, -1, child])
        self.paths.append(path)
        return len(self.code) - 1

    def buffer(self, width: int, level: int, *, offsets: bool = False) -> int:
        self.buffers.append(Buffer(width, level, offsets))
        return len(self.buffers) - 1

    def fields(self, record: Record, columns: Sequence[pa.Field], path: str, level: int) -> tuple[Shape, ...]:
        prefix = f"{path}." if path else ""
        pairs = zip(record.fields, columns, strict=True)
        return tuple(self.value(kind, column.type, prefix + name, level) for (name, kind), column in pairs)

    def value(self, kind: AvroType, dtype: pa.DataType, path: str, level: int, validity: int = -1) -> Shape:
        if self.checked and validity < 0 and not isinstance(kind, Nullable) and kind != Primitive("null"):
            validity = self.buffer(BITS, level)
            self.emit(Op.REQUIRE, path, level, validity)
        match kind:
            case Nullable():
                return self._nullable(kind, dtype, path, level)
            case Record():
                return Shape(dtype, level, validity, (), self.fields(kind, list(dtype), path, level))
            case Array():
                return self._loop(dtype, ((kind.items, dtype.value_type),), f"{path}[]", level, validity)
            case Map():
                pair = ((Primitive("string"), dtype.key_type), (kind.values, dtype.item_type))
                return self._loop(dtype, pair, f"{path}{{}}", level, validity)
            case Enum():
                buffer = self.buffer(4, level)
                self.emit(Op.ENUM, path, level, buffer, argument=len(kind.symbols))
                return Shape(dtype, level, validity, (buffer,), symbols=kind.symbols)
            case Fixed() if kind.decimal:
                return self._decimal(Op.FIXED_DECIMAL, kind.decimal.precision, dtype, path, level, validity, kind.size)
            case Fixed():
                buffer = self.buffer(kind.size, level)
                self.emit(Op.FIXED, path, level, buffer, argument=kind.size)
                return Shape(dtype, level, validity, (buffer,))
            case Primitive() if kind.decimal:
                return self._decimal(Op.DECIMAL, kind.decimal.precision, dtype, path, level, validity)
            case Primitive(name="string" | "bytes"):
                offsets = self.buffer(4, level, offsets=True)
                heap = self.buffer(HEAP, level)
                self.emit(Op.STRING if kind.name == "string" else Op.BYTES, path, level, offsets, heap)
                return Shape(dtype, level, validity, (offsets, heap))
            case Primitive(name="null"):
                return Shape(dtype, level, validity, ())
            case Primitive():
                op, width = _OPS[kind.name]
                buffer = self.buffer(width, level)
                self.emit(op, path, level, buffer)
                return Shape(dtype, level, validity, (buffer,))

    def _nullable(self, kind: Nullable, dtype: pa.DataType, path: str, level: int) -> Shape:
        validity = self.buffer(BITS, level)
        branch = self.emit(Op.NULLABLE, path, level, validity, argument=kind.null_at)
        first = len(self.buffers)
        shape = self.value(kind.inner, dtype, path, level, validity)
        skip = self.emit(Op.JUMP, path)
        self.code[branch][TARGET] = len(self.code)
        for number, buffer in enumerate(self.buffers[first:], first):
            if buffer.level != level or buffer.width == HEAP:
                continue
            if buffer.offsets:
                self.emit(Op.FILL_OFFSET, path, level, number)
            elif buffer.width == BITS:
                self.emit(Op.FILL_BIT, path, level, number)
            else:
                self.emit(Op.FILL, path, level, number, argument=buffer.width)
        self.code[skip][TARGET] = len(self.code)
        return shape

    def _loop(
        self, dtype: pa.DataType, item: Sequence[tuple[AvroType, pa.DataType]], path: str, level: int, validity: int
    ) -> Shape:
        offsets = self.buffer(4, level, offsets=True)
        child = self.levels
        self.levels += 1
        self.emit(Op.LOOP, path, level, offsets, child=child)
        block = self.emit(Op.BLOCK, path, level, offsets, child=child)
        children = tuple(self.value(kind, part, path, child) for kind, part in item)
        end = self.emit(Op.ITEM_END, path, level, child=child)
        self.code[end][TARGET] = block
        self.code[block][TARGET] = len(self.code)
        return Shape(dtype, level, validity, (offsets,), children)

    def _decimal(
        self, op: Op, precision: int, dtype: pa.DataType, path: str, level: int, validity: int, size: int = 0
    ) -> Shape:
        buffer = self.buffer(dtype.byte_width, level)
        self.limits.append((10**precision).to_bytes(32, "little"))
        self.emit(op, path, level, buffer, dtype.byte_width, size, child=len(self.limits) - 1)
        return Shape(dtype, level, validity, (buffer,))
