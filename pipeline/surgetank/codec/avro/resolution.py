"""Converts events of another version to the columns of the current one by Avro's schema resolution."""

from typing import Protocol

import pyarrow as pa

from surgetank.bisection import bisect_failures
from surgetank.codec.avro.conversion import columns_conversion
from surgetank.codec.avro.program import Int64s
from surgetank.codec.avro.rows import Rows, fastavro_schema, read_row
from surgetank.codec.avro.types import Json, Record, arrow_schema

Fitted = tuple[list[tuple[int, int, pa.RecordBatch]], list[tuple[int, Exception]]]


class ParsedSchema(Protocol):
    """A schema, as JSON and as a tree."""

    @property
    def avro(self) -> Json:
        """The schema as in its file."""
        ...

    @property
    def record(self) -> Record:
        """The same as a tree."""
        ...


class Resolution:
    """Conversion from one version of a schema to another.

    Whole columns are converted. Where a row may not fit, fastavro resolves record by record. Before the body of each
    value are ``frame_bytes``.
    """

    def __init__(self, writer: ParsedSchema, reader: ParsedSchema, frame_bytes: int) -> None:
        self._frame_bytes = frame_bytes
        self._schema = arrow_schema(reader.record)
        self._convert = columns_conversion(writer.record, reader.record, self._schema.types)
        self._writer, self._reader = fastavro_schema(writer.avro), fastavro_schema(reader.avro)
        self._rows = Rows(reader.record)

    def fit(self, values: pa.LargeBinaryArray, rows: Int64s, columns: pa.RecordBatch) -> Fitted:
        """Return the rows in the reader's columns: parts as (start, stop, columns), and failures by index in ``rows``.

        ``columns`` are those of the values of ``rows``, int64 [n].
        """
        if self._convert is None:
            some = values.take(pa.array(rows)).to_pylist()
            return bisect_failures(len(some), lambda start, stop: self._resolve(some[start:stop]))
        fitted = pa.RecordBatch.from_arrays(self._convert(columns.columns, columns.num_rows), schema=self._schema)
        return [(0, len(rows), fitted)], []

    def _resolve(self, values: list[bytes]) -> pa.RecordBatch:
        return self._rows.of([read_row(value, self._writer, self._reader, self._frame_bytes) for value in values])
