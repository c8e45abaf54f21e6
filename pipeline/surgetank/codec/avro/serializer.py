"""Encodes columns as Avro values in the Confluent wire format, in whole batches."""

import pyarrow as pa

from surgetank.bisection import bisect_failures
from surgetank.codec.avro.body_encoder import BodyEncoder
from surgetank.codec.avro.types import arrow_schema
from surgetank.codec.avro.version_reader import MESSAGE_MAX, message_of
from surgetank.codec.base import Unencodable
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.errors import SchemaError


class AvroSerializer:
    """A ``Serializer`` for the current version of the schema ``name``. Use it in one thread at a time.

    ``schema_id`` is the id in the values, that of ``contracts`` unless given. Raises SchemaError if there is no such
    schema.
    """

    def __init__(self, contracts: SchemaRepository, name: str, *, schema_id: int | None = None) -> None:
        current = contracts.current(name)
        self.schema: pa.Schema = arrow_schema(current.record)
        self._name = name
        self._names, self._types = self.schema.names, self.schema.types
        self._encoder = BodyEncoder(current.record, current.id if schema_id is None else schema_id)

    def serialize(self, columns: pa.RecordBatch) -> pa.LargeBinaryArray:
        """Return one framed value per row, none null. Raises SchemaError and Unencodable as ``Serializer`` says.

        Times without a zone are UTC.
        """
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
        """Return columns of the schema's types. Raises an Exception if a value cannot be converted."""
        if columns.schema.types == self._types:  # nulls are found when they are encoded
            return columns
        return pa.RecordBatch.from_arrays(columns.columns, schema=self.schema)  # casts
