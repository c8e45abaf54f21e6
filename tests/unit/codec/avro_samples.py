"""Schemas folders made for a test, records made of values, and an oracle that is not our own decoder."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa

from surgetank.codec.schema_repository import SchemaRepository
from surgetank.records import RecordBatch, TopicPartition, large_binary

BYTES_MAX = 10_000
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}


def record(*fields: tuple[str, Any] | dict[str, Any], name: str = "Event") -> dict[str, Any]:
    """Return a record schema of (name, type) pairs or whole fields."""
    whole = [each if isinstance(each, dict) else {"name": each[0], "type": each[1]} for each in fields]
    return {"type": "record", "name": name, "fields": whole}


def write_folder(folder: Path, *versions: Any, name: str = "event") -> Path:
    """Write a schemas folder of one schema: its versions, oldest first, with the ids 1 to n; all are released."""
    releases = folder / "released" / name
    releases.mkdir(parents=True, exist_ok=True)
    for number, schema in enumerate(versions, 1):
        (releases / f"{number}.avsc").write_text(json.dumps(schema))
    (folder / f"{name}.avsc").write_text(json.dumps(versions[-1]))
    ids = {str(number): {"schema": name, "version": number} for number in range(1, len(versions) + 1)}
    (folder / "ids.json").write_text(json.dumps(ids))
    return folder


def contracts_of(folder: Path, *versions: Any) -> SchemaRepository:
    """Return the contracts of such a folder."""
    return SchemaRepository.load(write_folder(folder, *versions))


def written(schema: Any, value: Any, schema_id: int = 1) -> bytes:
    """Return a framed value as fastavro writes it."""
    out = io.BytesIO(b"\0" + schema_id.to_bytes(4, "big"))
    out.seek(5)
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema, named_schemas={}), value)
    return out.getvalue()


def records_of(values: Sequence[bytes | None]) -> RecordBatch:
    """Return records with these values, all of one partition."""
    n = len(values)
    return RecordBatch(
        sources=(TopicPartition("events", 0),),
        source=np.zeros(n, dtype=np.int32),
        offsets=np.arange(n, dtype=np.int64),
        arrived_ms=np.zeros(n, dtype=np.int64),
        keys=large_binary([None] * n),
        values=large_binary(values),
    )


def rows_of(columns: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return columns as rows, maps as dicts."""
    rows: list[dict[str, Any]] = columns.to_pylist(maps_as_pydicts="strict")
    return rows
