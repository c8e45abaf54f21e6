"""Nulls where the schema has none. Arrow lets them be, and pyruhvro would write something in their place."""

import pyarrow as pa

from pipeline.codec.types import Array, AvroType, Map, Nullable, Primitive, Record


def forbidden_null(record: Record, columns: pa.RecordBatch) -> str | None:
    """Return the first field that is null somewhere and may not be, or None."""
    found = (_search(kind, column, name) for (name, kind), column in zip(record.fields, columns.columns, strict=True))
    return next((path for path in found if path is not None), None)


def _search(kind: AvroType, column: pa.Array, path: str) -> str | None:
    """``column`` holds what may not be null itself, nor within."""
    if isinstance(kind, Nullable):
        # Most columns are plain: then whatever is null is null as a whole, and may be.
        nested = isinstance(kind.inner, Array | Map | Record)
        return _search(kind.inner, column.drop_null(), path) if nested else None
    if kind == Primitive("null"):
        return None
    if column.null_count:
        return path
    match kind:
        case Record():
            found = (_search(each, column.field(i), f"{path}.{name}") for i, (name, each) in enumerate(kind.fields))
            return next((inner for inner in found if inner is not None), None)
        case Array():
            return _search(kind.items, column.flatten(), f"{path}[]")
        case Map():
            values = pa.ListArray.from_arrays(column.offsets, column.items).flatten()
            return _search(kind.values, values, f"{path}{{}}")
        case _:
            return None
