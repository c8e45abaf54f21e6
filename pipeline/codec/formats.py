"""Framed Avro values to columns and back, whole batches, with one schema: by pyruhvro, or else by fastavro.

Neither library is strict about what it reads: pyruhvro ignores trailing bytes and wraps long integers, fastavro
takes the branch -1 of a union. ``Flat`` makes pyruhvro strict; what the others read, ``reader.py`` checks.
"""

import io
import json
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyruhvro

from pipeline.codec.rows import Rows, fastavro_schema, read_row
from pipeline.codec.schema_repository import SchemaVersion
from pipeline.codec.types import (
    AvroType,
    Enum,
    Json,
    Nullable,
    Primitive,
    Record,
    arrow_schema,
    arrow_struct,
    is_flat,
    is_int,
    unfit_for_pyruhvro,
)
from pipeline.codec.wire import frame

_log = logging.getLogger(__name__)


class RecordFormat(Protocol):
    """One way to read and write the values of one schema version."""

    def parse(self, values: list[bytes]) -> pa.RecordBatch:
        """Return the columns of framed values. Raises an Exception if any of them does not decode at all."""
        ...

    def parse_exactly(self, values: list[bytes]) -> pa.RecordBatch:
        """Return the same. Raises an Exception if any of them may not be one framed event with this version's id."""
        ...

    def dump(self, columns: pa.RecordBatch) -> pa.BinaryArray:
        """Return the framed values of columns of the version's Arrow schema. Raises an Exception likewise."""
        ...


Choose = Callable[[SchemaVersion], RecordFormat]


def format_of(version: SchemaVersion) -> RecordFormat:
    """Return the fastest format that can do the schema; say so in the log if it is the slow one."""
    unfit = unfit_for_pyruhvro(version.record)
    if unfit is None:
        return Flat(version) if is_flat(version.record) else Fast(version)
    _log.warning(
        "schema %s version %d has %s: it is decoded with fastavro, one record at a time",
        version.name,
        version.number,
        unfit,
    )
    return Slow(version)


class Fast:
    """By pyruhvro, in Rust, without the GIL.

    Cutting the frame off each value would cost as much as decoding it. So the frame is a part of the schema:
    a boolean, which is the magic byte, a float, which is the four bytes of the id, and the event.
    """

    def __init__(self, version: SchemaVersion) -> None:
        self._schema = _framed(_bare(version.avro))
        self._struct = arrow_struct(version.record, logical=True)
        self._id = np.frombuffer(frame(version.id)[1:], dtype=np.uint32)[0]
        self._framed: tuple[pa.Array, pa.Array] = self._frames(0)

    def parse(self, values: list[bytes]) -> pa.RecordBatch:
        """Return the columns of framed values, all with this version's id."""
        framed = _without_panic(partial(pyruhvro.deserialize_array, values, self._schema))
        columns = pa.RecordBatch.from_struct_array(framed.column(2).view(self._struct))
        columns.validate(full=True)  # pyruhvro takes any bytes for text
        return columns

    def parse_exactly(self, values: list[bytes]) -> pa.RecordBatch:
        """Return the columns of values that are what ``dump`` makes of them."""
        return _checked(self, values)

    def dump(self, columns: pa.RecordBatch) -> pa.BinaryArray:
        """Return the framed values of columns of the version's Arrow schema."""
        rows = columns.num_rows
        if len(self._framed[0]) < rows:
            self._framed = self._frames(rows)
        magic, ids = self._framed
        arrays = [magic.slice(0, rows), ids.slice(0, rows), columns.to_struct_array()]
        framed = pa.RecordBatch.from_arrays(arrays, names=["magic", "id", "event"])
        return _without_panic(partial(pyruhvro.serialize_record_batch, framed, self._schema, 1))[0]

    def _frames(self, rows: int) -> tuple[pa.Array, pa.Array]:
        """Return the two columns of the frame; made from buffers, for an id may be no number as a float."""
        ids: npt.NDArray[np.uint32] = np.full(rows, self._id)
        return (
            pa.array(np.zeros(rows, dtype=np.bool_)),
            pa.Array.from_buffers(pa.float32(), rows, [None, pa.py_buffer(ids)]),
        )


