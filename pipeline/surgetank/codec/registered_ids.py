"""What is known of the ids of a schema registry that the values of one topic have, in frames or in headers."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from avro.errors import AvroException
from fastavro.schema import SchemaParseException, UnknownType

from surgetank.codec import base
from surgetank.codec.avro.frames import (
    EMPTY,
    NULL,
    OTHER_HEADER,
    TOO_LARGE,
    UNKNOWN_ID,
    reader_numbers,
    schema_ids,
)
from surgetank.codec.avro.id_headers import key_in
from surgetank.codec.avro.program import Int64s
from surgetank.codec.schema_ids import RegisteredSchema, SchemaKey
from surgetank.codec.wire import FRAME_BYTES
from surgetank.errors import SchemaError
from surgetank.records import DeadLetterReason

_MESSAGE_MAX = 300
_RESOLVE_SECONDS = 60.0
_HELD = -100  # stands for the reader of a disputed id while rows are counted


class SchemasById(Protocol):
    """What is known of the ids of a registry."""

    def ask(self, ids: list[SchemaKey]) -> None:
        """Look these ids up, unless they are known."""
        ...

    def resolve(self, ids: list[SchemaKey], timeout: float) -> None:
        """Wait until something is known of all these ids. Raises StartupError after ``timeout`` seconds."""
        ...

    def schema(self, number: SchemaKey) -> RegisteredSchema | None:
        """Return the schema of an id; None if it is not known."""
        ...

    def is_denied(self, number: SchemaKey) -> bool:
        """Return whether the registry does not have the id."""
        ...

    def disputed(self) -> list[SchemaKey]:
        """Return the known ids whose values must not be decoded now."""
        ...


class RegisteredIds(ABC):
    """The ids of one topic's values. For one thread at a time.

    ``ready_rows`` says how many values can be decoded without waiting; others are waited for when they are decoded.
    """

    def __init__(self, registry: SchemasById) -> None:
        self._registry = registry
        # The readers of framed values, as arrays for the compiled loop, and those of values with their id in a header.
        self._ids = np.zeros(0, dtype=np.int64)
        self._numbers = np.zeros(0, dtype=np.int64)
        self._unframed: dict[SchemaKey, int] = {}
        self._refused: dict[SchemaKey, str] = {}

    @abstractmethod
    def reader_of(self, schema: RegisteredSchema, frame_bytes: int) -> int:
        """Return the number, 0 or more, of what reads values with this schema behind so many bytes of a frame.

        Raises SchemaError if they cannot be read, and other errors for a text that is no schema.
        """

    def ready_rows(
        self, values: pa.LargeBinaryArray, headers: pa.LargeBinaryArray | None, bytes_max: int
    ) -> tuple[int, list[SchemaKey]]:
        """Return how many of the first values need no id that is not known yet, and the ids that the others wait for.

        Those are looked up meanwhile. ``headers``: as of ``id_headers``.
        """
        held = set(self._registry.disputed())
        found, all_same = self._found(values, headers, bytes_max, held)
        if all_same and (not len(found) or found[0] not in {UNKNOWN_ID, _HELD}):
            return len(found), []
        rows = np.flatnonzero((found == UNKNOWN_ID) | (found == _HELD))
        ids = _ids_of(values, headers, rows)
        waiting = {each for each in set(ids) if each.key in held or not self._is_decided(each)}
        if not waiting:
            return len(found), []
        keys = list({each.key for each in waiting})
        self._registry.ask(keys)
        return int(rows[next(at for at, each in enumerate(ids) if each in waiting)]), keys

    def reader_numbers(
        self, values: pa.LargeBinaryArray, headers: pa.LargeBinaryArray | None, bytes_max: int
    ) -> tuple[Int64s, bool]:
        """Return int64 [n], as ``WriterSchemas`` says, and whether all numbers are the same.

        Wait for ids that are not known. Raises StartupError if the registry does not answer within a minute.
        """
        found, all_same = self._found(values, headers, bytes_max)
        unknown = np.flatnonzero(found == UNKNOWN_ID)
        if not len(unknown):
            return found, all_same
        ids = {each for each in _ids_of(values, headers, unknown) if each.key not in self._refused}
        undecided = [each for each in ids if not self._is_decided(each)]
        if undecided:
            self._registry.resolve(list({each.key for each in undecided}), _RESOLVE_SECONDS)
            for each in undecided:
                self._is_decided(each)
        return self._found(values, headers, bytes_max)

    def refusal(self, schema_id: SchemaKey) -> tuple[DeadLetterReason, str]:
        """Return the reason and the message of an id without a reader."""
        if (why := self._refused.get(schema_id)) is not None:
            return base.INCOMPATIBLE_SCHEMA, why
        return base.UNKNOWN_SCHEMA, f"schema id {schema_id}: the schema registry does not have it"

    def _found(
        self,
        values: pa.LargeBinaryArray,
        headers: pa.LargeBinaryArray | None,
        bytes_max: int,
        held: Collection[SchemaKey] = (),
    ) -> tuple[Int64s, bool]:
        """Return the numbers of the readers as they are known now, _HELD for the ``held`` ids."""
        numbers = self._numbers
        if held:
            numbers = np.where(np.isin(self._ids, [each for each in held if isinstance(each, int)]), _HELD, numbers)
        found, all_same = reader_numbers(values, self._ids, numbers, bytes_max)
        if headers is None:
            return found, all_same
        distinct = headers.dictionary_encode()
        of_header = [self._of_header(key_in(each), held) for each in distinct.dictionary.to_pylist()]
        with_body = ~np.isin(found, [NULL, EMPTY, TOO_LARGE]) & headers.is_valid().to_numpy(zero_copy_only=False)
        codes = distinct.indices.fill_null(0).to_numpy()
        found[with_body] = np.array(of_header, dtype=np.int64)[codes[with_body]]
        return found, len(found) == 0 or bool((found == found[0]).all())

    def _of_header(self, key: SchemaKey | None, held: Collection[SchemaKey]) -> int:
        if key is None:
            return OTHER_HEADER
        return _HELD if key in held else self._unframed.get(key, UNKNOWN_ID)

    def _is_decided(self, each: "FoundId") -> bool:
        """Return whether it is known what to do with values of an id; make its reader if its schema is known now."""
        key = each.key
        if key in self._refused or (key in self._ids if each.frame_bytes else key in self._unframed):
            return True
        schema = self._registry.schema(key)
        if schema is None:
            return self._registry.is_denied(key)
        try:
            reader = self.reader_of(schema, each.frame_bytes)
        except (SchemaError, AvroException, SchemaParseException, UnknownType) as error:
            self._refused[key] = f"schema id {key}: {error}"[:_MESSAGE_MAX]
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            self._refused[key] = f"schema id {key}: its text is no schema ({type(error).__name__})"
        else:
            self.add(each, reader)
        return True

    def add(self, each: "FoundId", reader: int) -> None:
        """Read the values with an id by this reader from now on."""
        if each.frame_bytes and isinstance(each.key, int):
            self._ids = np.append(self._ids, each.key)
            self._numbers = np.append(self._numbers, reader)
        else:
            self._unframed[each.key] = reader


class FoundId(NamedTuple):
    """The id of a value: in a frame of so many bytes, or in a header, 0."""

    key: SchemaKey
    frame_bytes: int


def _ids_of(values: pa.LargeBinaryArray, headers: pa.LargeBinaryArray | None, rows: Int64s) -> list[FoundId]:
    """Return the ids of some rows, int64 [k]; each has one, in a frame or in a header."""
    if headers is None:
        return [FoundId(key, FRAME_BYTES) for key in schema_ids(values, rows).tolist()]
    found = [FoundId(key_in(each) or 0, 0) for each in headers.take(pa.array(rows)).fill_null(b"").to_pylist()]
    framed = np.flatnonzero(headers.take(pa.array(rows)).is_null().to_numpy(zero_copy_only=False))
    for at, key in zip(framed.tolist(), schema_ids(values, rows[framed]).tolist(), strict=True):
        found[at] = FoundId(key, FRAME_BYTES)
    return found
