"""Decodes Avro values in the Confluent wire format to columns, in whole batches."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from surgetank.codec import base
from surgetank.codec.avro import frames
from surgetank.codec.avro.frames import schema_places
from surgetank.codec.avro.program import Int64s
from surgetank.codec.avro.types import arrow_schema
from surgetank.codec.avro.version_reader import VersionReader, joined, take
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.codec.wire import FRAME_BYTES, MAGIC
from surgetank.records import DeadLetter, DecodedBatch, RecordBatch


class AvroDeserializer:
    """A ``Deserializer`` of one topic's values: the schema ``name``, in every version that ``contracts`` contains.

    ``also`` are further schemas of values on the topic, whose versions can be resolved to ``name``. Values of more than
    ``value_bytes_max`` bytes are not decoded. Raises SchemaError if there is no such schema. Use it in one thread at a
    time.
    """

    def __init__(
        self, contracts: SchemaRepository, name: str, *, also: Sequence[str] = (), value_bytes_max: int
    ) -> None:
        current = contracts.current(name)
        self.schema: pa.Schema = arrow_schema(current.record)
        self._name = name
        self._value_bytes_max = value_bytes_max
        versions = [version for each in (name, *also) for version in reversed(contracts.versions[each])]
        self._readers = [VersionReader(version, current) for version in versions]  # the current version first
        self._ids = np.array([version.id for version in versions], dtype=np.int64)

    def deserialize(self, records: RecordBatch) -> tuple[DecodedBatch, tuple[DeadLetter, ...]]:
        """Return the events in columns (``schema``), and a dead letter for each record that is not a valid event.

        Every record is in exactly one of the two, both in the order of the records. Raises nothing for any bytes, as
        long as they are less than 2 GiB in total.
        """
        columns, rows, dead = self.deserialize_values(records.values)
        return DecodedBatch(records, rows, columns), dead

    def deserialize_values(self, values: pa.LargeBinaryArray) -> tuple[pa.RecordBatch, Int64s, tuple[DeadLetter, ...]]:
        """Do the same for values; return columns of m rows, their row numbers, int64 [m], and the dead letters.

        Raises ValueError if the values have 2 GiB or more in total.
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
            dead += [DeadLetter(row, base.UNDECODABLE, why) for row, why in failures]
            if all_current:
                break
        return *self._merge(parts), tuple(sorted(dead, key=lambda letter: letter.row))

    def _unframed(self, row: int, fault: int, value: pa.LargeBinaryScalar) -> DeadLetter:
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
        schema_id = int.from_bytes(raw[1:FRAME_BYTES].to_pybytes(), "big")
        known = ", ".join(str(each) for each in sorted(self._ids.tolist()))
        return DeadLetter(row, base.UNKNOWN_SCHEMA, f"schema id {schema_id}; those of {self._name!r}: {known}")

    def _merge(self, parts: list[tuple[Int64s, pa.RecordBatch]]) -> tuple[pa.RecordBatch, Int64s]:
        if not parts:
            return pa.RecordBatch.from_pylist([], schema=self.schema), np.zeros(0, dtype=np.int64)
        if len(parts) == 1:
            return parts[0][1], parts[0][0]
        rows = np.concatenate([rows for rows, _ in parts])
        order = np.argsort(rows)
        return take(joined([columns for _, columns in parts]), order), rows[order]
