"""Finds records whose key does not repeat the key field of their event, without a Python object per record. Pure.

A key repeats a field as ``as_key`` writes it. A whole number may also be in the 4 or 8 bytes of Java's serializers. A
key in the Confluent wire format (a zero byte, then the id of a schema) is not compared, unless the field holds bytes.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.declaration import Events
from surgetank.records import Bools, DeadLetterReason, DecodedBatch, Int64s, Step, byte_lengths, value_bytes
from surgetank.text_columns import as_key

KEY_DIFFERS = DeadLetterReason(
    Step.DECODE, "key_differs", "the record key does not repeat the key field, and the pipeline refuses such records"
)

_NONE = np.zeros(0, dtype=np.int64)
_FRAME_BYTES = 5


class KeyMismatches(NamedTuple):
    """The k events of a batch whose record key does not repeat their key field.

    ``places`` is int64 [k], ascending, the positions in the batch; ``missing`` is bool [k]: whether the record has no
    key. ``keys`` is large_binary [k], the keys that would repeat the field; null: the field is null.
    """

    places: Int64s
    missing: Bools
    keys: pa.LargeBinaryArray

    def __len__(self) -> int:
        return len(self.places)


def find_mismatches(batch: DecodedBatch, field: str) -> KeyMismatches:
    """Compare the record keys of the events of a batch with a field."""
    column, keys = batch.columns[field], batch.records.keys
    if len(batch) < len(keys):
        keys = keys.take(pa.array(batch.rows))
    wanted = as_key(column).cast(pa.large_binary())
    if keys.equals(wanted):
        return KeyMismatches(_NONE, np.zeros(0, dtype=np.bool_), wanted.slice(0, 0))
    null, wanted_null = pc.is_null(keys), pc.is_null(wanted)
    differing = pc.coalesce(pc.not_equal(keys, wanted), pc.xor(null, wanted_null))
    places = np.flatnonzero(differing.to_numpy(zero_copy_only=False))
    at = pa.array(places)
    places = places[~_encoded_otherwise(keys.take(at), column.take(at))]
    at = pa.array(places)
    return KeyMismatches(places, null.take(at).to_numpy(zero_copy_only=False), wanted.take(at))


def without_mismatches(batch: DecodedBatch, events: Events) -> DecodedBatch:
    """Return a batch without the events that a worker refuses or re-keys because of their record key."""
    if events.key is None or events.differing_keys == "count":
        return batch
    return without(batch, find_mismatches(batch, events.key).places)


def without(batch: DecodedBatch, places: Int64s) -> DecodedBatch:
    """Return a batch without the events at these positions; its deletes stay."""
    if not len(places):
        return batch
    kept = np.ones(len(batch), dtype=np.bool_)
    kept[places] = False
    return replace(batch, rows=batch.rows[kept], columns=batch.columns.filter(pa.array(kept)))


def _encoded_otherwise(keys: pa.LargeBinaryArray, column: pa.Array) -> Bools:
    """Return bool [k]: which keys are encoded in another way than as text."""
    lengths = byte_lengths(keys)
    found = np.zeros(len(keys), dtype=np.bool_)
    data, starts = value_bytes(keys)
    if not (pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type)):
        framed = np.flatnonzero(lengths > _FRAME_BYTES)
        found[framed] = data[starts[framed]] == 0
    if pa.types.is_integer(column.type):
        numbers = column.cast(pa.int64())
        for dtype in (np.dtype(">i4"), np.dtype(">i8")):
            rows = np.flatnonzero((lengths == dtype.itemsize) & column.is_valid().to_numpy(zero_copy_only=False))
            bytes_ = data[starts[rows][:, None] + np.arange(dtype.itemsize)]
            found[rows] |= np.ascontiguousarray(bytes_).view(dtype)[:, 0] == numbers.take(pa.array(rows)).to_numpy()
    return found
