"""Columns of strings that features read, plain or dictionary-encoded as decoded Avro enums are."""

import pyarrow as pa


def is_string(dtype: pa.DataType) -> bool:
    """Return whether values of this type are strings."""
    plain = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain))


def without_dictionary(column: pa.Array) -> pa.Array:
    """Return the values themselves."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
