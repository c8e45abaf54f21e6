"""Filters events by a condition of the declaration: those for which it does not hold, or is missing, are left out."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from surgetank.bisection import bisect_failures
from surgetank.codec.base import Deserializer
from surgetank.features.spec import Input
from surgetank.processing.feature_matrix import NO_FEATURES
from surgetank.records import Bools, DeadLetter, DecodedBatch, RecordBatch


class FilteringDeserializer:
    """A ``Deserializer`` whose batches have only the events for which a condition holds.

    The row numbers of the other events are in ``DecodedBatch.filtered``. An event for which the condition raises an
    error is a dead letter.
    """

    def __init__(self, inner: Deserializer, only: Input) -> None:
        self._inner = inner
        self._only = only

    @property
    def schema(self) -> pa.Schema:
        """The columns of all decoded events."""
        return self._inner.schema

    def deserialize(self, records: RecordBatch) -> tuple[DecodedBatch, tuple[DeadLetter, ...]]:
        """Return the events for which the condition holds, and a dead letter for each record that is no valid event."""
        batch, dead = self._inner.deserialize(records)
        batch, failed = filter_events(batch, self._only)
        return batch, tuple(sorted((*dead, *failed), key=lambda letter: letter.row)) if failed else dead


def filtering(inner: Deserializer, only: Input | None) -> Deserializer:
    """Return a deserializer with a filter; None: the deserializer itself."""
    return inner if only is None else FilteringDeserializer(inner, only)


def filter_events(batch: DecodedBatch, only: Input) -> tuple[DecodedBatch, tuple[DeadLetter, ...]]:
    """Return the events for which a condition holds, the others in ``filtered``, and dead letters for its errors."""
    holds, failed = _evaluate(batch, only)
    if not failed and holds.all():
        return batch, ()
    dead = tuple(DeadLetter.of(batch.rows[row], NO_FEATURES, error) for row, error in failed)
    rejected = ~holds
    rejected[[row for row, _ in failed]] = False
    filtered = np.sort(np.concatenate([batch.filtered, batch.rows[rejected]]))
    columns = batch.columns.filter(pa.array(holds))
    return replace(batch, rows=batch.rows[holds], columns=columns, filtered=filtered), dead


def _evaluate(batch: DecodedBatch, only: Input) -> tuple[Bools, list[tuple[int, Exception]]]:
    """Return bool [m]: for which events of a batch a condition holds, and the errors by position in the batch."""
    done, failed = bisect_failures(
        len(batch), lambda start, stop: holding(only, batch.columns.slice(start, stop - start))
    )
    holds = np.zeros(len(batch), dtype=np.bool_)
    for start, stop, part in done:
        holds[start:stop] = part
    return holds, failed


def holding(only: Input, columns: pa.RecordBatch) -> Bools:
    """Return bool [m]: in which rows a condition without aggregates is a number other than 0."""
    values = only.evaluate(columns, {})
    held: Bools = (values != 0) & ~np.isnan(values)
    return held
