"""Converts events as rows, decoded by fastavro, to columns: for schema resolution within nested types."""

import io
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa

from surgetank.codec.avro.types import Json, Record, arrow_struct
from surgetank.codec.wire import FRAME_BYTES


class Rows:
    """Converts fastavro's rows, with times as integers, to columns."""

    def __init__(self, record: Record) -> None:
        self._plain = arrow_struct(record, logical=False)
        self._logical = arrow_struct(record, logical=True)

    def of(self, rows: list[dict[str, Any]]) -> pa.RecordBatch:
        """Return the rows as columns. Raises an Exception if a number is outside the range of its type."""
        return pa.RecordBatch.from_struct_array(pa.array(rows, self._plain).view(self._logical))


def fastavro_schema(avro: Json) -> Any:
    """Return the schema in the form for fastavro, without logical types except decimal."""
    parsed = fastavro.parse_schema(without_times(avro), named_schemas={})
    _mend_defaults(parsed)
    return parsed


def read_row(value: bytes, writer: Any, reader: Any = None, frame_bytes: int = FRAME_BYTES) -> dict[str, Any]:
    """Decode one value after its frame. Raises an Exception of any kind if it does not decode."""
    body = io.BytesIO(value)
    body.seek(frame_bytes)
    row: dict[str, Any] = fastavro.schemaless_reader(body, writer, reader)
    return row


def without_times(avro: Json) -> Json:
    """Return the schema without logical types except decimal."""
    if isinstance(avro, list):
        return [without_times(each) for each in avro]
    if not isinstance(avro, dict):
        return avro
    return {
        # A default is a value, not a schema, but may look like a schema.
        name: each if name == "default" else without_times(each)
        for name, each in avro.items()
        if name != "logicalType" or _is_decimal(avro)
    }


def _mend_defaults(avro: Json) -> None:
    """Convert the defaults to native values, in place, after fastavro has checked their JSON form."""
    if isinstance(avro, list):
        for each in avro:
            _mend_defaults(each)
    elif isinstance(avro, dict):
        for name in avro.keys() & {"type", "items", "values", "fields"}:
            _mend_defaults(avro[name])
        if "default" in avro and "symbols" not in avro:
            avro["default"] = _native(avro["type"], avro["default"])


def _native(avro: Json, default: Json) -> Any:
    """Return a default as a native value: bytes are text in JSON, and fastavro does not convert them."""
    if isinstance(avro, list):
        return _native(avro[0], default)  # the default of a union has the type of its first branch
    if not isinstance(avro, dict):
        avro = {"type": avro}
    match avro["type"]:
        case "bytes" | "fixed" if isinstance(default, str):
            raw = default.encode("latin-1")
            if not _is_decimal(avro):
                return raw
            return Decimal(int.from_bytes(raw, "big", signed=True)).scaleb(-avro.get("scale", 0))
        case "array":
            return [_native(avro["items"], each) for each in default]
        case "map":
            return {name: _native(avro["values"], each) for name, each in default.items()}
        case "record":
            return {
                each["name"]: _native(each["type"], default.get(each["name"], each.get("default")))
                for each in avro["fields"]
            }
        case dict() | list() as inner:
            return _native(inner, default)
    return default


def _is_decimal(avro: dict[str, Json]) -> bool:
    return avro.get("logicalType") == "decimal" and avro.get("type") in ("bytes", "fixed")
