"""Writes the records of the shadow topic: what a shadow and the served model said of the same event."""

import numpy as np
import pyarrow as pa

from surgetank.bisection import bisect_failures
from surgetank.codec.base import Serializer
from surgetank.declaration import Pipeline
from surgetank.processing.event_reference import event_reference
from surgetank.records import DecodedBatch, Int32s, OutputRecords, joined
from surgetank.scored_rows import ScoredRows
from surgetank.text_columns import as_text

SHADOW_SCORE = "shadow_score"  # the engine's schema


class ShadowWriter:
    """Writes a record for each event of a batch, with the event's key, for the partition of the event's number.

    ``serializer`` has the engine's schema ``shadow_score``.
    """

    def __init__(self, pipeline: Pipeline, serializer: Serializer) -> None:
        self._pipeline = pipeline
        self._serializer = serializer

    def write(self, events: DecodedBatch, served: ScoredRows, shadow: ScoredRows, now_ms: int) -> OutputRecords:
        """Return the records. An event that cannot be encoded, as its score could not be, has none.

        ``served`` and ``shadow`` are the scores of both for all m events; ``now_ms`` is the time of scoring in
        milliseconds since the epoch.
        """
        columns = self._columns(events, served, shadow, now_ms)
        done, failed = bisect_failures(
            len(events), lambda start, stop: self._serializer.serialize(columns.slice(start, stop - start))
        )
        rows = np.delete(events.rows, [row for row, _ in failed]) if failed else events.rows
        keys = events.records.keys.take(pa.array(rows))
        values = joined([part for _, _, part in done])
        return OutputRecords(self._pipeline.shadow_scores, events.records.partitions_of(rows), keys, values)

    def _columns(self, events: DecodedBatch, served: ScoredRows, shadow: ScoredRows, now_ms: int) -> pa.RecordBatch:
        n, declared = len(events), self._pipeline.events
        (model,) = shadow.models
        scored_at = pa.scalar(now_ms, pa.timestamp("ms", tz="UTC"))
        made = event_reference(declared, events.records, events.rows, events.columns) | {
            "key": as_text(events.columns[declared.key]) if declared.key else pa.nulls(n, pa.string()),
            "score": _scores(n, shadow),
            "error": _errors(events, shadow),
            "pipeline": pa.repeat(self._pipeline.name, n),
            "model": pa.repeat(model.name, n),
            "model_version": pa.repeat(model.version, n),
            "served_score": _scores(n, served),
            "served_model_version": _versions(n, served),
            "scored_at": pa.repeat(scored_at, n),
        }
        return pa.RecordBatch.from_pydict({name: made[name] for name in self._serializer.schema.names})


def _scores(n: int, scored: ScoredRows) -> pa.Array:
    """Return n scores, null for rows without one."""
    values, missing = np.zeros(n), np.ones(n, dtype=np.bool_)
    values[scored.kept], missing[scored.kept] = scored.scores, False
    return pa.array(values, mask=missing)


def _versions(n: int, scored: ScoredRows) -> pa.Array:
    """Return for n rows the version that scored each, null for rows without a score."""
    places: Int32s = np.zeros(n, dtype=np.int32)
    missing = np.ones(n, dtype=np.bool_)
    places[scored.kept], missing[scored.kept] = scored.model, False
    return pa.array([model.version for model in scored.models], pa.string()).take(pa.array(places, mask=missing))


def _errors(events: DecodedBatch, shadow: ScoredRows) -> pa.Array:
    """Return for each event why the shadow gave no score, null where it did."""
    if not shadow.dead:
        return pa.nulls(len(events), pa.string())
    reasons = {letter.row: letter.reason.label for letter in shadow.dead}
    return pa.array([reasons.get(row) for row in events.rows.tolist()], pa.string())
