"""Converts columns of a writer's type to a reader's type by Avro's schema resolution, without a Python object per row.

Covered at any depth: fields added with a default, removed, renamed by an alias or in another order; numbers and strings
promoted; types that became nullable; enums that gained symbols, or lost them and have a default.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.codec.avro.rows import Rows
from surgetank.codec.avro.types import (
    Array,
    AvroType,
    Enum,
    FieldRule,
    Fixed,
    Json,
    Map,
    Nullable,
    Primitive,
    Record,
    plain_type,
)

Conversion = Callable[[pa.Array], pa.Array]

_PROMOTIONS = {("int", "long"), ("int", "float"), ("int", "double"), ("long", "float"), ("long", "double")}
_PROMOTIONS |= {("float", "double"), ("string", "bytes")}


def columns_conversion(
    writer: Record, reader: Record, types: list[pa.DataType]
) -> Callable[[list[pa.Array], int], list[pa.Array]] | None:
    """Return what makes the columns of a reader, of ``types``, from those of a writer and their number of rows.

    None if some rows may not fit, so that each must be looked at: a null where none may be, a symbol without a default,
    bytes that become a text, decimals of another precision.
    """
    numbers = {name: number for number, (name, _) in enumerate(writer.fields)}
    rules = reader.rules or (FieldRule(),) * len(reader.fields)
    parts: list[tuple[int, Conversion]] = []
    for (name, kind), rule, dtype in zip(reader.fields, rules, types, strict=True):
        number = next((numbers[each] for each in (name, *rule.aliases) if each in numbers), None)
        if number is None:
            if not rule.has_default:
                return None
            parts.append((-1, _repeated(default_column(name, kind, rule.default).cast(dtype))))
            continue
        found = conversion(writer.fields[number][1], kind, dtype)
        if found is None:
            return None
        parts.append((number, found))

    def convert(columns: list[pa.Array], rows: int) -> list[pa.Array]:
        anything = pa.nulls(rows)
        return [each(columns[number] if number >= 0 else anything) for number, each in parts]

    return convert


def conversion(writer: AvroType, reader: AvroType, dtype: pa.DataType) -> Conversion | None:
    """Return the conversion of a column of a writer's type to the Arrow type of the reader's; None as above."""
    if writer == reader and not isinstance(reader, Nullable | Record | Array | Map):
        return _same
    match writer, reader:
        case Nullable(), Nullable():
            return conversion(writer.inner, reader.inner, dtype)
        case Primitive("null"), Nullable():
            return lambda column: pa.nulls(len(column), dtype)
        case Nullable(), _:
            return None
        case _, Nullable():
            return conversion(writer, reader.inner, dtype)
        case Primitive(), Primitive():
            return _primitive(writer, reader, dtype)
        case Enum(), Enum():
            return _enum(writer, reader)
        case Array(), Array():
            items = conversion(writer.items, reader.items, dtype.value_type)
            return None if items is None else _array(items, dtype)
        case Map(), Map():
            values = conversion(writer.values, reader.values, dtype.item_type)
            return None if values is None else _map(values, dtype)
        case Record(), Record():
            return _record(writer, reader, dtype)
        case Fixed(), Fixed():
            return None  # of another size or decimal
    return None


def default_column(name: str, kind: AvroType, default: Json) -> pa.Array:
    """Return a field's default as a column of one row, of the reader's Arrow type."""
    return Rows(Record(((name, kind),))).of([{name: _native(kind, default)}]).column(0)


def _same(column: pa.Array) -> pa.Array:
    return column


def _repeated(value: pa.Array) -> Conversion:
    return lambda column: value.take(pa.array(np.zeros(len(column), dtype=np.int64)))


def _primitive(writer: Primitive, reader: Primitive, dtype: pa.DataType) -> Conversion | None:
    if writer.decimal or reader.decimal:
        return None
    if writer.name == reader.name:  # another logical type: the same numbers
        return lambda column: column.view(dtype)
    if (writer.name, reader.name) not in _PROMOTIONS:
        return None
    narrow, wide = plain_type(writer), plain_type(reader)
    # A long may be rounded to a double.
    return lambda column: column.view(narrow).cast(wide, safe=False).view(dtype)


def _enum(writer: Enum, reader: Enum) -> Conversion | None:
    if set(writer.symbols) <= set(reader.symbols):
        return _same
    if reader.default is None:
        return None
    known, default = pa.array(reader.symbols, pa.string()), pa.scalar(reader.default, pa.string())

    def convert(column: pa.Array) -> pa.Array:
        kept = pc.or_(pc.is_in(column, known), pc.is_null(column))
        return pc.if_else(kept, column, default)

    return convert


def _array(items: Conversion, dtype: pa.DataType) -> Conversion:
    def convert(column: pa.Array) -> pa.Array:
        return pa.Array.from_buffers(
            dtype, len(column), column.buffers()[:2], offset=column.offset, children=[items(column.values)]
        )

    return convert


def _map(values: Conversion, dtype: pa.DataType) -> Conversion:
    def convert(column: pa.Array) -> pa.Array:
        converted = [column.keys, values(column.items)]
        entries = pa.Array.from_buffers(
            pa.struct([dtype.key_field, dtype.item_field]), len(column.keys), [None], children=converted
        )
        return pa.Array.from_buffers(dtype, len(column), column.buffers()[:2], offset=column.offset, children=[entries])

    return convert


def _record(writer: Record, reader: Record, dtype: pa.StructType) -> Conversion | None:
    fields = [dtype.field(number) for number in range(dtype.num_fields)]
    convert_fields = columns_conversion(writer, reader, [each.type for each in fields])
    if convert_fields is None:
        return None

    def convert(column: pa.StructArray) -> pa.Array:
        children = [column.field(number) for number in range(column.type.num_fields)]
        converted = convert_fields(children, len(column))
        mask = column.is_null() if column.null_count else None
        return pa.StructArray.from_arrays(converted, fields=fields, mask=mask)

    return convert


def _native(kind: AvroType, default: Json) -> Any:
    """Return a JSON default as the value that it stands for: bytes are text in JSON."""
    match kind:
        case Nullable():
            return None if default is None else _native(kind.inner, default)
        case Record():
            rules = kind.rules or (FieldRule(),) * len(kind.fields)
            return {
                name: _native(each, default.get(name, rule.default))
                for (name, each), rule in zip(kind.fields, rules, strict=True)
            }
        case Array():
            return [_native(kind.items, each) for each in default]
        case Map():
            return {name: _native(kind.values, each) for name, each in default.items()}
        case Primitive("bytes") | Fixed() if isinstance(default, str):
            raw = default.encode("latin-1")
            if kind.decimal is None:
                return raw
            return Decimal(int.from_bytes(raw, "big", signed=True)).scaleb(-kind.decimal.scale)
    return default
