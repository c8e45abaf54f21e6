"""Converts events of an older version to the columns of the current one by Avro's schema resolution."""

from collections.abc import Callable
from typing import Any

import fastavro
import pyarrow as pa

from surgetank.bisection import bisect_failures
from surgetank.codec.avro.program import Int64s
from surgetank.codec.avro.rows import Rows, fastavro_schema, read_row
from surgetank.codec.avro.types import AvroType, Json, Nullable, Primitive, Record, arrow_schema, without_null
from surgetank.codec.schema_repository import SchemaVersion

_PROMOTIONS = {("int", "long"), ("int", "float"), ("int", "double"), ("long", "float"), ("long", "double")}
_PROMOTIONS |= {("float", "double")}

Fitted = tuple[list[tuple[int, int, pa.RecordBatch]], list[tuple[int, Exception]]]
Column = Callable[[pa.RecordBatch], pa.Array]


class Resolution:
    """Conversion from one version of a schema to another.

    Added, removed, widened or newly nullable fields are converted by columns. For other changes, such as inside a
    nested type, fastavro resolves record by record.
    """

    def __init__(self, writer: SchemaVersion, reader: SchemaVersion) -> None:
        self._schema = arrow_schema(reader.record)
        self._columns = _columns(writer.record, reader)
        self._writer, self._reader = fastavro_schema(writer.avro), fastavro_schema(reader.avro)
        self._rows = Rows(reader.record)

    def fit(self, values: pa.LargeBinaryArray, rows: Int64s, columns: pa.RecordBatch) -> Fitted:
        """Return the rows in the reader's columns: parts as (start, stop, columns), and failures by index in ``rows``.

        ``columns`` are those of the framed values of ``rows``, int64 [n].
        """
        if self._columns is None:
            some = values.take(pa.array(rows)).to_pylist()
            return bisect_failures(len(some), lambda start, stop: self._resolve(some[start:stop]))
        fitted = pa.RecordBatch.from_arrays([column(columns) for column in self._columns], schema=self._schema)
        return [(0, len(rows), fitted)], []

    def _resolve(self, values: list[bytes]) -> pa.RecordBatch:
        return self._rows.of([read_row(value, self._writer, self._reader) for value in values])


def _columns(writer: Record, reader: SchemaVersion) -> list[Column] | None:
    """Return a function for each column of the reader, or None if a conversion by columns is not possible."""
    written = dict(writer.fields)
    found = []
    for (name, kind), avro in zip(reader.record.fields, reader.avro["fields"], strict=True):
        old = next((each for each in (name, *avro.get("aliases", ())) if each in written), None)
        if old is None:
            found.append(_default(kind, name, avro))
        elif written[old] == kind or written[old] == without_null(kind):
            found.append(_taken(old))
        elif _is_promotion(written[old], kind):
            found.append(_promoted(old, arrow_schema(Record(((name, kind),))).types[0]))
        else:
            return None
    return found


def _is_promotion(writer: AvroType, reader: AvroType) -> bool:
    wide = reader if isinstance(writer, Nullable) == isinstance(reader, Nullable) else without_null(reader)
    match without_null(writer), without_null(wide):
        case Primitive(old, None), Primitive(new, None) if isinstance(writer, Nullable) <= isinstance(reader, Nullable):
            return (old, new) in _PROMOTIONS
    return False


def _taken(name: str) -> Column:
    return lambda columns: columns.column(name)


def _promoted(name: str, dtype: pa.DataType) -> Column:
    return lambda columns: columns.column(name).cast(dtype, safe=False)  # a long may be rounded to a double


def _default(kind: AvroType, name: str, avro: Json) -> Column:
    """Return a column of the field's default, as fastavro returns it for a writer without the field."""
    if avro.get("default", ...) is None:  # without fastavro: the type may be one that another field defines
        dtype = arrow_schema(Record(((name, kind),))).types[0]
        return lambda columns: pa.nulls(columns.num_rows, dtype)
    nothing: dict[str, Any] = {"type": "record", "name": "Event", "fields": []}
    wanted = fastavro_schema({"type": "record", "name": "Event", "fields": [avro]})
    row = read_row(b"\0" * 5, fastavro.parse_schema(nothing), wanted)
    value = Rows(Record(((name, kind),))).of([row]).column(0)
    return lambda columns: value.take(pa.repeat(pa.scalar(0), columns.num_rows))
