"""Features of a vector: an embedding that an event carries, as an array of numbers or as raw bytes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.errors import TopologyError
from surgetank.features.spec import Feature, Float32s

Int64s = npt.NDArray[np.int64]
Numbers = npt.NDArray[Any]

SIZE_MAX = 4096
_ITEM = np.dtype("<f4")  # of raw bytes


@dataclass(frozen=True, slots=True)
class VectorItem(Feature):
    """One number of a vector of ``size`` numbers as float32, missing where the vector is null or of another size."""

    field: str
    index: int
    size: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.size <= SIZE_MAX:
            raise TopologyError(
                f"vector {self.field!r}: item {self.index} of {self.size}; a vector has 1 to {SIZE_MAX} items, which "
                "are counted from 0"
            )

    @property
    def name(self) -> str:
        """The name, for example ``field_7``."""
        return f"{self.field}_{self.index}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The field."""
        return (self.field,)

    @property
    def expects(self) -> str:
        """The accepted type: an array of numbers, or bytes."""
        return "an array of numbers, or bytes"

    def takes(self, dtype: pa.DataType) -> bool:
        """Accept lists of integers or floats, and bytes that hold float32 numbers, the lowest byte first."""
        if _is_bytes(dtype):
            return True
        is_list = pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype)
        return is_list and bool(pa.types.is_integer(dtype.value_type) or pa.types.is_floating(dtype.value_type))

    def column(self, columns: pa.RecordBatch) -> Float32s:
        """Return float32 [m]: the number, NaN for a vector that is null or of another size, and for a null in it."""
        vectors = columns.column(self.field)
        items, starts, lengths, step = _raw_items(vectors) if _is_bytes(vectors.type) else _items(vectors)
        fits = lengths == self.size * step
        if vectors.null_count:
            fits &= vectors.is_valid().to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # as of other numbers: what is beyond the range becomes infinite
            if fits.all():
                return items[starts + self.index * step].astype(np.float32, copy=False)
            column = np.full(len(vectors), np.nan, dtype=np.float32)
            column[fits] = items[starts[fits] + self.index * step]
        return column


def vector(field: str, size: int) -> tuple[VectorItem, ...]:
    """Return the features of a vector of ``size`` numbers in their order: ``features=(*vector("face", 128), ...)``.

    The field is an array of numbers, or bytes that hold float32 numbers, the lowest byte first, 4 for each. Raises
    TopologyError for an impossible size.
    """
    if not 1 <= size <= SIZE_MAX:
        raise TopologyError(f"vector {field!r}: size is {size}; it must be from 1 to {SIZE_MAX}")
    return tuple(VectorItem(field, index, size) for index in range(size))


def _is_bytes(dtype: pa.DataType) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(is_kind(dtype) for is_kind in kinds)


def _items(vectors: pa.Array) -> tuple[Numbers, Int64s, Int64s, int]:
    """Return the items of all m vectors, the place of the first of each, int64 [m], its length, int64 [m], and 1."""
    if pa.types.is_fixed_size_list(vectors.type):
        size = vectors.type.list_size
        starts, lengths = (vectors.offset + np.arange(len(vectors))) * size, np.full(len(vectors), size)
    else:
        offsets = vectors.offsets.to_numpy().astype(np.int64)
        starts, lengths = offsets[:-1], np.diff(offsets)
    items = vectors.values
    if items.null_count:
        items = items.cast(pa.float64(), safe=False)
    return items.to_numpy(zero_copy_only=False), starts, lengths, 1


def _raw_items(vectors: pa.Array) -> tuple[Numbers, Int64s, Int64s, int]:
    """Return the same of bytes, counted in bytes: an item begins at each of them; and the bytes of an item."""
    size = _ITEM.itemsize
    if pa.types.is_fixed_size_binary(vectors.type):
        _, data = vectors.buffers()
        offsets = np.arange(vectors.offset, vectors.offset + len(vectors) + 1) * vectors.type.byte_width
    else:
        _, ends, data = vectors.buffers()
        width = np.int64 if pa.types.is_large_binary(vectors.type) else np.int32
        offsets = np.frombuffer(ends, dtype=width)[vectors.offset : vectors.offset + len(vectors) + 1].astype(np.int64)
    if data is None or data.size < size:
        items: Numbers = np.empty(0, dtype=np.float32)
    else:
        items = np.ndarray(data.size - size + 1, dtype=_ITEM, buffer=data, strides=(1,))
    return items, offsets[:-1], np.diff(offsets), size
