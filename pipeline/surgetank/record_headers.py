"""Headers of many records in one column, as the compiled loop of the consumer writes them.

Of each header these are the length of its name, the name, the length of its value and the value. Lengths are
little-endian int32; that of a null value is -1.
"""

import struct
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from surgetank.header_views import JoinedHeaders, LaterHeaders
from surgetank.records import (
    Headers,
    PartitionRecords,
    RecordBatch,
    joined,
    large_binary,
    no_headers,
)

_LENGTH = struct.Struct("<i")


class EncodedHeaders:
    """The headers of n records, ``column`` [n], null for a record without headers. Call it with a row."""

    def __init__(self, column: pa.LargeBinaryArray) -> None:
        self.column = column

    def __call__(self, row: int) -> Headers:
        """Return the headers of a row."""
        encoded = self.column[row].as_py()
        return () if encoded is None else decode_headers(encoded)


def encoded_headers(records: PartitionRecords | RecordBatch) -> pa.LargeBinaryArray:
    """Return the headers of n records as one column [n]; those that the ordinary client read are encoded for it."""
    return _column(records.headers_of, 0, len(records))


def _column(headers_of: Callable[[int], Headers], first: int, rows: int) -> pa.LargeBinaryArray:
    """Return the encoded headers of rows [first, first + rows)."""
    match headers_of:
        case EncodedHeaders(column=column):
            return column.slice(first, rows)  # the first part of a split has the column of all
        case LaterHeaders(headers_of=others, rows=before):
            return _column(others, first + before, rows)
        case JoinedHeaders(parts=parts, starts=starts):
            columns = [_column(each, 0, int(n)) for each, n in zip(parts, np.diff(starts), strict=True)]
            return joined(columns).slice(first, rows)
    if headers_of is no_headers:
        return pa.nulls(rows, pa.large_binary())
    return large_binary([encode_headers(headers_of(row)) for row in range(first, first + rows)])


def encode_headers(headers: Headers) -> bytes:
    """Return what ``decode_headers`` decodes."""
    parts = []
    for name, value in headers:
        encoded = name.encode(errors="surrogateescape")
        length = -1 if value is None else len(value)
        parts += [_LENGTH.pack(len(encoded)), encoded, _LENGTH.pack(length), value or b""]
    return b"".join(parts)


def decode_headers(encoded: bytes) -> list[tuple[str, bytes | None]]:
    """Return the encoded headers. Bytes of a name that are not UTF-8 become surrogates (``surrogateescape``)."""
    headers: list[tuple[str, bytes | None]] = []
    at = 0
    while at < len(encoded):
        (length,) = _LENGTH.unpack_from(encoded, at)
        at += 4
        name = encoded[at : at + length].decode(errors="surrogateescape")
        at += length
        (length,) = _LENGTH.unpack_from(encoded, at)
        at += 4
        headers.append((name, None if length < 0 else encoded[at : at + length]))
        at += max(length, 0)
    return headers
