"""Writes the score records of a batch; a score that cannot be encoded or is too large is dead-lettered."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from surgetank.bisection import bisect_failures
from surgetank.codec.base import Serializer
from surgetank.declaration import Pipeline
from surgetank.processing.event_reference import event_reference
from surgetank.records import (
    DeadLetter,
    DeadLetterReason,
    DecodedBatch,
    Int32s,
    Int64s,
    OutputRecords,
    Step,
    byte_lengths,
    joined,
)
from surgetank.scored_rows import VECTOR, ScoredRows
from surgetank.text_columns import as_text

UNENCODABLE = DeadLetterReason(Step.EMIT, "unencodable", "the score could not be encoded")
SCORE_TOO_LARGE = DeadLetterReason(Step.EMIT, "too_large", "the score and its key exceed the limit of the score topic")


class WrittenScores(NamedTuple):
    """The k score records to produce; ``positions`` is int64 [k], their positions among the scored rows."""

    records: OutputRecords
    positions: Int64s
    dead: tuple[DeadLetter, ...]


class ScoreWriter:
    """Writes the records of the score topic.

    A record whose key and value have more than ``bytes_max`` bytes is not produced: brokers would reject it, and its
    partition could not be committed any further.
    """

    def __init__(self, pipeline: Pipeline, serializer: Serializer, *, bytes_max: int) -> None:
        self._pipeline = pipeline
        self._serializer = serializer
        self._bytes_max = bytes_max
        self._detailed = pipeline.scores.kind != "number"

    def write(self, batch: DecodedBatch, scored: ScoredRows, now_ms: int) -> WrittenScores:
        """Return a record for each score of a batch of events, and a dead letter for each score without a record.

        ``now_ms`` is the time of scoring in milliseconds since the epoch.
        """
        whole = len(scored.kept) == len(batch)
        columns = batch.columns if whole else batch.columns.take(pa.array(scored.kept))
        rows = batch.rows if whole else batch.rows[scored.kept]
        scores = self._columns(DecodedBatch(batch.records, rows, columns), scored, now_ms)
        done, failed = bisect_failures(
            len(rows), lambda start, stop: self._serializer.serialize(scores.slice(start, stop - start))
        )
        values = joined([part for _, _, part in done])
        dead = tuple(DeadLetter.of(rows[row], UNENCODABLE, error) for row, error in failed)
        positions = np.arange(len(rows), dtype=np.int64)
        if failed:
            positions = np.delete(positions, [row for row, _ in failed])
            rows = rows[positions]
        keys = batch.records.keys
        if len(rows) != len(keys):
            keys = keys.take(pa.array(rows))
        sizes = byte_lengths(values) + byte_lengths(keys)
        fits = sizes <= self._bytes_max
        if not fits.all():
            dead += tuple(self._too_large(rows[row], int(sizes[row])) for row in np.flatnonzero(~fits))
            rows, keys, values = rows[fits], keys.filter(pa.array(fits)), values.filter(pa.array(fits))
            positions = positions[fits]
        records = OutputRecords(self._pipeline.scores.topic, batch.records.partitions_of(rows), keys, values)
        return WrittenScores(records, positions, dead)

    def _too_large(self, row: np.int64, size: int) -> DeadLetter:
        message = f"the score and its key have {size} bytes; topic {self._pipeline.scores.topic} takes"
        return DeadLetter(int(row), SCORE_TOO_LARGE, f"{message} {self._bytes_max}")

    def _passed(self, name: str, column: pa.Array) -> pa.Array:
        """Return a field of the events for the score: of a time with a declared unit its whole numbers."""
        kind = self._serializer.schema.field(name).type
        is_number = pa.types.is_integer(kind) and pa.types.is_timestamp(column.type)
        return column.cast(pa.int64()).cast(kind) if is_number else column

    def _columns(self, events: DecodedBatch, scored: ScoredRows, now_ms: int) -> pa.RecordBatch:
        n = len(events)
        declared, columns = self._pipeline.events, events.columns
        made = event_reference(declared, events.records, events.rows, columns) | {
            "key": as_text(columns[declared.key]) if declared.key else pa.nulls(n, pa.string()),
            "score": pa.array(scored.scores),
            "pipeline": pa.repeat(self._pipeline.name, n),
            "model": _taken([model.name for model in scored.models], scored.model),
            "model_version": _taken([model.version for model in scored.models], scored.model),
            **{name: self._passed(name, columns[name]) for name in self._pipeline.scores.passthrough},
            "scored_at": pa.repeat(pa.scalar(now_ms, pa.timestamp("ms", tz="UTC")), n),
        }
        if self._detailed:
            made["label"] = pa.nulls(n, pa.string()) if scored.labels is None else scored.labels
            made["vector"] = pa.nulls(n, VECTOR) if scored.vectors is None else scored.vectors
        # In the order of the schema, which the serializer would otherwise establish.
        return pa.RecordBatch.from_pydict({name: made[name] for name in self._serializer.schema.names if name in made})


def _taken(texts: list[str], index: Int32s) -> pa.Array:
    """Return the text of each index as a column. One text is repeated, which costs a quarter of the general way."""
    return pa.repeat(texts[0], len(index)) if len(texts) == 1 else pa.array(texts, pa.string()).take(pa.array(index))
