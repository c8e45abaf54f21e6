"""The writer schemas of a topic with a schema registry: those that the registry has for the ids of its values."""

import json
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from avro.errors import AvroException
from fastavro.schema import SchemaParseException, UnknownType

from surgetank.codec import base
from surgetank.codec.avro.equality import identity
from surgetank.codec.avro.frames import UNKNOWN_ID, reader_numbers, schema_ids
from surgetank.codec.avro.program import Int64s
from surgetank.codec.avro.types import Json, Record, parse
from surgetank.codec.avro.version_reader import VersionReader
from surgetank.codec.evolution import reinterpreted, unreadable
from surgetank.codec.schema_ids import RegisteredSchema
from surgetank.codec.schema_repository import SchemaVersion
from surgetank.errors import SchemaError
from surgetank.records import DeadLetterReason

_MESSAGE_MAX = 300
_RESOLVE_SECONDS = 60.0
_HELD = -100  # stands for the reader of a disputed id while rows are counted


class SchemasById(Protocol):
    """What is known of the ids of a registry."""

    def ask(self, ids: list[int]) -> None:
        """Look these ids up, unless they are known."""
        ...

    def resolve(self, ids: list[int], timeout: float) -> None:
        """Wait until something is known of all these ids. Raises StartupError after ``timeout`` seconds."""
        ...

    def schema(self, number: int) -> RegisteredSchema | None:
        """Return the schema of an id; None if it is not known."""
        ...

    def is_denied(self, number: int) -> bool:
        """Return whether the registry does not have the id."""
        ...

    def disputed(self) -> list[int]:
        """Return the known ids whose values must not be decoded now."""
        ...


@dataclass(frozen=True, slots=True)
class _Writer:
    """The schema of a writer."""

    avro: Json
    record: Record


class RegisteredSchemas:
    """The ``WriterSchemas`` of values that are read as ``reader``. For one thread at a time.

    Several ids of one schema share a reader. ``ready_rows`` says how many values can be decoded without waiting; others
    are waited for when they are decoded.
    """

    def __init__(self, registry: SchemasById, reader: SchemaVersion) -> None:
        self.readers: list[VersionReader] = []
        self._registry = registry
        self._reader = reader
        self._ids = np.zeros(0, dtype=np.int64)
        self._numbers = np.zeros(0, dtype=np.int64)
        self._number_of: dict[tuple[str, Record], int] = {}
        self._refused: dict[int, str] = {}

    def ready_rows(self, values: pa.LargeBinaryArray, bytes_max: int) -> tuple[int, list[int]]:
        """Return how many of the first values need no id that is not known yet, and the ids that the others wait for.

        Those are looked up meanwhile.
        """
        held = self._registry.disputed()
        numbers = np.where(np.isin(self._ids, held), _HELD, self._numbers) if held else self._numbers
        found, all_same = reader_numbers(values, self._ids, numbers, bytes_max)
        if all_same and (not len(found) or found[0] not in {UNKNOWN_ID, _HELD}):
            return len(found), []
        rows = np.flatnonzero((found == UNKNOWN_ID) | (found == _HELD))
        ids = schema_ids(values, rows)
        waiting = [number for number in np.unique(ids).tolist() if number in held or not self._is_decided(number)]
        if not waiting:
            return len(found), []
        self._registry.ask(waiting)
        return int(rows[np.isin(ids, waiting)][0]), waiting

    def reader_numbers(self, values: pa.LargeBinaryArray, bytes_max: int) -> tuple[Int64s, bool]:
        """Return int64 [n], as ``WriterSchemas`` says, and whether all numbers are the same.

        Wait for ids that are not known. Raises StartupError if the registry does not answer within a minute.
        """
        found, all_same = reader_numbers(values, self._ids, self._numbers, bytes_max)
        unknown = np.flatnonzero(found == UNKNOWN_ID)
        if not len(unknown):
            return found, all_same
        ids = [each for each in np.unique(schema_ids(values, unknown)).tolist() if each not in self._refused]
        undecided = [number for number in ids if not self._is_decided(number)]
        if undecided:
            self._registry.resolve(undecided, _RESOLVE_SECONDS)
            for number in undecided:
                self._is_decided(number)
        return reader_numbers(values, self._ids, self._numbers, bytes_max)

    def refusal(self, schema_id: int) -> tuple[DeadLetterReason, str]:
        """Return the reason and the message of an id without a reader."""
        if (why := self._refused.get(schema_id)) is not None:
            return base.INCOMPATIBLE_SCHEMA, why
        return base.UNKNOWN_SCHEMA, f"schema id {schema_id}: the schema registry does not have it"

    def _is_decided(self, number: int) -> bool:
        """Return whether it is known what to do with values of an id; make its reader if its schema is known now."""
        if number in self._refused or number in self._ids:
            return True
        schema = self._registry.schema(number)
        if schema is None:
            return self._registry.is_denied(number)
        try:
            reader = self._reader_of(schema)
        except (SchemaError, AvroException, SchemaParseException, UnknownType) as error:
            self._refused[number] = f"schema id {number}: {error}"[:_MESSAGE_MAX]
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            self._refused[number] = f"schema id {number} is no Avro schema: {type(error).__name__}"
        else:
            self._ids = np.append(self._ids, number)
            self._numbers = np.append(self._numbers, reader)
        return True

    def _reader_of(self, schema: RegisteredSchema) -> int:
        """Return the number of the schema's reader. Raises SchemaError if it cannot be read, and other errors."""
        if schema.type != "AVRO":
            raise SchemaError(f"a schema of type {schema.type}; events of this topic are Avro")
        same = identity(schema.text)
        if (known := self._number_of.get(same)) is not None:
            return known
        avro = json.loads(schema.text)
        avro["name"] = _with_last_part(avro["name"], self._reader.avro["name"])  # what a record is called is no matter
        writer = _Writer(avro, parse(avro))
        reasons = unreadable(self._reader.avro, avro)
        reasons += reinterpreted(self._reader.record, writer.record, declares=True)
        if reasons:
            raise SchemaError(f"it cannot be read as {self._reader.name!r}: {'; '.join(reasons)}")
        self.readers.append(VersionReader(writer, self._reader))
        self._number_of[same] = len(self.readers) - 1
        return len(self.readers) - 1


def _with_last_part(name: str, other: str) -> str:
    """Return a full name with the last part of another one."""
    space, dot, _ = name.rpartition(".")
    return f"{space}{dot}{other.rpartition('.')[2]}"