class Flat(Fast):
    """By pyruhvro, and strictly, for events whose fields have no parts. It costs less than writing them again.

    A guard of eight bytes is put behind each value and read as one more field. If bytes are left over before it
    or were missing, it is not what it was. As its first byte does not come again in it, no bytes between can
    shift it into place, and as it is random, none can be made to look like it. Integers are read as longs, so
    that those of more than 32 bits are seen.
    """

    def __init__(self, version: SchemaVersion) -> None:
        super().__init__(version)
        self._guard = guard()
        self._end = np.frombuffer(self._guard, dtype=np.uint64)[0]
        self._guarded = _framed(_wide(version.record), {"name": "end", "type": "double"})
        self._columns = arrow_schema(version.record)
        self._ints = [is_int(kind) for _, kind in version.record.fields]

    def parse_exactly(self, values: list[bytes]) -> pa.RecordBatch:
        """Return the columns of values that are exactly one framed event of this version each."""
        behind = self._guard
        framed = _without_panic(
            partial(pyruhvro.deserialize_array, [value + behind for value in values], self._guarded)
        )
        magic, ids, event, end = framed.columns
        if magic.true_count or (_bits(ids, np.uint32) != self._id).any() or (_bits(end, np.uint64) != self._end).any():
            raise ValueError("bytes follow the end of the record, or the frame is another one")
        arrays = [
            (array.cast(pa.int32()) if is_int else array).view(dtype)
            for array, is_int, dtype in zip(event.flatten(), self._ints, self._columns.types, strict=True)
        ]
        columns = pa.RecordBatch.from_arrays(arrays, schema=self._columns)
        columns.validate(full=True)  # pyruhvro takes any bytes for text
        return columns


class Slow:
    """By fastavro, one record at a time, for every type.

    fastavro reads and writes times as the integers that they are on the wire; Arrow makes times of them,
    also of those that Python's datetime has no year for.
    """

    def __init__(self, version: SchemaVersion) -> None:
        self._frame = frame(version.id)
        self._avro = fastavro_schema(version.avro)
        self._columns = Rows(version.record)

    def parse(self, values: list[bytes]) -> pa.RecordBatch:
        """Return the columns of framed values, all with this version's id."""
        return self._columns.of([read_row(value, self._avro) for value in values])

    def parse_exactly(self, values: list[bytes]) -> pa.RecordBatch:
        """Return the columns of values that are what ``dump`` makes of them."""
        return _checked(self, values)

    def dump(self, columns: pa.RecordBatch) -> pa.BinaryArray:
        """Return the framed values of columns of the version's Arrow schema."""
        return pa.array([self._write(row) for row in self._columns.to(columns)], pa.binary())

    def _write(self, row: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        out.write(self._frame)
        fastavro.schemaless_writer(out, self._avro, row)
        return out.getvalue()


def _checked(form: RecordFormat, values: list[bytes]) -> pa.RecordBatch:
    columns = form.parse(values)
    if not form.dump(columns).equals(pa.array(values, pa.binary())):
        raise ValueError("a value is not what its columns are written as")
    return columns


def guard() -> bytes:
    """Return eight random bytes, the first of which does not come again among them."""
    while (made := os.urandom(8))[0] in made[1:]:
        pass
    return made


def _bits(floats: pa.Array, dtype: Any) -> npt.NDArray[Any]:
    """Return the numbers that have the bits of floats; the array is no slice."""
    return np.frombuffer(floats.buffers()[1] or b"", dtype=dtype, count=len(floats))


def _framed(event: Json, *behind: Json) -> str:
    fields = [{"name": "magic", "type": "boolean"}, {"name": "id", "type": "float"}, {"name": "event", "type": event}]
    return json.dumps({"type": "record", "name": "Frame", "fields": [*fields, *behind]})


def _wide(record: Record) -> Json:
    """Return the schema of a flat record, with longs for its integers."""
    fields = [{"name": name, "type": _wide_type(kind, f"Enum{i}")} for i, (name, kind) in enumerate(record.fields)]
    return {"type": "record", "name": "Event", "fields": fields}


def _wide_type(kind: AvroType, enum_name: str) -> Json:
    match kind:
        case Nullable():
            inner = _wide_type(kind.inner, enum_name)
            return [inner, "null"] if kind.null_at else ["null", inner]
        case Enum():
            return {"type": "enum", "name": enum_name, "symbols": list(kind.symbols)}
        case Primitive(name="int"):
            return "long"
        case Primitive():
            return {"type": kind.name, **({"logicalType": kind.logical} if kind.logical else {})}
    raise TypeError(f"{kind} is not flat")


def _without_panic(call: Callable[[], Any]) -> Any:
    """Call into Rust. A panic there arrives as a BaseException, which nothing of ours would catch."""
    try:
        return call()
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"the decoder panicked: {error}") from None


def _bare(avro: Json) -> Json:
    """Leave out what decoding does not need: the library hashes the text of the schema at each call."""
    if isinstance(avro, list):
        return [_bare(each) for each in avro]
    if not isinstance(avro, dict):
        return avro
    return {name: _bare(each) for name, each in avro.items() if name not in {"doc", "default", "aliases", "order"}}
