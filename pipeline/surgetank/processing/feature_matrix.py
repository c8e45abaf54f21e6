"""Computes the feature matrix of decoded events; an event whose features cannot be computed is dead-lettered."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from surgetank.bisection import bisect_failures
from surgetank.features.spec import FeatureSpec, Float32s, Float64s
from surgetank.records import DeadLetter, DeadLetterReason, DecodedBatch, Step

NO_FEATURES = DeadLetterReason(Step.FEATURES, "no_features", "a feature could not be computed")


class FeaturedBatch(NamedTuple):
    """The m events that have features: ``matrix`` float32 [m, F], ``aggregates`` float64 [m] by name of the feature."""

    events: DecodedBatch
    matrix: Float32s
    aggregates: Mapping[str, Float64s]
    dead: tuple[DeadLetter, ...]


def compute_features(spec: FeatureSpec, batch: DecodedBatch, aggregates: Mapping[str, Float64s]) -> FeaturedBatch:
    """Return the events with features, and a dead letter for each other event.

    ``aggregates`` are the features that were read from tables, for each event of the batch.
    """

    def attempt(start: int, stop: int) -> Float32s:
        some = {name: column[start:stop] for name, column in aggregates.items()}
        return spec.matrix(batch.columns.slice(start, stop - start), some)

    done, failed = bisect_failures(len(batch), attempt)
    if len(done) == 1 and not failed:
        return FeaturedBatch(batch, done[0][2], aggregates, ())
    dead = tuple(DeadLetter.of(batch.rows[row], NO_FEATURES, error) for row, error in failed)
    kept = np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(start, stop) for start, stop, _ in done)])
    empty = np.zeros((0, len(spec.names)), dtype=np.float32)
    matrix = np.concatenate([empty, *(part for _, _, part in done)])
    events = DecodedBatch(batch.records, batch.rows[kept], batch.columns.take(pa.array(kept)))
    return FeaturedBatch(events, matrix, {name: column[kept] for name, column in aggregates.items()}, dead)
