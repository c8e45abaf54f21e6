"""Decodes Avro values in the Confluent wire format to columns, in whole batches."""

import numpy as np
import pyarrow as pa

from surgetank.codec import base
from surgetank.codec.avro import frames
from surgetank.codec.avro.id_headers import NAME, id_headers, key_in
from surgetank.codec.avro.local_schemas import LocalSchemas
from surgetank.codec.avro.program import Int64s
from surgetank.codec.avro.types import arrow_schema
from surgetank.codec.avro.version_reader import joined, take
from surgetank.codec.avro.writer_schemas import WriterSchemas
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.codec.wire import FRAME_BYTES, MAGIC
from surgetank.records import DeadLetter, DecodedBatch, RecordBatch


class AvroDeserializer:
    """A ``Deserializer`` of one topic's values: the current schema ``name`` in ``contracts``.

    ``writers`` are the schemas that values were written with; default: every version of it that ``contracts`` contains.
    Values of more than ``value_bytes_max`` bytes are not decoded. Raises SchemaError if there is no such schema. Use it
    in one thread at a time.
    """

    def __init__(
        self, contracts: SchemaRepository, name: str, *, value_bytes_max: int, writers: WriterSchemas | None = None
    ) -> None:
        self.schema: pa.Schema = arrow_schema(contracts.current(name).record)
        self._value_bytes_max = value_bytes_max
        self._writers = LocalSchemas(contracts, name) if writers is None else writers

    def deserialize(self, records: RecordBatch) -> tuple[DecodedBatch, tuple[DeadLetter, ...]]:
        """Return the events in columns (``schema``), and a dead letter for each record that is not a valid event.

        Every record is in exactly one of the two, both in the order of the records. Raises nothing for any bytes, as
        long as they are less than 2 GiB in total.
        """
        headers = id_headers(records) if self._writers.in_headers else None
        columns, rows, dead = self.deserialize_values(records.values, headers)
        return DecodedBatch(records, rows, columns), dead

    def deserialize_values(
        self, values: pa.LargeBinaryArray, headers: pa.LargeBinaryArray | None = None
    ) -> tuple[pa.RecordBatch, Int64s, tuple[DeadLetter, ...]]:
        """Do the same for n values; return columns of m rows, their row numbers, int64 [m], and the dead letters.

        ``headers`` [n] are the schema ids in headers, null where the id is in the value; None: all are.
        Raises ValueError if the values have 2 GiB or more in total.
        """
        numbers, all_same = self._writers.reader_numbers(values, headers, self._value_bytes_max)
        readers = self._writers.readers
        if all_same and len(numbers) and numbers[0] >= 0:
            columns, kept, failures = readers[numbers[0]].read(values, None)
            return columns, kept, tuple(DeadLetter(row, base.UNDECODABLE, why) for row, why in failures)
        parts = []
        dead = [
            self._unframed(row, int(numbers[row]), values[row], None if headers is None else headers[row].as_py())
            for row in np.flatnonzero(numbers < 0).tolist()
        ]
        for number, reader in enumerate(readers):
            rows = np.flatnonzero(numbers == number)
            if len(rows):
                columns, kept, failures = reader.read(values, rows)
                parts.append((kept, columns))
                dead += [DeadLetter(row, base.UNDECODABLE, why) for row, why in failures]
        return *self._merge(parts), tuple(sorted(dead, key=lambda letter: letter.row))

    def _unframed(self, row: int, fault: int, value: pa.LargeBinaryScalar, header: bytes | None) -> DeadLetter:
        if fault == frames.NULL:
            return DeadLetter(row, base.NULL_VALUE, "the value is null")
        raw = value.as_buffer()
        match fault:
            case frames.EMPTY:
                return DeadLetter(row, base.EMPTY, "the value has no bytes")
            case frames.TOO_LARGE:
                message = f"{raw.size} bytes; at most {self._value_bytes_max} are decoded"
                return DeadLetter(row, base.VALUE_TOO_LARGE, message)
            case frames.TOO_SHORT:
                return DeadLetter(row, base.NOT_FRAMED, f"{raw.size} bytes; the frame alone has {FRAME_BYTES}")
            case frames.OTHER_MAGIC:
                return DeadLetter(row, base.NOT_FRAMED, f"the first byte is {raw[0]}, not {MAGIC[0]}")
            case frames.OTHER_HEADER:
                message = f"the header {NAME} has {len(header or b'')} bytes that are no schema id"
                return DeadLetter(row, base.NOT_FRAMED, message)
        framed = int.from_bytes(raw[1:FRAME_BYTES].to_pybytes(), "big")
        reason, message = self._writers.refusal(framed if header is None else key_in(header) or 0)
        return DeadLetter(row, reason, message)

    def _merge(self, parts: list[tuple[Int64s, pa.RecordBatch]]) -> tuple[pa.RecordBatch, Int64s]:
        if not parts:
            return pa.RecordBatch.from_pylist([], schema=self.schema), np.zeros(0, dtype=np.int64)
        if len(parts) == 1:
            return parts[0][1], parts[0][0]
        rows = np.concatenate([rows for rows, _ in parts])
        order = np.argsort(rows)
        return take(joined([columns for _, columns in parts]), order), rows[order]
