"""Encodes Arrow columns as Avro values of one schema, whole batches at a time."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.codec.avro.encode_loop import bytes_bound, encode_rows
from surgetank.codec.avro.faults import RowError, text_of
from surgetank.codec.avro.program import ARGUMENT, BITS, Program, Shape, program_of
from surgetank.codec.avro.types import Record, arrow_schema
from surgetank.codec.wire import FRAME_BYTES


class Encoded(NamedTuple):
    """What became of n rows: ``values`` has n, null for each row of ``errors``."""

    values: pa.LargeBinaryArray
    errors: list[RowError]


class BodyEncoder:
    """Writes columns of one schema as Avro. Use it in one thread at a time; it runs without the GIL.

    ``schema_id`` is that of the Confluent frame before each body; without one there is no frame.
    """

    def __init__(self, record: Record, schema_id: int | None = None) -> None:
        self.schema: pa.Schema = arrow_schema(record)
        self._program = program_of(record)
        self._checked = program_of(record, checked=True)
        self._id = 0 if schema_id is None else schema_id
        self._frame_bytes = 0 if schema_id is None else FRAME_BYTES
        self._symbols: dict[tuple[str, ...], pa.Array] = {}
        self._failures = np.empty((0, 4), dtype=np.int64)  # room, kept from batch to batch

    def encode(self, columns: pa.RecordBatch) -> Encoded:
        """Write one value for each row. ``columns`` has the types of ``schema``, but nulls may be anywhere.

        A null where none may be, a text that is no symbol of its enum and a decimal that has no room in its fixed
        bytes make the row an error, and change nothing for the others.
        """
        rows = columns.num_rows
        bound = _Bound(self._program, self._symbols)
        if not bound.bind(columns):
            bound = _Bound(self._checked, self._symbols)
            bound.bind(columns)
        program, buffers = bound.program, bound.table()
        levels = np.zeros((2, program.levels), dtype=np.int64)
        size = bytes_bound(program.code, buffers, levels, rows, self._frame_bytes)
        out = pa.allocate_buffer(size, resizable=True)
        offsets = np.empty(rows + 1, dtype=np.int64)
        if len(self._failures) < rows:
            self._failures = np.empty((rows, 4), dtype=np.int64)
        failures = self._failures
        failed = encode_rows(
            program.code,
            buffers,
            levels,
            rows,
            self._id,
            self._frame_bytes,
            out.address,
            offsets,
            failures,
        )
        out.resize(int(offsets[-1]), shrink_to_fit=False)
        validity = _validity(rows, failures[:failed, 0]) if failed else None
        values = pa.Array.from_buffers(pa.large_binary(), rows, [validity, pa.py_buffer(offsets), out])
        return Encoded(values, [_error(program, failure) for failure in failures[:failed].tolist()])


class _Bound:
    """A program with the buffers of some columns."""

    def __init__(self, program: Program, symbols: dict[tuple[str, ...], pa.Array]) -> None:
        self.program = program
        self._symbols = symbols
        count = max(len(program.buffers), 1)
        self._addresses = [0] * count
        self._ends = [0] * count
        self._bits = [0] * count
        self._kept: list[pa.Array] = []  # memory that only we hold

    def table(self) -> npt.NDArray[np.int64]:
        """Return int64 [3, buffers], as ``encode_rows`` wants it."""
        return np.array([self._addresses, self._ends, self._bits], dtype=np.int64)

    def bind(self, columns: pa.RecordBatch) -> bool:
        """Take the buffers of the columns; return False if one has nulls that the program does not look at."""
        return self._bind_all(self.program.shapes, columns.columns)

    def _bind_all(self, shapes: tuple[Shape, ...], arrays: list[pa.Array]) -> bool:
        for shape, array in zip(shapes, arrays, strict=True):  # noqa: SIM110 - half the time of all()
            if not self._bind(shape, array):
                return False
        return True

    def _bind(self, shape: Shape, array: pa.Array) -> bool:
        buffers = array.buffers()
        offset = array.offset
        if shape.validity >= 0:
            if array.null_count:
                self._take(shape.validity, buffers[0], 0)
                self._bits[shape.validity] = offset
        elif array.null_count and not pa.types.is_null(shape.type):
            return False
        if shape.symbols is not None:
            places = self._places(shape.symbols, array)
            buffers, offset = places.buffers(), places.offset
        if shape.buffers:
            first, *heaps = shape.buffers
            width = self.program.buffers[first].width
            if width == BITS:
                self._take(first, buffers[1], 0)
                self._bits[first] = offset
            else:
                self._take(first, buffers[1], offset * width)
            for heap in heaps:
                self._take(heap, buffers[2], 0)
        return not shape.children or self._bind_all(shape.children, _children(array))

    def _places(self, symbols: tuple[str, ...], array: pa.Array) -> pa.Array:
        """Return the places of an enum's texts, int32, -1 for one that is no symbol."""
        values = self._symbols.setdefault(symbols, pa.array(symbols, pa.string()))
        places = pc.fill_null(pc.index_in(array, values), -1)
        self._kept.append(places)
        return places

    def _take(self, b: int, buffer: pa.Buffer | None, skipped: int) -> None:
        if buffer is not None:
            self._addresses[b] = buffer.address + skipped
            self._ends[b] = buffer.address + buffer.size


def _children(array: pa.Array) -> list[pa.Array]:
    """Return the arrays inside one: those of a struct begin where it begins, items and entries with their first."""
    if isinstance(array, pa.MapArray):
        return [array.values.field(0), array.values.field(1)]  # ``keys`` forgets where the entries begin
    if isinstance(array, pa.ListArray):
        return [array.values]
    return [array.field(i) for i in range(array.type.num_fields)]


def _validity(rows: int, failed: npt.NDArray[np.int64]) -> pa.Buffer:
    valid = np.ones(rows, dtype=np.bool_)
    valid[failed] = False
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def _error(program: Program, failure: list[int]) -> RowError:
    row, fault, place, what = failure
    argument = int(program.code[place, ARGUMENT])
    return RowError(row, -1, program.paths[place], text_of(fault, what, argument, 0))
