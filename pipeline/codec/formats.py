"""Framed Avro values to columns and back, whole batches, with one schema: by pyruhvro, or else by fastavro.

Neither is strict about what it reads; ``avro.py`` is.
"""

import io
import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyruhvro

from pipeline.codec.contracts import Version
from pipeline.codec.types import Json, Record, arrow_struct, unfit_for_pyruhvro
from pipeline.codec.wire import FRAME_BYTES, frame

_log = logging.getLogger(__name__)


class Format(Protocol):
    """One way to read and write the values of one schema version."""

    def parse(self, values: list[bytes]) -> pa.RecordBatch:
        """Return the columns of framed values. Raises an Exception if any of them does not decode."""
        ...

    def dump(self, columns: pa.RecordBatch) -> pa.BinaryArray:
        """Return the framed values of columns of the version's Arrow schema. Raises an Exception likewise."""
        ...


Choose = Callable[[Version], Format]


def format_of(version: Version) -> Format:
    """Return the fastest format that can do the schema; say so in the log if it is the slow one."""
    unfit = unfit_for_pyruhvro(version.record)
    if unfit is None:
        return Fast(version)
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

    def __init__(self, version: Version) -> None:
        self._schema = json.dumps(
            {
                "type": "record",
                "name": "Frame",
                "fields": [
                    {"name": "magic", "type": "boolean"},
                    {"name": "id", "type": "float"},
                    {"name": "event", "type": _bare(version.avro)},
                ],
            }
        )
        self._struct = arrow_struct(version.record, logical=True)
        self._id = np.frombuffer(frame(version.id)[1:], dtype=np.uint32)[0]
        self._framed: tuple[pa.Array, pa.Array] = self._frames(0)

    def parse(self, values: list[bytes]) -> pa.RecordBatch:
        """Return the columns of framed values, all with this version's id."""
        framed = _without_panic(partial(pyruhvro.deserialize_array, values, self._schema))
        columns = pa.RecordBatch.from_struct_array(framed.column(2).view(self._struct))
        columns.validate(full=True)  # pyruhvro takes any bytes for text
        return columns

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


class Slow:
    """By fastavro, one record at a time, for every type.

    fastavro reads and writes times as the integers that they are on the wire; Arrow makes times of them,
    also of those that Python's datetime has no year for.
    """

    def __init__(self, version: Version) -> None:
        self._frame = frame(version.id)
        self._avro = fastavro_schema(version.avro)
        self._columns = Rows(version.record)

    def parse(self, values: list[bytes]) -> pa.RecordBatch:
        """Return the columns of framed values, all with this version's id."""
        return self._columns.of([read_row(value, self._avro) for value in values])

    def dump(self, columns: pa.RecordBatch) -> pa.BinaryArray:
        """Return the framed values of columns of the version's Arrow schema."""
        return pa.array([self._write(row) for row in self._columns.to(columns)], pa.binary())

    def _write(self, row: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        out.write(self._frame)
        fastavro.schemaless_writer(out, self._avro, row)
        return out.getvalue()


class Rows:
    """Rows as fastavro has them, times as integers, to and from columns."""

    def __init__(self, record: Record) -> None:
        self._plain = arrow_struct(record, logical=False)
        self._logical = arrow_struct(record, logical=True)

    def of(self, rows: list[dict[str, Any]]) -> pa.RecordBatch:
        """Return the rows as columns. Raises an Exception if a number is outside the range of its type."""
        return pa.RecordBatch.from_struct_array(pa.array(rows, self._plain).view(self._logical))

    def to(self, columns: pa.RecordBatch) -> list[dict[str, Any]]:
        """Return the columns as rows."""
        plain = columns.to_struct_array().view(self._plain)
        rows: list[dict[str, Any]] = plain.to_pylist(maps_as_pydicts="strict")
        return rows


def fastavro_schema(avro: Json) -> Any:
    """Return the schema as fastavro wants it, without the logical types but decimal."""
    return fastavro.parse_schema(_without_times(avro), named_schemas={})


def read_row(value: bytes, writer: Any, reader: Any = None) -> dict[str, Any]:
    """Decode one framed value. Raises an Exception of any kind if it does not decode."""
    body = io.BytesIO(value)
    body.seek(FRAME_BYTES)
    row: dict[str, Any] = fastavro.schemaless_reader(body, writer, reader)
    return row


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


def _without_times(avro: Json) -> Json:
    if isinstance(avro, list):
        return [_without_times(each) for each in avro]
    if not isinstance(avro, dict):
        return avro
    decimal = avro.get("logicalType") == "decimal" and avro.get("type") in ("bytes", "fixed")
    return {
        # A default is a value and no schema; it may look like one.
        name: each if name == "default" else _without_times(each)
        for name, each in avro.items()
        if decimal or name != "logicalType"
    }
