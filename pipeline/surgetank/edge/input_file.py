"""Files of events: Avro object container files and JSON lines, told apart by their first bytes, as columns of bytes."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from surgetank.codec.avro.container import MAGIC, ContainerDeserializer, ContainerReader
from surgetank.codec.base import Deserializer
from surgetank.codec.formats import with_declared_columns
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.declaration import Events
from surgetank.errors import SettingsError, StartupError
from surgetank.records import large_binary_of

STANDARD_INPUT = "-"
_CHUNK_BYTES = 4 << 20
_LINE_BYTES_MAX = 1 << 30
_NEWLINE, _RETURN = 10, 13


class CountedStream:
    """Bytes that are read once, also from a pipe, and how many of them were read. ``size`` is None for a pipe."""

    def __init__(self, stream: IO[bytes], size: int | None = None) -> None:
        self._stream = stream
        self.size = size
        self.first = stream.read(len(MAGIC))
        self._ahead = self.first
        self._position = 0

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, fewer only at the end."""
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        data += self._stream.read(size - len(data)) if len(data) < size else b""
        self._position += len(data)
        return data

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._position


class EventFile:
    """The events of one file. ``deserializer`` decodes the values that ``values`` yields.

    Values of more than ``value_bytes_max`` bytes are not decoded. Raises SchemaError if the file's schema cannot be
    read as that of the events, or JSON cannot have one of its types; SchemaError or TopologyError if a declared time
    unit contradicts the schema.
    """

    def __init__(
        self, stream: CountedStream, what: str, events: Events, contracts: SchemaRepository, value_bytes_max: int
    ) -> None:
        self.stream = stream
        self._what = what
        self._container = ContainerReader(stream, what) if stream.first == MAGIC else None
        self.deserializer = with_declared_columns(events, contracts, self._decoder(events, contracts, value_bytes_max))

    def values(self) -> Iterator[pa.LargeBinaryArray]:
        """Yield the events in their order, none null. Raises StartupError for a damaged or cut file."""
        yield from json_lines(self.stream, self._what) if self._container is None else self._container.values()

    def _decoder(self, events: Events, contracts: SchemaRepository, value_bytes_max: int) -> Deserializer:
        current = contracts.current(events.schema)
        if self._container is not None:
            return ContainerDeserializer(self._container.avro, current, value_bytes_max=value_bytes_max)
        from surgetank.codec.json.deserializer import JsonDeserializer  # compiled code takes a moment to load

        return JsonDeserializer(contracts, events.schema, value_bytes_max=value_bytes_max)


@contextmanager
def open_stream(name: str, option: str) -> Iterator[CountedStream]:
    """Open a file, or the standard input for ``-``. Raises SettingsError, which names ``option``."""
    if name == STANDARD_INPUT:
        yield CountedStream(sys.stdin.buffer)
        return
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(Path(name).open("rb"))
            counted = CountedStream(stream, Path(name).stat().st_size)
        except OSError as error:
            raise SettingsError(f"{option} {name}: {error.strerror}") from None
        yield counted


def json_lines(stream: CountedStream, what: str) -> Iterator[pa.LargeBinaryArray]:
    """Yield the lines of a stream without their ends; empty lines are left out. Raises StartupError for a huge line."""
    rest = b""
    while chunk := stream.read(_CHUNK_BYTES):
        whole, newline, after = chunk.rpartition(b"\n")
        if not newline:
            rest += chunk
            if len(rest) > _LINE_BYTES_MAX:
                raise StartupError(f"{what}: a line has more than {_LINE_BYTES_MAX} bytes; write one event per line")
            continue
        yield from _lines(rest + whole + newline)
        rest = after
    if rest:
        yield from _lines(rest + b"\n")


def _lines(text: bytes) -> Iterator[pa.LargeBinaryArray]:
    """Yield the lines of a text that ends with a newline, if any line has content."""
    data = np.frombuffer(text, dtype=np.uint8)
    content = data != _NEWLINE
    newlines = np.flatnonzero(~content)
    later = newlines[newlines > 0]
    content[later[data[later - 1] == _RETURN] - 1] = False
    before = np.concatenate(([0], np.cumsum(content)))[newlines + 1]  # how many bytes of content end with each line
    ends = np.unique(np.concatenate(([0], before))).astype(np.int64)
    if len(ends) > 1:
        yield large_binary_of(ends, np.ascontiguousarray(data[content]))
