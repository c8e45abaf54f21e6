"""The writer schemas of a topic of Avro events with a schema registry: what the registry has for the ids of values."""

import json
from collections.abc import Sequence

from surgetank.codec.avro.any_writer import reader_of_writer
from surgetank.codec.avro.equality import identity
from surgetank.codec.avro.types import Record
from surgetank.codec.avro.version_reader import VersionReader
from surgetank.codec.registered_ids import FoundId, RegisteredIds, SchemasById
from surgetank.codec.schema_ids import RegisteredSchema
from surgetank.codec.schema_repository import SchemaVersion
from surgetank.codec.wire import FRAME_BYTES
from surgetank.errors import SchemaError


class RegisteredSchemas(RegisteredIds):
    """The ``WriterSchemas`` of values that are read as ``reader``. For one thread at a time.

    Several ids of one schema share a reader. ``own`` are versions whose ids are known without the registry.
    """

    in_headers = True

    def __init__(self, registry: SchemasById, reader: SchemaVersion, own: Sequence[SchemaVersion] = ()) -> None:
        super().__init__(registry)
        self.readers: list[VersionReader] = []
        self._reader = reader
        self._number_of: dict[tuple[tuple[str, Record], int], int] = {}
        for version in reversed(own):
            schema = RegisteredSchema("AVRO", json.dumps(version.avro))
            self.add(FoundId(version.id, FRAME_BYTES), self.reader_of(schema, FRAME_BYTES))

    def reader_of(self, schema: RegisteredSchema, frame_bytes: int) -> int:
        """Return the number of the schema's reader. Raises SchemaError if it cannot be read, and other errors."""
        if schema.type != "AVRO":
            raise SchemaError(f"a schema of type {schema.type}; events of this topic are Avro")
        same = identity(schema.text), frame_bytes
        if (known := self._number_of.get(same)) is not None:
            return known
        self.readers.append(reader_of_writer(json.loads(schema.text), self._reader, frame_bytes))
        self._number_of[same] = len(self.readers) - 1
        return len(self.readers) - 1
