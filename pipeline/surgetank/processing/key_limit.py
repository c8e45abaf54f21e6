"""Withholds records with keys that do not fit a changelog, which could not be committed, from all further steps."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from surgetank.records import DeadLetter, DeadLetterReason, DecodedBatch, Step, byte_lengths

KEY_TOO_LARGE = DeadLetterReason(Step.DECODE, "key_too_large", "a row of state with this key exceeds its changelog")


def within_key_limit(batch: DecodedBatch, key_bytes_max: int) -> tuple[DecodedBatch, tuple[DeadLetter, ...]]:
    """Return the events of a batch with keys of at most ``key_bytes_max`` bytes, and a dead letter for each other."""
    sizes = byte_lengths(batch.records.keys)
    if sizes.max(initial=0) <= key_bytes_max:
        return batch, ()
    fits = sizes[batch.rows] <= key_bytes_max
    deleting = sizes[batch.deletes] <= key_bytes_max
    rows = np.sort(np.concatenate([batch.rows[~fits], batch.deletes[~deleting]]))
    dead = tuple(
        DeadLetter(
            row, KEY_TOO_LARGE, f"the key has {sizes[row]} bytes; state is kept for keys of up to {key_bytes_max}"
        )
        for row in rows.tolist()
    )
    columns = batch.columns.filter(pa.array(fits))
    return replace(batch, rows=batch.rows[fits], columns=columns, deletes=batch.deletes[deleting]), dead
