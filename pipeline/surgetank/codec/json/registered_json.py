"""JSON values with the ids of a schema registry, in a frame before the text or in a header; or without an id."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.codec import base
from surgetank.codec.avro.frames import OTHER_HEADER, UNKNOWN_ID, schema_ids
from surgetank.codec.avro.id_headers import key_in
from surgetank.codec.avro.program import Int64s
from surgetank.codec.json.json_schema import check_json_schema
from surgetank.codec.registered_ids import RegisteredIds, SchemasById
from surgetank.codec.schema_ids import RegisteredSchema
from surgetank.codec.schema_repository import SchemaVersion
from surgetank.codec.wire import FRAME_BYTES
from surgetank.errors import SchemaError
from surgetank.records import DeadLetter, value_bytes

_FRAMED, _BARE = 0, 1  # the readers: of a text behind a frame, and of a text whose id is in a header
_SPACE = 0x20


class JsonTexts(NamedTuple):
    """The n values of a batch as JSON texts, null where there is none, and a dead letter for each with a bad id."""

    values: pa.LargeBinaryArray
    refused: tuple[DeadLetter, ...]


class RegisteredJson(RegisteredIds):
    """The ids of the values of one topic, whose JSON Schemas must agree with ``reader``.

    A value without an id is a JSON text, as without a registry.
    """

    def __init__(self, registry: SchemasById, reader: SchemaVersion) -> None:
        super().__init__(registry)
        self._reader = reader

    def reader_of(self, schema: RegisteredSchema, frame_bytes: int) -> int:
        """Return the number of the reader. Raises SchemaError if values of the schema cannot be events."""
        if schema.type != "JSON":
            raise SchemaError(f"a schema of type {schema.type}; events of this topic are JSON")
        check_json_schema(self._reader, schema.text)
        return _FRAMED if frame_bytes else _BARE

    def texts(self, values: pa.LargeBinaryArray, headers: pa.LargeBinaryArray | None, bytes_max: int) -> JsonTexts:
        """Return the texts of values, n; ``headers`` as of ``id_headers``. Spaces take the place of frames.

        Wait for ids that are not known. Raises StartupError if the registry does not answer within a minute.
        """
        numbers, _ = self.reader_numbers(values, headers, bytes_max)
        framed = np.flatnonzero(numbers == _FRAMED)
        bad = np.flatnonzero((numbers == UNKNOWN_ID) | (numbers == OTHER_HEADER))
        if len(framed):
            values = _with_spaces(values, framed)
        if not len(bad):
            return JsonTexts(values, ())
        refused = tuple(self._refusal(row, int(numbers[row]), values, headers) for row in bad.tolist())
        kept = np.ones(len(values), dtype=np.bool_)
        kept[bad] = False
        return JsonTexts(_only(values, kept), refused)

    def _refusal(
        self, row: int, number: int, values: pa.LargeBinaryArray, headers: pa.LargeBinaryArray | None
    ) -> DeadLetter:
        if number == OTHER_HEADER:
            return DeadLetter(row, base.NOT_FRAMED, "the header of the schema id holds neither an id nor a GUID")
        header = None if headers is None else headers[row].as_py()
        key = None if header is None else key_in(header)
        reason, why = self.refusal(int(schema_ids(values, np.array([row]))[0]) if key is None else key)
        return DeadLetter(row, reason, why)


def _with_spaces(values: pa.LargeBinaryArray, rows: Int64s) -> pa.LargeBinaryArray:
    """Return values with spaces, which JSON ignores, in place of the frames of these rows: positions stay the same."""
    data, starts = value_bytes(values)
    copy = data[starts[0] : starts[-1]].copy()
    copy[(starts[rows] - starts[0])[:, None] + np.arange(FRAME_BYTES)] = _SPACE
    valid = None if not values.null_count else values.is_valid().buffers()[1]
    buffers = [valid, pa.py_buffer(starts - starts[0]), pa.py_buffer(copy)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(values), buffers, null_count=values.null_count)


def _only(values: pa.LargeBinaryArray, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> pa.LargeBinaryArray:
    """Return values with null in place of those that are not kept."""
    found: pa.LargeBinaryArray = pc.if_else(pa.array(kept), values, pa.scalar(None, pa.large_binary()))
    return found
