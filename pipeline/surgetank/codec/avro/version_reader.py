"""Converts framed values of one schema version to columns of the current one, with a reason for each failed row."""

import numpy as np
import pyarrow as pa

from surgetank.codec.avro.body_decoder import BodyDecoder
from surgetank.codec.avro.program import Int64s
from surgetank.codec.avro.resolution import ParsedSchema, Resolution
from surgetank.codec.avro.types import arrow_schema
from surgetank.codec.wire import FRAME_BYTES

Failures = list[tuple[int, str]]  # row numbers and reasons
Read = tuple[pa.RecordBatch, Int64s, Failures]

MESSAGE_MAX = 200


class VersionReader:
    """Reads values of one version into the columns of the current one. Before each body are ``frame_bytes``."""

    def __init__(self, writer: ParsedSchema, reader: ParsedSchema, frame_bytes: int = FRAME_BYTES) -> None:
        self._frame_bytes = frame_bytes
        self.schema: pa.Schema = arrow_schema(reader.record)
        self._decoder = BodyDecoder(writer.record)
        self._resolution = None if writer.record == reader.record else Resolution(writer, reader, frame_bytes)

    def read(self, values: pa.LargeBinaryArray, rows: Int64s | None) -> Read:
        """Return the columns of ``rows`` (int64, rising; None: all), the row numbers read, int64 [m], and the failures.

        The values of those rows were written with this version. Failures are in the order of the rows.
        """
        columns, kept, errors = self._decoder.decode(values, self._frame_bytes, rows)
        failures = [(error.row, str(error)[:MESSAGE_MAX]) for error in errors]
        if self._resolution is None:
            return columns, kept, failures
        parts, failed = self._resolution.fit(values, kept, columns)
        fitted = [part for _, _, part in parts] or [pa.RecordBatch.from_pylist([], schema=self.schema)]
        failures += [(int(kept[position]), message_of(error)) for position, error in failed]
        good = [np.arange(start, stop, dtype=np.int64) for start, stop, _ in parts]
        return joined(fitted), kept[np.concatenate([np.zeros(0, dtype=np.int64), *good])], sorted(failures)


def joined(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Return the rows of at least one part, concatenated."""
    return parts[0] if len(parts) == 1 else pa.concat_batches(parts)


def take(columns: pa.RecordBatch, rows: Int64s) -> pa.RecordBatch:
    """Return these rows."""
    return columns.take(pa.array(rows))


def message_of(error: Exception) -> str:
    """Return a short text for an error, never with a payload in it."""
    return f"{type(error).__name__}: {error}"[:MESSAGE_MAX]
