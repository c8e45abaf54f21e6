"""The processing of a batch: records -> decode -> features -> infer -> emit. The runtime commits the outputs.

Every row of a batch results in exactly one score, one applied fact or one dead letter; the outputs contain all.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.bisection import bisect_failures
from pipeline.clock import Clock
from pipeline.codec.avro import Decoder, Encoder
from pipeline.dead_letter_reason import DeadLetterReason, Step
from pipeline.declaration import Pipeline
from pipeline.features.spec import NO_AGGREGATES, FeatureSpec, Float32s, Float64s
from pipeline.processing.dead_letter import dead_letter_records
from pipeline.processing.event_reference import event_reference
from pipeline.records import (
    DeadLetter,
    DecodedBatch,
    Int32s,
    OutputRecords,
    RecordBatch,
    ScoredRows,
    StateChanges,
    TaskRecords,
    byte_lengths,
    joined,
    large_binary,
)
from pipeline.serving.scorer import Scorer
from pipeline.telemetry.metrics import Metrics

if TYPE_CHECKING:  # compiled code is loaded only for pipelines with state
    from pipeline.processing.feature_log import FeatureLog
    from pipeline.processing.stateful_features import StatefulFeatures

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProcessedBatch:
    """All outputs of a batch, and its dead letters, which the outputs include.

    ``arrived_ms`` int64 [n] are the timestamps of the events, in milliseconds since the epoch.
    """

    records: RecordBatch
    outgoing: tuple[OutputRecords, ...]
    dead: tuple[DeadLetter, ...]
    scored: int
    arrived_ms: npt.NDArray[np.int64]
    changes: StateChanges = field(default_factory=StateChanges)


class BatchProcessor:
    """The processing steps of one pipeline. Not reentrant: one batch at a time.

    ``facts`` has a decoder for each topic of facts; ``recall`` is None for a pipeline without state, ``recorder`` is
    None if features are not recorded.
    A score whose key and value have more than ``score_bytes_max`` bytes becomes a dead letter: brokers would reject it,
    and its partition could not be committed any further. A dead letter of more than ``dead_letter_bytes_max`` bytes is
    reduced (``dead_letter_records``). ``saw`` is called with the inputs and the scores of each batch, and must return
    quickly.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        decoder: Decoder,
        facts: Mapping[str, Decoder],
        recall: "StatefulFeatures | None",
        recorder: "FeatureLog | None",
        encoder: Encoder,
        spec: FeatureSpec,
        scorer: Scorer,
        model: str,
        model_version: str,
        score_bytes_max: int,
        dead_letter_bytes_max: int,
        clock: Clock,
        metrics: Metrics,
        saw: Callable[[Float32s, npt.NDArray[np.float64]], None],
    ) -> None:
        self._pipeline = pipeline
        self._decoder = decoder
        self._facts = facts
        self._recall = recall
        self._recorder = recorder
        self._encoder = encoder
        self._spec = spec
        self._scorer = scorer
        self._model = model
        self._model_version = model_version
        self._score_bytes_max = score_bytes_max
        self._dead_letter_bytes_max = dead_letter_bytes_max
        self._clock = clock
        self._metrics = metrics
        self._saw = saw

    def run(self, slices: Iterable[TaskRecords]) -> ProcessedBatch:
        """Process the records through all steps. Raises the errors of ``recall``; then no output may be committed."""
        slices = tuple(slices)
        records = RecordBatch.of(slices)
        if not len(records):
            return ProcessedBatch(records, (), (), 0, records.arrived_ms)
        batch, facts, undecoded = self._timed("decode", len(records), lambda: self._decode(slices, records))
        changes = StateChanges()

        def features() -> tuple[DecodedBatch, Float32s, Mapping[str, Float64s], tuple[DeadLetter, ...]]:
            recall = self._recall
            seen = NO_AGGREGATES if recall is None else recall.compute(slices, records, batch, facts, changes)
            return self._features(batch, seen)

        events, matrix, seen, unfeatured = self._timed("features", len(batch), features)
        scored = self._timed("infer", len(events), lambda: self._scorer.score(events.rows, matrix))
        self._saw(matrix, scored.scores)
        now_ms = int(self._clock.now() * 1000)
        scores, emitted, unencoded = self._emit(events, scored, now_ms)
        kept, produced = scored.kept[emitted], [scores]
        if self._recorder is not None:
            produced.append(self._recorder.record(slices, events, matrix, seen, kept, scores))
        if self._recall is not None:
            times = events.columns[self._pipeline.events.time].take(pa.array(kept))
            self._recall.put_scores(slices, records, events.rows[kept], scored.scores[emitted], times, now_ms, changes)
        dead = tuple(sorted((*undecoded, *unfeatured, *scored.dead, *unencoded), key=lambda letter: letter.row))
        for letter in dead:
            self._metrics.events_dead.add(1, stage=letter.stage, reason=letter.reason)
        outgoing = tuple(out for out in (*produced, self._dead_letters(records, dead)) if len(out))
        arrived_ms = records.arrived_ms
        if facts:
            arrived_ms = arrived_ms[records.of_topic(self._pipeline.events.topic)]
        return ProcessedBatch(records, outgoing, dead, len(scores), arrived_ms, changes)

    def _decode(
        self, slices: tuple[TaskRecords, ...], records: RecordBatch
    ) -> tuple[DecodedBatch, dict[str, DecodedBatch], tuple[DeadLetter, ...]]:
        """Return the events, the facts by topic, and a dead letter for each record that cannot be decoded."""
        if not self._facts:
            batch, dead = self._decoder.decode(records)
            return batch, {}, dead
        found: dict[str, DecodedBatch] = {}
        letters: list[DeadLetter] = []
        for topic, decoder in ((self._pipeline.events.topic, self._decoder), *self._facts.items()):
            rows = records.of_topic(topic)
            part = records if len(rows) == len(records) else RecordBatch.of(slices, topic)
            batch, dead = decoder.decode(part)
            found[topic] = DecodedBatch(records, rows[batch.rows], batch.columns)
            letters += [replace(letter, row=int(rows[letter.row])) for letter in dead]
        return found.pop(self._pipeline.events.topic), found, tuple(letters)

    def _features(
        self, batch: DecodedBatch, seen: Mapping[str, Float64s]
    ) -> tuple[DecodedBatch, Float32s, Mapping[str, Float64s], tuple[DeadLetter, ...]]:
        """Return the events with features, their features and aggregates, and a dead letter for each other event."""

        def attempt(start: int, stop: int) -> Float32s:
            some = {name: column[start:stop] for name, column in seen.items()}
            return self._spec.matrix(batch.columns.slice(start, stop - start), some)

        done, bad = bisect_failures(len(batch), attempt)
        if not bad:
            matrix = done[0][2] if done else np.zeros((0, len(self._spec.names)), dtype=np.float32)
            return batch, matrix, seen, ()
        kept = np.concatenate([np.arange(a, b) for a, b, _ in done]) if done else np.zeros(0, dtype=np.int64)
        dead = tuple(_died(batch.rows[i], Step.FEATURES, DeadLetterReason.NO_FEATURES, error) for i, error in bad)
        width = len(self._spec.names)
        matrix = np.concatenate([m for _, _, m in done]) if done else np.zeros((0, width), dtype=np.float32)
        events = DecodedBatch(batch.records, batch.rows[kept], batch.columns.take(pa.array(kept)))
        return events, matrix, {name: column[kept] for name, column in seen.items()}, dead

    def _emit(
        self, batch: DecodedBatch, scored: ScoredRows, now_ms: int
    ) -> tuple[OutputRecords, npt.NDArray[np.int64], tuple[DeadLetter, ...]]:
        """Return the scores, their positions in ``scored``, and a dead letter for each score that is not produced."""
        whole = len(scored.kept) == len(batch)
        columns = batch.columns if whole else batch.columns.take(pa.array(scored.kept))
        rows = batch.rows if whole else batch.rows[scored.kept]
        table = self._score_columns(batch.records, rows, columns, scored, now_ms)
        done, bad = bisect_failures(len(rows), lambda a, b: self._encoder.encode_values(table.slice(a, b - a)))
        values = joined([part for _, _, part in done])
        dead = tuple(_died(rows[i], Step.EMIT, DeadLetterReason.UNENCODABLE, error) for i, error in bad)
        emitted = np.arange(len(rows), dtype=np.int64)
        if bad:
            emitted = np.delete(emitted, [i for i, _ in bad])
            rows = rows[emitted]
        keys = batch.records.keys
        if len(rows) != len(keys):
            keys = keys.take(pa.array(rows))
        sizes = byte_lengths(values) + byte_lengths(keys)
        fits = sizes <= self._score_bytes_max
        if not fits.all():
            dead += tuple(self._too_large(rows[i], int(sizes[i])) for i in np.flatnonzero(~fits))
            rows, keys, values = rows[fits], keys.filter(pa.array(fits)), values.filter(pa.array(fits))
            emitted = emitted[fits]
        return OutputRecords(self._pipeline.scores.topic, _partitions(batch.records, rows), keys, values), emitted, dead

    def _too_large(self, row: np.int64, size: int) -> DeadLetter:
        message = f"the score and its key have {size} bytes; topic {self._pipeline.scores.topic} takes"
        return DeadLetter(int(row), Step.EMIT, DeadLetterReason.TOO_LARGE, f"{message} {self._score_bytes_max}")

    def _score_columns(
        self, records: RecordBatch, rows: np.ndarray, columns: pa.RecordBatch, scored: ScoredRows, now_ms: int
    ) -> pa.RecordBatch:
        n = len(rows)
        events = self._pipeline.events
        return pa.RecordBatch.from_pydict(
            event_reference(events, records, rows, columns)
            | {
                "key": columns[events.key].cast(pa.string()) if events.key else pa.nulls(n, pa.string()),
                "score": pa.array(scored.scores),
                "pipeline": pa.repeat(self._pipeline.name, n),
                "model": pa.repeat(self._model, n),
                "model_version": pa.repeat(self._model_version, n),
                "scored_at": pa.repeat(pa.scalar(now_ms, pa.timestamp("ms", tz="UTC")), n),
            }
        )

    def _dead_letters(self, records: RecordBatch, dead: tuple[DeadLetter, ...]) -> OutputRecords:
        now = self._clock.now()
        letters = [
            dead_letter_records(
                records, letter, pipeline=self._pipeline.name, now=now, bytes_max=self._dead_letter_bytes_max
            )
            for letter in dead
        ]
        rows = np.array([letter.row for letter in dead], dtype=np.int64)
        return OutputRecords(
            self._pipeline.dead_letters,
            _partitions(records, rows),
            large_binary([key for key, _, _ in letters]),
            large_binary([value for _, value, _ in letters]),
            [list(headers) for _, _, headers in letters],
        )

    def _timed(self, stage: str, rows: int, step: Callable[[], T]) -> T:
        started = self._clock.monotonic()
        result = step()
        self._metrics.stage_seconds.observe(self._clock.monotonic() - started, stage=stage)
        self._metrics.stage_rows.observe(rows, stage=stage)
        return result


def _partitions(records: RecordBatch, rows: np.ndarray) -> Int32s:
    """Return int32 [k]: the partition number of each row's source, used for its outputs to keep the order by key."""
    numbers: Int32s = np.array([source.partition for source in records.sources], dtype=np.int32)
    of_rows: Int32s = numbers[records.source[rows]]
    return of_rows


def _died(row: np.int64, stage: Step, reason: DeadLetterReason, error: Exception) -> DeadLetter:
    return DeadLetter(int(row), stage, reason, f"{type(error).__name__}: {error}"[:500])
