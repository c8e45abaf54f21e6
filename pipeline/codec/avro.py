"""Records to columns and back: Avro in the Confluent wire format, whole batches at a time."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.bisection import bisect_failures
from pipeline.codec.formats import Choose, format_of
from pipeline.codec.nulls import forbidden_null
from pipeline.codec.reader import Int64s, Reader, joined, message_of, take
from pipeline.codec.schema_repository import SchemaRepository
from pipeline.codec.types import arrow_schema
from pipeline.codec.wire import FRAME_BYTES, MAGIC
from pipeline.errors import SchemaError, SurgetankError
from pipeline.records import DeadLetter, DeadLetterReason, DecodedBatch, RecordBatch, Step


class Decoder:
    """Decodes the values of one topic, whose schema is ``name``; every version that ``contracts`` knows.

    Raises SchemaError if there is no such schema. ``decode`` raises nothing, whatever the bytes are, as long as
    they are less than 2 GiB together. Use it in one thread at a time.
    """

    def __init__(
        self, contracts: SchemaRepository, name: str, *, value_bytes_max: int, choose: Choose = format_of
    ) -> None:
        current = contracts.current(name)
        self.schema: pa.Schema = arrow_schema(current.record)
        self._name = name
        self._value_bytes_max = value_bytes_max
        self._readers = {version.id: Reader(version, current, choose) for version in contracts.versions[name]}
        self._current = self._readers[current.id]

    def decode(self, records: RecordBatch) -> tuple[DecodedBatch, tuple[DeadLetter, ...]]:
        """Return the events in columns (``schema``), and a dead letter for each record that is none.

        Every record is in exactly one of the two, both in the order of the records.
        """
        if self._is_short(records.values):
            plain = self._current.attempt(records.values)
            if plain is not None:
                return DecodedBatch(records, np.arange(len(records), dtype=np.int64), plain), ()
        dead, groups = self._sort(records.values, pa.array(records.values, pa.binary()))
        parts = []
        for schema_id, rows in groups:
            values = cast("list[bytes]", [records.values[row] for row in rows.tolist()])
            columns, kept, failures = self._readers[schema_id].read(values)
            parts.append((rows[kept], columns))
            dead += [_dead(int(rows[position]), DeadLetterReason.UNDECODABLE, why) for position, why in failures]
        return self._merge(records, parts), tuple(sorted(dead, key=lambda letter: letter.row))

    def _is_short(self, values: Sequence[bytes | None]) -> bool:
        """Return whether no value is null or too long."""
        try:
            return max(map(len, cast("Sequence[bytes]", values)), default=0) <= self._value_bytes_max
        except TypeError:  # a null has no length
            return False

    def _sort(
        self, values: Sequence[bytes | None], wire: pa.BinaryArray
    ) -> tuple[list[DeadLetter], list[tuple[int, Int64s]]]:
        """Return a dead letter for each value that need not be decoded, and the rows of the others by id."""
        lengths = np.diff(_offsets(wire))
        starts = _offsets(wire)[:-1].astype(np.int64)
        framed = (lengths >= FRAME_BYTES) & (lengths <= self._value_bytes_max)
        data = np.frombuffer(wire.buffers()[2] or b"", dtype=np.uint8)
        ids = np.full(len(values), -1, dtype=np.int64)
        heads = data[starts[framed, None] + np.arange(FRAME_BYTES)]
        numbers = np.ascontiguousarray(heads[:, 1:]).view(">u4")[:, 0].astype(np.int64)
        ids[framed] = np.where(heads[:, 0] == MAGIC[0], numbers, -1)
        known = np.isin(ids, list(self._readers))
        dead = [self._unframed(row, values[row]) for row in np.flatnonzero(~known).tolist()]
        return dead, [(int(each), np.flatnonzero(ids == each)) for each in np.unique(ids[known])]

    def _unframed(self, row: int, value: bytes | None) -> DeadLetter:
        if value is None:
            return _dead(row, DeadLetterReason.NULL_VALUE, "the value is null")
        if not value:
            return _dead(row, DeadLetterReason.EMPTY, "the value has no bytes")
        if len(value) > self._value_bytes_max:
            message = f"{len(value)} bytes; at most {self._value_bytes_max} are decoded"
            return _dead(row, DeadLetterReason.TOO_LARGE, message)
        if len(value) < FRAME_BYTES:
            return _dead(row, DeadLetterReason.NOT_FRAMED, f"{len(value)} bytes; the frame alone has {FRAME_BYTES}")
        if not value.startswith(MAGIC):
            return _dead(row, DeadLetterReason.NOT_FRAMED, f"the first byte is {value[0]}, not {MAGIC[0]}")
        schema_id = int.from_bytes(value[1:FRAME_BYTES], "big")
        known = ", ".join(str(each) for each in self._readers)
        return _dead(row, DeadLetterReason.UNKNOWN_SCHEMA, f"schema id {schema_id}; those of {self._name!r}: {known}")

    def _merge(self, records: RecordBatch, parts: list[tuple[Int64s, pa.RecordBatch]]) -> DecodedBatch:
        if not parts:
            nothing = pa.RecordBatch.from_pylist([], schema=self.schema)
            return DecodedBatch(records, np.zeros(0, dtype=np.int64), nothing)
        if len(parts) == 1:
            return DecodedBatch(records, *parts[0])
        rows = np.concatenate([rows for rows, _ in parts])
        order = np.argsort(rows)
        return DecodedBatch(records, rows[order], take(joined([columns for _, columns in parts]), order))


class Unencodable(SurgetankError):  # noqa: N818 - the name is what happened
    """Some rows cannot be written.

    ``values`` has one entry for each row, None for those that cannot; ``why`` says why, by row.
    """

    def __init__(self, name: str, values: list[bytes | None], why: dict[int, str]) -> None:
        row, message = next(iter(why.items()))
        super().__init__(f"{len(why)} of {len(values)} rows cannot be written as {name!r}; row {row}: {message}")
        self.values = values
        self.why = why


class Encoder:
    """Writes columns as values of the current version of a schema. Use it in one thread at a time.

    Raises SchemaError if there is no such schema.
    """

    def __init__(self, contracts: SchemaRepository, name: str, *, choose: Choose = format_of) -> None:
        current = contracts.current(name)
        self.schema: pa.Schema = arrow_schema(current.record)
        self._name = name
        self._record = current.record
        self._format = choose(current)

    def encode(self, columns: pa.RecordBatch) -> list[bytes]:
        """Return one framed value for each row.

        ``columns`` has at least the columns of ``schema``, in any order, of those types or of types that can
        be cast to them without loss; times without a zone are UTC.
        Raises SchemaError if a column is missing, Unencodable if some rows cannot be written: a null where none
        may be, a number out of range, a text that is no symbol of the enum.
        """
        missing = [name for name in self.schema.names if name not in columns.schema.names]
        if missing:
            raise SchemaError(
                f"schema {self._name!r} has the field {missing[0]!r}; the columns are: {columns.schema.names}"
            )
        columns = columns.select(self.schema.names)
        parts, failed = bisect_failures(columns.num_rows, lambda start, stop: self._write(columns, start, stop))
        if not failed:
            return parts[0][2] if parts else []
        values: list[bytes | None] = [None] * columns.num_rows
        for start, stop, part in parts:
            values[start:stop] = part
        raise Unencodable(self._name, values, {row: message_of(error) for row, error in failed})

    def _write(self, columns: pa.RecordBatch, start: int, stop: int) -> list[bytes]:
        some = columns.slice(start, stop - start)
        if some.schema != self.schema:
            pairs = zip(some.columns, self.schema.types, strict=True)
            cast = [column if column.type == dtype else column.cast(dtype) for column, dtype in pairs]
            some = pa.RecordBatch.from_arrays(cast, schema=self.schema)
        if (field := forbidden_null(self._record, some)) is not None:
            raise ValueError(f"field {field!r} is null")
        values: list[bytes] = self._format.dump(some).to_pylist()
        return values


def _offsets(wire: pa.BinaryArray) -> npt.NDArray[np.int32]:
    """Return int32 [n + 1]: where each value begins in the array's data; the array is no slice."""
    return np.frombuffer(wire.buffers()[1] or bytes(4), dtype=np.int32, count=len(wire) + 1)


def _dead(row: int, reason: DeadLetterReason, message: str) -> DeadLetter:
    return DeadLetter(row, Step.DECODE, reason, message)
