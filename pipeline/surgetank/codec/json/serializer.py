"""Encodes columns as JSON values, row by row: for tools that send recorded events."""

import base64
import json
from typing import Any

import pyarrow as pa

from surgetank.bisection import bisect_failures
from surgetank.codec.avro.types import arrow_schema
from surgetank.codec.avro.version_reader import MESSAGE_MAX, message_of
from surgetank.codec.base import Unencodable
from surgetank.codec.json.program import json_program_of
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.errors import SchemaError


class JsonSerializer:
    """A ``Serializer`` of objects with the fields of the current version of the schema ``name``.

    Raises SchemaError if there is no such schema or if it has a type that JSON events cannot have.
    """

    def __init__(self, contracts: SchemaRepository, name: str) -> None:
        current = contracts.current(name)
        json_program_of(current.record, current.avro)  # raises for a type that JSON events cannot have
        self.schema: pa.Schema = arrow_schema(current.record)
        self._name = name

    def serialize(self, columns: pa.RecordBatch) -> pa.LargeBinaryArray:
        """Return one value per row, none null. Raises SchemaError and Unencodable as ``Serializer`` says.

        A number that is not finite cannot be encoded.
        """
        if missing := [name for name in self.schema.names if name not in columns.schema.names]:
            raise SchemaError(
                f"schema {self._name!r} has the field {missing[0]!r}; the columns are: {columns.schema.names}"
            )
        columns = columns.select(self.schema.names)
        values: list[bytes | None] = [None] * columns.num_rows
        parts, failed = bisect_failures(
            columns.num_rows, lambda start, stop: self._encode(columns.slice(start, stop - start))
        )
        for start, stop, part in parts:
            values[start:stop] = part
        if failed:
            raise Unencodable(self._name, values, {row: message_of(error)[:MESSAGE_MAX] for row, error in failed})
        return pa.array(values, pa.large_binary())

    def _encode(self, columns: pa.RecordBatch) -> list[bytes]:
        """Return the values of rows. Raises an Exception if one cannot be encoded."""
        cast = pa.RecordBatch.from_arrays(columns.columns, schema=self.schema)
        for field in self.schema:
            if not field.nullable and cast[field.name].null_count:
                raise ValueError(f"field {field.name!r} is null")
        lists = [_json_values(column) for column in cast.columns]
        rows = (dict(zip(self.schema.names, row, strict=True)) for row in zip(*lists, strict=True))
        return [json.dumps(row, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() for row in rows]


def _json_values(column: pa.Array) -> list[Any]:
    """Return what stands for the values in JSON: times as the integers of their unit, bytes in base64."""
    if pa.types.is_temporal(column.type):
        column = column.view(pa.int64() if column.type.bit_width == 64 else pa.int32())
    found: list[Any] = column.to_pylist()
    if pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
        return [None if value is None else base64.b64encode(value).decode() for value in found]
    return found
