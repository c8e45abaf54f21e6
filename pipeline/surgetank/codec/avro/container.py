"""Avro object container files: a schema, then blocks of records.

Format: https://avro.apache.org/docs/1.12.0/specification/#object-container-files. fastavro reads header and codecs; the
records of a block are found by a compiled loop and stay bytes.
"""

import json
import os
from collections.abc import Iterator
from typing import IO, Any, Protocol

import fastavro
import numpy as np
import pyarrow as pa

from surgetank.codec import base
from surgetank.codec.avro.any_writer import reader_of_writer
from surgetank.codec.avro.container_loop import record_ends
from surgetank.codec.avro.program import Int64s, program_of
from surgetank.codec.avro.types import Json, parse
from surgetank.codec.schema_repository import SchemaVersion
from surgetank.codec.wire import FRAME_BYTES
from surgetank.errors import SchemaError, StartupError
from surgetank.records import DeadLetter, DecodedBatch, RecordBatch, byte_lengths, large_binary_of, value_bytes

MAGIC = b"Obj\x01"
_SYNC_BYTES = 16


class ReadableStream(Protocol):
    """Bytes that are read once, from front to back."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, fewer only at the end."""
        ...

    def tell(self) -> int:
        """Return how many bytes were read."""
        ...


class ContainerReader:
    """Reads the records of a container file as bytes. ``what`` names the file in errors.

    Raises SchemaError if it is no container file, or its schema is none of a record that becomes columns.
    """

    def __init__(self, stream: ReadableStream, what: str) -> None:
        self._what = what
        try:
            self._blocks: Any = fastavro.block_reader(stream)
            self.avro: Json = json.loads(self._blocks.metadata["avro.schema"])
        except Exception as error:  # noqa: BLE001 - fastavro's errors have no common base
            raise SchemaError(f"{what} is no Avro object container file: {type(error).__name__}: {error}") from None
        if not isinstance(self.avro, dict) or self.avro.get("type") != "record":
            raise SchemaError(f"{what}: its schema is not that of a record")
        try:
            self._program = program_of(parse(self.avro))
        except SchemaError as error:
            raise SchemaError(f"{what}: {error}") from None

    def values(self) -> Iterator[pa.LargeBinaryArray]:
        """Yield the bodies of the records of each block, none null.

        Raises StartupError for a damaged or cut file, and for a codec without an installed library; null, deflate,
        bzip2 and xz need none.
        """
        remaining = np.zeros(self._program.levels, dtype=np.int64)
        number = 0
        while True:
            try:
                block = next(self._blocks)
                data = block.bytes_.read()
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - as zlib.error, or EOFError for a file that is cut
                raise StartupError(
                    f"{self._what} cannot be read after block {number}: {type(error).__name__}: {error}"
                ) from None
            # A record has a byte at least: an event has an id. So no number of a damaged file asks for much memory.
            records = block.num_records if 0 <= block.num_records <= len(data) else 0
            ends = np.zeros(records + 1, dtype=np.int64)
            buffer = np.frombuffer(data, dtype=np.uint8)
            found = record_ends(self._program.code, buffer.ctypes.data, len(data), remaining, ends)
            if found != block.num_records:
                raise StartupError(
                    f"{self._what}: block {number} is damaged: it does not have the {block.num_records} records "
                    "that it says"
                )
            number += 1
            yield large_binary_of(ends, data)


class ContainerDeserializer:
    """A ``Deserializer`` of the bodies in container files of the schema ``avro``, read as the schema ``reader``.

    Values of more than ``value_bytes_max`` bytes are not decoded. Raises SchemaError if they cannot be read so.
    """

    def __init__(self, avro: Json, reader: SchemaVersion, *, value_bytes_max: int) -> None:
        self._reader = reader_of_writer(avro, reader, 0)
        self._value_bytes_max = value_bytes_max
        self.schema: pa.Schema = self._reader.schema

    def deserialize(self, records: RecordBatch) -> tuple[DecodedBatch, tuple[DeadLetter, ...]]:
        """Return the events in columns (``schema``), and a dead letter for each record that is not a valid event."""
        sizes = byte_lengths(records.values)
        large = np.flatnonzero(sizes > self._value_bytes_max)
        rows = np.flatnonzero(sizes <= self._value_bytes_max) if len(large) else None
        columns, kept, failures = self._reader.read(records.values, rows)
        dead = [DeadLetter(row, base.UNDECODABLE, why) for row, why in failures]
        for row in large.tolist():
            message = f"{sizes[row]} bytes; at most {self._value_bytes_max} are decoded"
            dead.append(DeadLetter(row, base.VALUE_TOO_LARGE, message))
        return DecodedBatch(records, kept, columns), tuple(sorted(dead, key=lambda letter: letter.row))


class ContainerWriter:
    """Writes framed values of one schema as a container file, without compression. ``stream`` is open for writing."""

    def __init__(self, stream: IO[bytes], avro: Json) -> None:
        self._stream = stream
        self._sync = os.urandom(_SYNC_BYTES)
        metadata = {b"avro.schema": json.dumps(avro).encode(), b"avro.codec": b"null"}
        stream.write(MAGIC + _long(len(metadata)))
        for name, value in metadata.items():
            stream.write(_long(len(name)) + name + _long(len(value)) + value)
        stream.write(_long(0) + self._sync)

    def write(self, values: pa.LargeBinaryArray) -> None:
        """Append a block of n values, none null, without their frames of ``FRAME_BYTES``. Raises OSError."""
        if not len(values):
            return
        data, starts = value_bytes(values)
        bodies = without_frames(data, starts)
        self._stream.write(_long(len(values)) + _long(len(bodies)))
        self._stream.write(bodies.data)
        self._stream.write(self._sync)


def without_frames(data: Any, starts: Int64s) -> Any:
    """Return uint8: the values that lie in ``data``, uint8, from ``starts``, int64 [n + 1], without their frames."""
    kept = np.ones(int(starts[-1] - starts[0]), dtype=np.bool_)
    kept[(starts[:-1, None] - starts[0] + np.arange(FRAME_BYTES)).ravel()] = False
    return np.ascontiguousarray(data[starts[0] : starts[-1]][kept])


def _long(number: int) -> bytes:
    """Return a number from 0 as Avro encodes it."""
    zigzag, found = number << 1, bytearray()
    while zigzag > 0x7F:
        found.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    found.append(zigzag)
    return bytes(found)
