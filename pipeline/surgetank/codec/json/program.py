"""A schema, made ready for JSON: tables of its fields, names and symbols for the compiled loop."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from surgetank.codec.avro.program import HEAP, Int64s, Op, Program, Shape, program_of
from surgetank.codec.avro.types import Array, AvroType, Enum, Fixed, Json, Primitive, Record, without_null
from surgetank.errors import SchemaError

# The columns of the table of fields. DEFAULT and DEFAULT_BYTES say where the JSON text of the default is in the texts;
# DEFAULT_BYTES is 0 if there is none. ARGUMENT is the size of a fixed, an enum's first symbol, or the row that says how
# the items of an array are read; SYMBOLS is how many an enum has. DATA of an array is the level of its items.
OP, VALIDITY, BUFFER, DATA, ARGUMENT, SYMBOLS, DEFAULT, DEFAULT_BYTES = range(8)
FIELD_COLUMNS = 8
# The columns of the tables of names and symbols: where the text is, its bytes, and the field.
TEXT, TEXT_BYTES, FIELD = range(3)
NAME_COLUMNS = 3
# What the compiled loop needs beside the rows, as int64 [13]: the addresses of the tables, of the texts, of the int64
# addresses and sizes of the buffers, and of scratch memory; how many fields and names there are, and the bytes of the
# scratch memory. SUCCESSORS, int64 [N + 1], remembers which name follows a name, and which comes first. SEEN,
# int64 [F], takes 1 for each field that is there. CAPACITIES, int64 [levels], is how many values a level has room for.
FIELDS, FIELD_COUNT, NAMES, NAME_COUNT, SYMBOL_TABLE, TEXTS = range(6)
MEMORY, ROOM, SCRATCH, SCRATCH_BYTES, SUCCESSORS, SEEN, CAPACITIES = range(6, 13)

_OPS = {
    "int": Op.INT,
    "long": Op.LONG,
    "boolean": Op.BOOLEAN,
    "float": Op.FLOAT,
    "double": Op.DOUBLE,
    "string": Op.STRING,
    "bytes": Op.BYTES,
}
_ITEMS = {"int", "long", "float", "double"}


@dataclass(frozen=True, slots=True)
class JsonProgram:
    """A schema for the compiled loop.

    ``columns`` has the buffers and shapes of the columns. ``fields`` is int64 [F + A, 8]: the fields, then the items
    of A arrays. ``names`` is int64 [N, 3]: the names and aliases of the fields, in the order of the schema, then the
    aliases. ``symbols`` is int64 [S, 3].
    ``texts`` is uint8: the bytes of names, symbols and defaults, and eight more. ``field_names`` and ``types`` name
    the fields and their types, with an article; ``text_bytes_max`` is the longest text that is compared or decoded
    to a fixed.
    """

    columns: Program
    fields: Int64s
    names: Int64s
    symbols: Int64s
    texts: np.ndarray[Any, np.dtype[np.uint8]]
    field_names: tuple[str, ...]
    types: tuple[str, ...]
    text_bytes_max: int


def json_program_of(record: Record, avro: Json) -> JsonProgram:
    """Return the program of a schema, given as a tree and as in its file.

    Raises SchemaError, which names the field, for a type that JSON events cannot have.
    """
    texts = _Texts()
    columns = program_of(record)
    fields, names, types = [], [], []
    symbols: list[list[int]] = []
    items: list[list[int]] = []
    longest = 0
    aliases: list[tuple[str, int]] = []
    for number, ((name, nullable), declared, shape) in enumerate(
        zip(record.fields, avro["fields"], columns.shapes, strict=True)
    ):
        kind = without_null(nullable)
        op, described, size = _op_of(kind, name)
        row = [op, shape.validity, *_buffers(shape, columns), size, 0, *texts.add(_default(declared, nullable, kind))]
        if isinstance(kind, Enum):
            row[ARGUMENT], row[SYMBOLS] = len(symbols), len(kind.symbols)
            symbols += [[*texts.add(symbol), number] for symbol in kind.symbols]
            longest = max(longest, *(len(symbol.encode()) for symbol in kind.symbols), 0)
        if isinstance(kind, Fixed):
            longest = max(longest, _base64_bytes(kind.size))
        if isinstance(kind, Array) and isinstance(kind.items, Primitive):
            (item,) = shape.children
            row[ARGUMENT], row[DATA] = len(record.fields) + len(items), item.level
            items.append([_OPS[kind.items.name], -1, *item.buffers, 0, 0, 0, 0, 0])
        fields.append(row)
        types.append(described)
        names.append([*texts.add(name), number])
        aliases += [(alias, number) for alias in declared.get("aliases", ())]
    field_names = tuple(name for name, _ in record.fields)
    names += [[*texts.add(alias), number] for alias, number in aliases if alias not in field_names and _is_plain(alias)]
    return JsonProgram(
        columns=columns,
        fields=np.array(fields + items, dtype=np.int64),
        names=np.array(names, dtype=np.int64),
        symbols=np.array(symbols, dtype=np.int64).reshape(-1, 3),
        texts=np.frombuffer(bytes(texts.joined) + bytes(8), dtype=np.uint8),
        field_names=field_names,
        types=tuple(types),
        text_bytes_max=max(longest, *(row[TEXT_BYTES] for row in names)),
    )


class _Texts:
    """Bytes of many texts in one piece."""

    def __init__(self) -> None:
        self.joined = bytearray()

    def add(self, text: str) -> tuple[int, int]:
        """Append a text in UTF-8; return where it is, and its bytes."""
        raw = text.encode()
        self.joined += raw
        return len(self.joined) - len(raw), len(raw)


def _is_plain(name: str) -> bool:
    """Return whether JSON has the name without escapes: names are first compared as they are."""
    return json.dumps(name, ensure_ascii=False) == f'"{name}"'


def _op_of(kind: AvroType, name: str) -> tuple[Op, str, int]:
    """Return how a field is read, its type in words, and its size if it is a fixed."""
    match kind:
        case Primitive(decimal=None) if kind.name in _OPS:
            article = "an" if kind.name == "int" else "a"
            return _OPS[kind.name], kind.name if kind.name == "bytes" else f"{article} {kind.name}", 0
        case Enum():
            return Op.ENUM, "an enum", 0
        case Array(items=Primitive(decimal=None, logical=None) as item) if item.name in _ITEMS:
            return Op.LOOP, f"an array of {item.name}s", 0
        case Fixed(decimal=None):
            return Op.FIXED, f"a fixed of {kind.size} bytes", kind.size
    raise SchemaError(
        f"field {name!r}: JSON events have boolean, int, long, float, double, string, bytes, enum, fixed and arrays of "
        "int, long, float or double, or a union of null and one of these, and no decimal; leave the field out: fields "
        "that the schema lacks are ignored"
    )


def _buffers(shape: Shape, columns: Program) -> tuple[int, int]:
    """Return the buffer of a field's values or offsets, and the one of its bytes."""
    first, *rest = shape.buffers
    assert not rest or columns.buffers[rest[0]].width == HEAP
    return first, rest[0] if rest else 0


def _base64_bytes(size: int) -> int:
    return (size + 2) // 3 * 4


def _default(declared: Json, nullable: AvroType, kind: AvroType) -> str:
    """Return the JSON text of what a missing field is, "" if it must not be missing."""
    if "default" not in declared:
        return "" if nullable is kind else "null"
    default = declared["default"]
    if isinstance(default, str) and (isinstance(kind, Fixed) or kind == Primitive("bytes")):
        default = base64.b64encode(default.encode("latin-1")).decode()  # Avro's defaults have a character for a byte
    return json.dumps(default, ensure_ascii=False)
