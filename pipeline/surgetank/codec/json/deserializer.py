"""Decodes JSON values to columns, in whole batches."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from surgetank.codec.avro.arena import Arena
from surgetank.codec.avro.id_headers import id_headers
from surgetank.codec.avro.program import Int64s
from surgetank.codec.avro.types import arrow_schema
from surgetank.codec.json.decode_loop import decode_rows
from surgetank.codec.json.faults import LEVELS_MAX, JsonFault, fault_of
from surgetank.codec.json.number_values import FULL_LEVEL
from surgetank.codec.json.numbers import ROOM
from surgetank.codec.json.program import JsonProgram, json_program_of
from surgetank.codec.json.values import FULL_HEAP
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.errors import SchemaError
from surgetank.records import DeadLetter, DecodedBatch, RecordBatch, payload_bytes

if TYPE_CHECKING:  # only for projects with a schema registry
    from surgetank.codec.json.registered_json import RegisteredJson

_BYTES_MAX = 2**31 - 1  # Arrow's offsets have 32 bits
_LONGEST_ESCAPE = 6  # bytes that a byte of a text takes at most


class JsonDeserializer:
    """A ``Deserializer`` of one topic's values: objects with the fields of the current version of the schema ``name``.

    Values of more than ``value_bytes_max`` bytes are not decoded. ``ids`` knows the ids of a schema registry, which
    values may have; None: they are JSON texts. Raises SchemaError if there is no such schema, or if it has a type that
    JSON events cannot have, with the field. Use it in one thread at a time.
    """

    def __init__(
        self, contracts: SchemaRepository, name: str, *, value_bytes_max: int, ids: "RegisteredJson | None" = None
    ) -> None:
        self._ids = ids
        current = contracts.current(name)
        self.schema: pa.Schema = arrow_schema(current.record)
        try:
            self._program = json_program_of(current.record, current.avro)
        except SchemaError as error:
            raise SchemaError(f"{current.path}: {error}") from None
        self._value_bytes_max = value_bytes_max
        self._arena = Arena(self._program.columns)
        names = len(self._program.names)
        self._successors = np.arange(1, names + 2, dtype=np.int64) % names
        self._successors[-1] = 0  # the first name
        self._seen = np.zeros(len(self._program.field_names), dtype=np.int64)
        self._open_brackets = np.zeros(LEVELS_MAX, dtype=np.int64)
        self._scratch = pa.allocate_buffer(max(ROOM, _LONGEST_ESCAPE * self._program.text_bytes_max))
        self._context = _context(self._program, self._arena, self._scratch, self._successors, self._seen)
        self._failures = np.empty((0, 5), dtype=np.int64)  # room, kept from batch to batch

    def deserialize(self, records: RecordBatch) -> tuple[DecodedBatch, tuple[DeadLetter, ...]]:
        """Return the events in columns (``schema``), and a dead letter for each record that is not a valid event.

        Every record is in exactly one of the two, both in the order of the records. Raises nothing for any bytes, as
        long as they are less than 2 GiB in total.
        """
        if self._ids is None:
            columns, rows, faults = self.deserialize_values(records.values)
            return DecodedBatch(records, rows, columns), tuple(map(_dead_letter, faults))
        texts, refused = self._ids.texts(records.values, id_headers(records), self._value_bytes_max)
        columns, rows, faults = self.deserialize_values(texts)
        without_text = {letter.row for letter in refused}
        dead = [*refused, *(_dead_letter(each) for each in faults if each[0] not in without_text)]
        return DecodedBatch(records, rows, columns), tuple(sorted(dead, key=lambda letter: letter.row))

    def deserialize_values(
        self, values: pa.LargeBinaryArray
    ) -> tuple[pa.RecordBatch, Int64s, list[tuple[int, JsonFault]]]:
        """Do the same for values; return columns of m rows, their row numbers, int64 [m], and rows with their faults.

        Raises ValueError if the values have 2 GiB or more in total.
        """
        if (size := payload_bytes(values)) > _BYTES_MAX:
            raise ValueError(f"values of {size} bytes together; at most {_BYTES_MAX} can be decoded at once")
        rows = len(values)
        kept = np.empty(rows, dtype=np.int64)
        if len(self._failures) < rows:
            self._failures = np.empty((rows, 5), dtype=np.int64)
        progress = np.zeros(3, dtype=np.int64)
        self._decode(values, size, kept, progress)
        _, done, failed = progress.tolist()
        counts = self._counts(done)
        if done:
            self._arena.learn(done, counts)
        columns = [self._arena.column(shape, counts.tolist()) for shape in self._program.columns.shapes]
        faults = [self._fault(failure, values) for failure in self._failures[:failed].tolist()]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema), kept[:done], faults

    def _decode(self, values: pa.LargeBinaryArray, size: int, kept: Int64s, progress: Int64s) -> None:
        """Decode all rows; a buffer that gets full grows, and the loop goes on with the row that did not fit."""
        arena = self._arena
        arena.begin(len(values), size)
        addresses = [0 if buffer is None else buffer.address for buffer in values.buffers()]
        wire = np.array([*addresses, values.offset, self._value_bytes_max], dtype=np.int64)
        while True:
            full, which = decode_rows(
                self._context.ctypes.data, self._open_brackets, wire, len(values), kept, self._failures, progress
            )
            if full == FULL_HEAP:
                arena.grow_heap(which)
            elif full == FULL_LEVEL:
                arena.grow_level(which)
            else:
                return

    def _counts(self, done: int) -> Int64s:
        """Return how many values each level has, int64 [levels], after ``done`` rows: the items end with the last."""
        counts = np.full(self._program.columns.levels, done, dtype=np.int64)
        for shape in self._program.columns.shapes:
            for item in shape.children:
                offsets = np.frombuffer(self._arena.pieces[shape.buffers[0]], dtype=np.int32, count=done + 1)
                counts[item.level] = offsets[done]
        return counts

    def _fault(self, failure: list[int], values: pa.LargeBinaryArray) -> tuple[int, JsonFault]:
        row, number, position, field, what = failure
        name, kind = (self._program.field_names[field], self._program.types[field]) if field >= 0 else ("", "")
        return row, fault_of(number, position, name, what, kind, values[row], self._value_bytes_max)


def _dead_letter(found: tuple[int, JsonFault]) -> DeadLetter:
    row, fault = found
    return DeadLetter(row, fault.reason, str(fault))


def _context(program: JsonProgram, arena: Arena, scratch: pa.Buffer, successors: Int64s, seen: Int64s) -> Int64s:
    """Return the numbers that the loop needs beside the rows, in the order that ``program`` gives."""
    return np.array(
        [
            program.fields.ctypes.data,
            len(program.field_names),
            program.names.ctypes.data,
            len(program.names),
            program.symbols.ctypes.data,
            program.texts.ctypes.data,
            arena.addresses.ctypes.data,
            arena.heaps.ctypes.data,
            scratch.address,
            scratch.size,
            successors.ctypes.data,
            seen.ctypes.data,
            arena.capacities.ctypes.data,
        ],
        dtype=np.int64,
    )
