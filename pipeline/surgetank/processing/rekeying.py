"""The records that are sent to their topic again with the right key, and the header that marks them.

A record with this header is never sent again for its key: two pipelines with different key fields could otherwise send
it in a circle. Pure.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from surgetank.processing.dead_letter import NAMES, DeadLetterRecord, is_text, size
from surgetank.record_compression import RecordBytes, compressed_bytes
from surgetank.records import Headers, Int64s, OutputRecords, RecordBatch

REKEYED = "surgetank.rekeyed"
_OURS = {REKEYED, *NAMES}

Partitioner = Callable[[bytes, int], int]


class RekeyedFrom(NamedTuple):
    """Who sent a record again, and the position of the original in the same topic."""

    pipeline: str
    partition: int
    offset: int

    def dump(self) -> bytes:
        """Return the value of the header."""
        return f"{self.pipeline} {self.partition} {self.offset}".encode()


class RekeyedRecords(NamedTuple):
    """The rows int64 [k] of records of one topic that are sent again, and their copies [k] in the same order."""

    rows: Int64s
    copies: OutputRecords


def was_rekeyed(headers: Headers) -> bool:
    """Return whether a record was sent again for its key by any pipeline."""
    return any(name == REKEYED for name, _ in headers)


def rekeyed_from(headers: Headers) -> RekeyedFrom | None:
    """Return the original of a record, None if it is not the copy of one.

    A dead letter that is replayed has the header of the copy that failed: it is a copy only of the letter.
    """
    last: tuple[str, bytes | None] = next((each for each in reversed(headers) if each[0] in _OURS), ("", None))
    if last[0] != REKEYED:
        return None
    try:
        pipeline, partition, offset = (last[1] or b"").decode().split(" ")
        return RekeyedFrom(pipeline, int(partition), int(offset))
    except ValueError:
        return None


def rekeyed_headers(records: RecordBatch, row: int, pipeline: str) -> list[tuple[str, bytes | None]]:
    """Return the headers of the copy: the original ones whose names are UTF-8, and the mark."""
    source = records.sources[records.source[row]]
    original = RekeyedFrom(pipeline, source.partition, int(records.offsets[row]))
    return [*(each for each in records.headers_of(row) if is_text(each[0])), (REKEYED, original.dump())]


def copy_fits(key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes | None]], limit: RecordBytes) -> bool:
    """Return whether the topic takes the copy."""
    copy = DeadLetterRecord(key, value, list(headers))
    return limit.fit(size(copy), lambda: compressed_bytes(*copy))


def rekeyed_records(
    records: RecordBatch,
    rows: Int64s,
    keys: pa.LargeBinaryArray,
    headers: Sequence[Headers],
    *,
    topic: str,
    partitions: int,
    partitioner: Partitioner,
) -> RekeyedRecords:
    """Return the rows int64 [k] and their copies with ``keys`` [k], in their order. No key is null."""
    distinct = keys.dictionary_encode()
    places = np.array([partitioner(key, partitions) for key in distinct.dictionary.to_pylist()], dtype=np.int32)
    values = records.values.take(pa.array(rows))
    return RekeyedRecords(rows, OutputRecords(topic, places[distinct.indices.to_numpy()], keys, values, headers))
