"""Decodes facts. A fact with a key and a null value, a tombstone, deletes the row of its key from tables."""

from dataclasses import replace

import numpy as np

from surgetank.codec.base import NULL_VALUE, Deserializer
from surgetank.records import DeadLetter, DecodedBatch, RecordBatch


def decode_facts(deserializer: Deserializer, records: RecordBatch) -> tuple[DecodedBatch, tuple[DeadLetter, ...]]:
    """Return facts in columns, with the tombstones in ``deletes``, and a dead letter for each other record."""
    batch, dead = deserializer.deserialize(records)
    if not any(letter.reason is NULL_VALUE for letter in dead):
        return batch, dead
    deletes = [letter.row for letter in dead if letter.reason is NULL_VALUE and records.keys[letter.row].is_valid]
    rest = tuple(letter for letter in dead if letter.reason is not NULL_VALUE or not records.keys[letter.row].is_valid)
    return replace(batch, deletes=np.array(deletes, dtype=np.int64)), rest
