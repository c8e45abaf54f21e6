"""Records to columns and back: Avro in the Confluent wire format, whole batches at a time."""

import numpy as np
import pyarrow as pa

from pipeline.bisection import bisect_failures
from pipeline.codec.compiled import frames
from pipeline.codec.compiled.encoder import BodyEncoder
from pipeline.codec.compiled.frames import schema_places
from pipeline.codec.compiled.program import Int64s
from pipeline.codec.reader import MESSAGE_MAX, Reader, joined, message_of, take
from pipeline.codec.schema_repository import SchemaRepository
from pipeline.codec.types import arrow_schema
from pipeline.codec.wire import FRAME_BYTES, MAGIC
from pipeline.errors import SchemaError, SurgetankError
from pipeline.records import DeadLetter, DeadLetterReason, DecodedBatch, RecordBatch, Step


class Decoder:
    """Decodes the values of one topic, whose schema is ``name``; every version that ``contracts`` knows.

    Raises SchemaError if there is no such schema. Use it in one thread at a time.
    """

    def __init__(self, contracts: SchemaRepository, name: str, *, value_bytes_max: int) -> None:
        current = contracts.current(name)
        self.schema: pa.Schema = arrow_schema(current.record)
        self._name = name
        self._value_bytes_max = value_bytes_max
        versions = contracts.versions[name]
        self._readers = [Reader(version, current) for version in reversed(versions)]  # the current one first
        self._ids = np.array([version.id for version in reversed(versions)], dtype=np.int64)

    def decode(self, records: RecordBatch) -> tuple[DecodedBatch, tuple[DeadLetter, ...]]:
        """Return the events in columns (``schema``), and a dead letter for each record that is none.

        Every record is in exactly one of the two, both in the order of the records. Raises nothing, whatever the
        bytes are, as long as they are less than 2 GiB together.
        """
        columns, rows, dead = self.decode_values(records.values)
        return DecodedBatch(records, rows, columns), dead

    def decode_values(self, values: pa.LargeBinaryArray) -> tuple[pa.RecordBatch, Int64s, tuple[DeadLetter, ...]]:
        """Do the same for the values alone; return columns of m rows, which rows they are, int64 [m], and the others.

        Raises ValueError if the values have 2 GiB or more together.
        """
        places, all_current = schema_places(values, self._ids, self._value_bytes_max)
        parts = []
        dead = [self._unframed(row, int(places[row]), values[row]) for row in np.flatnonzero(places < 0).tolist()]
        for place, reader in enumerate(self._readers):
            rows = None if all_current else np.flatnonzero(places == place)
            if rows is not None and not len(rows):
                continue
            columns, kept, failures = reader.read(values, rows)
            parts.append((kept, columns))
            dead += [_dead(row, DeadLetterReason.UNDECODABLE, why) for row, why in failures]
            if all_current:
                break
        return *self._merge(parts), tuple(sorted(dead, key=lambda letter: letter.row))

    def _unframed(self, row: int, fault: int, value: pa.LargeBinaryScalar) -> DeadLetter:
        if fault == frames.NULL:
            return _dead(row, DeadLetterReason.NULL_VALUE, "the value is null")
        raw = value.as_buffer()
        match fault:
            case frames.EMPTY:
                return _dead(row, DeadLetterReason.EMPTY, "the value has no bytes")
            case frames.TOO_LARGE:
                message = f"{raw.size} bytes; at most {self._value_bytes_max} are decoded"
                return _dead(row, DeadLetterReason.TOO_LARGE, message)
            case frames.TOO_SHORT:
                return _dead(row, DeadLetterReason.NOT_FRAMED, f"{raw.size} bytes; the frame alone has {FRAME_BYTES}")
            case frames.OTHER_MAGIC:
                return _dead(row, DeadLetterReason.NOT_FRAMED, f"the first byte is {raw[0]}, not {MAGIC[0]}")
        schema_id = int.from_bytes(raw[1:FRAME_BYTES].to_pybytes(), "big")
        known = ", ".join(str(each) for each in sorted(self._ids.tolist()))
        return _dead(row, DeadLetterReason.UNKNOWN_SCHEMA, f"schema id {schema_id}; those of {self._name!r}: {known}")

    def _merge(self, parts: list[tuple[Int64s, pa.RecordBatch]]) -> tuple[pa.RecordBatch, Int64s]:
        if not parts:
            return pa.RecordBatch.from_pylist([], schema=self.schema), np.zeros(0, dtype=np.int64)
        if len(parts) == 1:
            return parts[0][1], parts[0][0]
        rows = np.concatenate([rows for rows, _ in parts])
        order = np.argsort(rows)
        return take(joined([columns for _, columns in parts]), order), rows[order]


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

    def __init__(self, contracts: SchemaRepository, name: str) -> None:
        current = contracts.current(name)
        self.schema: pa.Schema = arrow_schema(current.record)
        self._name = name
        self._names = self.schema.names
        self._encoder = BodyEncoder(current.record, current.id)

    def encode(self, columns: pa.RecordBatch) -> list[bytes]:
        """Return one framed value for each row.

        ``columns`` has at least the columns of ``schema``, in any order, of those types or of types that can
        be cast to them without loss; times without a zone are UTC.
        Raises SchemaError if a column is missing, Unencodable if some rows cannot be written: a null where none
        may be, a number out of range, a text that is no symbol of the enum.
        """
        values: list[bytes] = self.encode_values(columns).to_pylist()
        return values

    def encode_values(self, columns: pa.RecordBatch) -> pa.LargeBinaryArray:
        """Do the same; return the values as an array, none of which is null."""
        given = columns.schema.names
        if given != self._names:
            if missing := [name for name in self._names if name not in given]:
                raise SchemaError(f"schema {self._name!r} has the field {missing[0]!r}; the columns are: {given}")
            columns = columns.select(self._names)
        parts, failed = bisect_failures(
            columns.num_rows, lambda start, stop: self._cast(columns.slice(start, stop - start))
        )
        why = {row: message_of(error) for row, error in failed}
        encoded = [(start, self._encoder.encode(part)) for start, _, part in parts]
        for start, (_, errors) in encoded:
            why |= {start + error.row: str(error)[:MESSAGE_MAX] for error in errors}
        if not why:
            return encoded[0][1].values if encoded else pa.array([], pa.large_binary())
        values: list[bytes | None] = [None] * columns.num_rows
        for start, (written, _) in encoded:
            values[start : start + len(written)] = written.to_pylist()
        raise Unencodable(self._name, values, dict(sorted(why.items())))

    def _cast(self, columns: pa.RecordBatch) -> pa.RecordBatch:
        """Return columns of the schema's types. Raises an Exception if a value has no such form."""
        if columns.schema == self.schema:
            return columns
        pairs = zip(columns.columns, self.schema.types, strict=True)
        cast = [column if column.type == dtype else column.cast(dtype) for column, dtype in pairs]
        return pa.RecordBatch.from_arrays(cast, schema=self.schema)


def _dead(row: int, reason: DeadLetterReason, message: str) -> DeadLetter:
    return DeadLetter(row, Step.DECODE, reason, message)
