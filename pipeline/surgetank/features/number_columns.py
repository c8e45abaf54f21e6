"""Columns of numbers as doubles: integers, floats, booleans, decimals, dates and times of day."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Float64s = npt.NDArray[np.float64]

_TICKS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def is_number(dtype: pa.DataType) -> bool:
    """Say whether an Arrow type has numbers: integers, floats, booleans, decimals, dates and times of day."""
    return is_plain_number(dtype) or bool(
        pa.types.is_decimal(dtype) or pa.types.is_date32(dtype) or pa.types.is_time(dtype)
    )


def is_plain_number(dtype: pa.DataType) -> bool:
    """Say whether an Arrow type is an integer, a float or a boolean."""
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_boolean(dtype))


def doubles_of(column: pa.Array) -> Float64s:
    """Return float64 [m] of a column that ``is_number``, NaN for null.

    A boolean is 0 or 1, a decimal the nearest double, a date the days since 1970-01-01, and a time of day the seconds
    since midnight.
    """
    dtype = column.type
    if pa.types.is_decimal(dtype):
        from surgetank.features.decimals import decimals_as_doubles  # compiled code, only for events with decimals

        return decimals_as_doubles(column)
    if pa.types.is_date32(dtype):
        return _plain(column.view(pa.int32()))
    if pa.types.is_time(dtype):
        return _plain(column.view(pa.int32() if dtype.bit_width == 32 else pa.int64())) / _TICKS_PER_SECOND[dtype.unit]
    return _plain(column)


def _plain(column: pa.Array) -> Float64s:
    if column.null_count or pa.types.is_boolean(column.type):
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    return column.to_numpy().astype(np.float64)  # type: ignore[no-any-return]
