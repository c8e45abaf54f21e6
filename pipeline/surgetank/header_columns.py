"""Finds named headers of many records at once, in a compiled loop over their encoded headers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import int64, types

from surgetank.compiled import compiled
from surgetank.records import Int64s

Bytes = npt.NDArray[np.uint8]

_INT64S = types.Array(int64, 1, "C")
_GIVEN_INT64S = types.Array(int64, 1, "C", readonly=True)
_INT64S_2D = types.Array(int64, 2, "C")
_BYTES = types.Array(types.uint8, 1, "C")
_GIVEN_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_ABSENT = -2


def header_columns(
    headers: pa.LargeBinaryArray, names: Sequence[str]
) -> tuple[dict[str, pa.LargeBinaryArray], dict[str, Int64s]]:
    """Return of n records, by name, the value of the last header of that name, and the number of such headers.

    ``headers`` [n] is encoded as ``record_headers.py`` says. A value is null if there is no such header
    or its value is null.
    """
    n = len(headers)
    _, ends, data = headers.buffers()
    bounds = np.frombuffer(ends, np.int64, n + 1, 8 * headers.offset) if n else np.zeros(1, dtype=np.int64)
    encoded = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, dtype=np.uint8)
    wanted = [name.encode() for name in names]
    name_ends = np.cumsum([0, *map(len, wanted)], dtype=np.int64)
    name_bytes = np.frombuffer(b"".join(wanted), np.uint8)
    starts, lengths = np.zeros((len(names), n), dtype=np.int64), np.full((len(names), n), _ABSENT, dtype=np.int64)
    counts = np.zeros((len(names), n), dtype=np.int64)
    _find(bounds, encoded, name_ends, name_bytes, starts, lengths, counts)
    values = [_column(encoded, starts[i], lengths[i]) for i in range(len(names))]
    return dict(zip(names, values, strict=True)), dict(zip(names, counts, strict=True))


def _column(encoded: Bytes, starts: Int64s, lengths: Int64s) -> pa.LargeBinaryArray:
    n, missing = len(starts), lengths < 0
    bounds = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.where(missing, 0, lengths), out=bounds[1:])
    data = np.empty(int(bounds[-1]), dtype=np.uint8)
    _copy(encoded, starts, bounds, data)
    validity = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), n, [validity, pa.py_buffer(bounds), pa.py_buffer(data)])


@compiled()
def _length_at(encoded: Bytes, at: int) -> int:
    unsigned = np.int64(0)
    for i in range(4):
        unsigned |= np.int64(encoded[at + i]) << np.int64(8 * i)
    return unsigned if unsigned < 0x80000000 else np.int64(-1)  # type: ignore[return-value]


@compiled()
def _number_of(encoded: Bytes, at: int, length: int, name_ends: Int64s, name_bytes: Bytes) -> int:
    """Return which of the wanted names is there, -1 if none."""
    for number in range(len(name_ends) - 1):
        first = name_ends[number]
        if name_ends[number + 1] - first != length:
            continue
        same = 0
        while same < length and encoded[at + same] == name_bytes[first + same]:
            same += 1
        if same == length:
            return number
    return -1


@compiled(types.void(_GIVEN_INT64S, _GIVEN_BYTES, _INT64S, _GIVEN_BYTES, _INT64S_2D, _INT64S_2D, _INT64S_2D))
def _find(
    bounds: Int64s,
    encoded: Bytes,
    name_ends: Int64s,
    name_bytes: Bytes,
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
) -> None:
    """Write, for each wanted name and row, start and length of the last value, and the number of such headers."""
    for row in range(len(bounds) - 1):
        at, end = bounds[row], bounds[row + 1]
        while at < end:
            length = _length_at(encoded, at)
            number = _number_of(encoded, at + 4, length, name_ends, name_bytes)
            at += 4 + length
            length = _length_at(encoded, at)
            at += 4
            if number >= 0:
                starts[number, row] = at
                lengths[number, row] = length
                counts[number, row] += 1
            if length > 0:
                at += length


@compiled(types.void(_GIVEN_BYTES, _INT64S, _INT64S, _BYTES))
def _copy(encoded: Bytes, starts: Int64s, bounds: Int64s, data: Bytes) -> None:
    for row in range(len(starts)):
        for i in range(bounds[row + 1] - bounds[row]):
            data[bounds[row] + i] = encoded[starts[row] + i]
