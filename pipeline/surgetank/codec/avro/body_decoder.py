"""Decodes Avro bodies of one schema into Arrow columns, whole batches at a time, strictly."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.codec.avro.arena import Arena
from surgetank.codec.avro.decode_loop import FULL_HEAP, FULL_LEVEL, decode_rows
from surgetank.codec.avro.faults import BAD_TEXT, RowError, text_of
from surgetank.codec.avro.program import ARGUMENT, Int64s, program_of
from surgetank.codec.avro.types import Record, arrow_schema
from surgetank.records import payload_bytes

_BYTES_MAX = 2**31 - 1  # Arrow's offsets have 32 bits


class Decoded(NamedTuple):
    """The rows of a batch that were decoded, and why the others were not.

    ``columns`` has m rows; ``rows``, int64 [m], says which they were. ``errors`` has the other rows. Both rise.
    """

    columns: pa.RecordBatch
    rows: Int64s
    errors: list[RowError]


class BodyDecoder:
    """Decodes values of one schema. Use it in one thread at a time; it runs without the GIL."""

    def __init__(self, record: Record) -> None:
        self.schema: pa.Schema = arrow_schema(record)
        self._program = program_of(record)
        self._arena = Arena(self._program)
        self._failures = np.empty((0, 5), dtype=np.int64)  # room, kept from batch to batch

    def decode(self, values: pa.LargeBinaryArray, start: int, rows: Int64s | None = None) -> Decoded:
        """Decode the values of ``rows``, int64, rising; of all rows if it is None. None of those may be null.

        The body of a value begins ``start`` bytes behind its first byte, and the value has as many. A body must be
        exactly one record: bytes that are missing or left over, and whatever the schema does not allow, make its row
        an error, and change nothing for the others. Raises ValueError if the values have 2 GiB or more together.
        """
        rows = np.arange(len(values), dtype=np.int64) if rows is None else rows
        _, offsets, data = values.buffers()
        if offsets is None or not len(rows):
            return Decoded(pa.RecordBatch.from_pylist([], schema=self.schema), np.zeros(0, dtype=np.int64), [])
        if (size := payload_bytes(values)) > _BYTES_MAX:
            raise ValueError(f"values of {size} bytes together; at most {_BYTES_MAX} can be decoded at once")
        at = data.address if data is not None else 0
        end = at + (data.size if data is not None else 0)
        wire = np.array([[at, end, offsets.address + 8 * values.offset, start]], dtype=np.int64)
        kept = np.empty(len(rows), dtype=np.int64)
        if len(self._failures) < len(rows):
            self._failures = np.empty((len(rows), 5), dtype=np.int64)
        failures = self._failures
        levels = np.zeros((3, self._program.levels), dtype=np.int64)
        failed = self._run(levels, size, wire, rows, kept, failures)
        done = int(levels[0, 0])
        counts = levels[0].tolist()
        if done:
            self._arena.learn(done, levels[0])
        columns = pa.RecordBatch.from_arrays(
            [self._arena.column(shape, counts) for shape in self._program.shapes], schema=self.schema
        )
        errors = [self._error(failure, values) for failure in failures[:failed].tolist()]
        return Decoded(columns, kept[:done], errors)

    def _run(
        self,
        levels: npt.NDArray[np.int64],
        payload: int,
        wire: npt.NDArray[np.int64],
        rows: Int64s,
        kept: Int64s,
        failures: npt.NDArray[np.int64],
    ) -> int:
        """Decode all rows; whatever gets full grows, and the loop goes on with the row that did not fit."""
        program, arena = self._program, self._arena
        arena.begin(len(rows), payload)
        first = failed = 0
        while first < len(rows):
            first, failed, full, which = decode_rows(
                program.code,
                program.limits,
                arena.addresses,
                arena.heaps,
                arena.capacities,
                levels,
                wire,
                rows,
                first,
                kept,
                failures,
                failed,
            )
            if full == FULL_HEAP:
                arena.grow_heap(which)
            elif full == FULL_LEVEL:
                arena.grow_level(which)
        return failed

    def _error(self, failure: list[int], values: pa.LargeBinaryArray) -> RowError:
        row, fault, position, pc, what = failure
        value: bytes = values[row].as_py()
        reason = ""
        if fault == BAD_TEXT:
            try:
                value[position : position + what].decode()
            except UnicodeDecodeError as error:
                position += error.start
                reason = error.reason
        argument = int(self._program.code[pc, ARGUMENT])
        problem = text_of(fault, what, argument, len(value) - position, reason)
        return RowError(row, position, self._program.paths[pc], problem)
