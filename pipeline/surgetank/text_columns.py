"""The text of keys and event ids of any type, as scores and feature records hold it. Pure."""

import pyarrow as pa
import pyarrow.compute as pc


def has_text(dtype: pa.DataType) -> bool:
    """Return whether values of an Arrow type have a text: all but those of records, arrays and maps."""
    return not pa.types.is_nested(dtype)


def as_text(column: pa.Array) -> pa.StringArray:
    """Return the text of each value, null for null; raise nothing for any value of a type that ``has_text``.

    Bytes are written as lower-case hexadecimal digits. Dates and times are written as in ISO 8601, with a space before
    the time of day, and with Z if they are instants; one outside the range of its type, as the whole number that
    encodes it. Numbers, booleans, enums and uuids have their usual text.
    """
    dtype = column.type
    if pa.types.is_string(dtype):
        return column
    if _is_binary(dtype):
        return pa.array([None if value is None else value.hex() for value in column.to_pylist()], pa.string())
    if pa.types.is_temporal(dtype):
        return _text_of_times(column)
    return column.cast(pa.string())


def as_key(column: pa.Array) -> pa.BinaryArray:
    """Return the record key that repeats a key field: bytes unchanged, any other type as its text in UTF-8."""
    return column.cast(pa.binary()) if _is_binary(column.type) else as_text(column).cast(pa.binary())


def _is_binary(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_binary(dtype) or pa.types.is_fixed_size_binary(dtype) or pa.types.is_large_binary(dtype))


def _text_of_times(column: pa.Array) -> pa.StringArray:
    """Return the text of dates, times of day or timestamps; Arrow marks those out of range with angle brackets."""
    dtype = column.type
    numbers = column.view(pa.int64() if dtype.bit_width == 64 else pa.int32())
    instants = pa.types.is_timestamp(dtype) and dtype.tz is not None
    text = numbers.view(pa.timestamp(dtype.unit) if instants else dtype).cast(pa.string())
    if instants:  # without the zone, since Arrow checks the range only of times without one
        text = pc.binary_join_element_wise(text, "Z", "")
    return pc.if_else(pc.starts_with(text, "<"), numbers.cast(pa.string()), text)
