"""Reads values that were written with a schema that is no version in the project's folder."""

from dataclasses import dataclass

from surgetank.codec.avro.types import Json, Record, parse
from surgetank.codec.avro.version_reader import VersionReader
from surgetank.codec.evolution import reinterpreted, unreadable
from surgetank.codec.schema_repository import SchemaVersion
from surgetank.errors import SchemaError


@dataclass(frozen=True, slots=True)
class _Writer:
    """The schema of a writer."""

    avro: Json
    record: Record


def reader_of_writer(avro: Json, reader: SchemaVersion, frame_bytes: int) -> VersionReader:
    """Return what reads values of the schema ``avro`` as ``reader``; before each body are ``frame_bytes``.

    The name of the record does not matter. Raises SchemaError, with the reasons, if it cannot be read so, and errors of
    other types for what is no schema of a record.
    """
    avro = {**avro, "name": _with_last_part(avro["name"], reader.avro["name"])}
    writer = _Writer(avro, parse(avro))
    reasons = unreadable(reader.avro, avro)
    reasons += reinterpreted(reader.record, writer.record, declares=True)
    if reasons:
        raise SchemaError(f"it cannot be read as {reader.name!r}: {'; '.join(reasons)}")
    return VersionReader(writer, reader, frame_bytes)


def _with_last_part(name: str, other: str) -> str:
    """Return a full name with the last part of another one."""
    space, dot, _ = name.rpartition(".")
    return f"{space}{dot}{other.rpartition('.')[2]}"
