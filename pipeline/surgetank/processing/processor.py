"""The processing of a batch: records -> decode -> features -> infer -> emit. The runtime commits the outputs.

Every row of a batch results in exactly one score, one applied fact or one dead letter, unless a condition of the
declaration filters it; the outputs contain all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.clock import Clock
from surgetank.codec.base import Deserializer
from surgetank.declaration import Pipeline
from surgetank.features.spec import NO_AGGREGATES, Float32s, Float64s
from surgetank.processing.dead_letter import dead_letter_records
from surgetank.processing.event_filter import filter_events
from surgetank.processing.facts import decode_facts
from surgetank.processing.feature_matrix import FeaturedBatch, compute_features
from surgetank.processing.key_limit import within_key_limit
from surgetank.processing.key_rule import KeyRule
from surgetank.processing.model_rows import ModelRows
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.processing.rekeying import RekeyedRecords
from surgetank.processing.score_records import ScoreWriter
from surgetank.processing.shadow_scoring import ShadowScoring
from surgetank.record_compression import RecordBytes
from surgetank.records import (
    BatchOutput,
    DeadLetter,
    DecodedBatch,
    OutputRecords,
    RecordBatch,
    StateChanges,
    TaskRecords,
    large_binary,
)
from surgetank.serving.scorer import Scorer
from surgetank.telemetry.metrics import Metrics

if TYPE_CHECKING:  # compiled code is loaded only for pipelines with state
    from surgetank.processing.feature_log import FeatureLog
    from surgetank.processing.stateful_features import StatefulFeatures

T = TypeVar("T")


class BatchProcessor:
    """The processing steps of one pipeline. Not reentrant: one batch at a time.

    ``facts`` has a deserializer for each topic of facts; ``stateful`` is None for a pipeline without state,
    ``feature_log`` is None if features are not recorded. ``key_rules`` has a rule for each topic whose record keys
    repeat a field. Records with a key of more than ``key_bytes_max`` bytes are dead-lettered; None: no key is too
    large. A dead letter that does not fit ``dead_letter_bytes_max`` is reduced (``dead_letter_records``). ``on_scored``
    is called with the inputs float32 [m, F] and the scores float64 [k] of each batch, and must return quickly.
    ``shadow`` scores committed events with a second version; None: none does.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        events: Deserializer,
        facts: Mapping[str, Deserializer],
        stateful: "StatefulFeatures | None",
        feature_log: "FeatureLog | None",
        scorer: Scorer,
        scores: ScoreWriter,
        dead_letter_bytes_max: RecordBytes,
        key_rules: Mapping[str, KeyRule],
        key_bytes_max: int | None,
        clock: Clock,
        metrics: Metrics,
        warnings: RecordWarnings,
        on_scored: Callable[[Float32s, npt.NDArray[np.float64]], None],
        shadow: ShadowScoring | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._events = events
        self._facts = facts
        self._stateful = stateful
        self._feature_log = feature_log
        self._spec = pipeline.spec
        self._scorer = scorer
        self._scores = scores
        self._dead_letter_bytes_max = dead_letter_bytes_max
        self._key_rules = key_rules
        self._key_bytes_max = key_bytes_max
        self._clock = clock
        self._metrics = metrics
        self._warnings = warnings
        self._on_scored = on_scored
        self._shadow = shadow
        self._model_rows = ModelRows(metrics)

    def process(self, tasks: Sequence[TaskRecords]) -> BatchOutput:
        """Process the records through all steps. Raises the errors of ``stateful``; no output may be committed then."""
        records = RecordBatch.of(tasks)
        if not len(records):
            return BatchOutput(0, (), (), 0, records.arrived_ms)
        batch, facts, undecoded, rekeyed = self._timed("decode", len(records), lambda: self._usable(tasks, records))
        self._count_filtered({self._pipeline.events.topic: batch, **facts})
        changes = StateChanges()

        def features() -> FeaturedBatch:
            stateful = self._stateful
            aggregates = NO_AGGREGATES if stateful is None else stateful.compute(tasks, records, batch, facts, changes)
            return self._features(batch, aggregates)

        events, matrix, aggregates, unfeatured = self._timed("features", len(batch), features)
        scored = self._timed("infer", len(events), lambda: self._scorer.score(events, matrix))
        self._on_scored(matrix, scored.scores)
        self._model_rows.count(scored)
        now_ms = int(self._clock.now() * 1000)
        scores, positions, unwritten = self._scores.write(events, scored, now_ms)
        kept, produced = scored.kept[positions], [scores, *(each.copies for each in rekeyed)]
        if self._feature_log is not None:
            produced.append(self._feature_log.record(tasks, events, matrix, aggregates, kept, scores))
        if self._stateful is not None:
            times = events.columns[self._pipeline.events.time].take(pa.array(kept))
            self._stateful.put_scores(
                tasks,
                records,
                events.rows[kept],
                scored.scores[positions],
                [model.version for model in scored.models],
                scored.model[positions],
                times,
                now_ms,
                changes,
            )
        dead = tuple(sorted((*undecoded, *unfeatured, *scored.dead, *unwritten), key=lambda letter: letter.row))
        for letter in dead:
            self._metrics.events_dead.add(1, stage=letter.reason.step, reason=letter.reason.label)
        self._warnings.dead_lettered(records, dead)
        if dead:
            produced.append(self._dead_letters(records, dead))
        outgoing = tuple(out for out in produced if len(out))
        sent_again = {each.copies.topic: len(each.rows) for each in rekeyed}
        arrived_ms = self._arrived_ms(records, rekeyed)
        on_committed = None
        if self._shadow is not None:
            on_committed = self._shadow.after_commit(events, matrix, scored, len(records), arrived_ms)
        return BatchOutput(len(records), outgoing, dead, len(scores), arrived_ms, changes, sent_again, on_committed)

    def _arrived_ms(self, records: RecordBatch, rekeyed: Sequence[RekeyedRecords]) -> npt.NDArray[np.int64]:
        """Return int64 [n], in milliseconds since the epoch: the arrival of the events that are not sent again."""
        answered = np.ones(len(records), dtype=np.bool_)
        for each in rekeyed:
            answered[each.rows] = False
        if self._facts:
            answered &= np.isin(np.arange(len(records)), records.of_topic(self._pipeline.events.topic))
        return records.arrived_ms if answered.all() else records.arrived_ms[answered]

    def _features(self, batch: DecodedBatch, aggregates: Mapping[str, Float64s]) -> FeaturedBatch:
        """Return the features of the events that get a score, and a dead letter for each whose features fail."""
        score_only = self._pipeline.score_only
        if score_only is None:
            return compute_features(self._spec, batch, aggregates)
        scored, failed = filter_events(batch, score_only)
        filtered = len(scored.filtered) - len(batch.filtered)
        self._metrics.events_filtered.add(filtered, topic=self._pipeline.events.topic, reason="score_only")
        kept = np.searchsorted(batch.rows, scored.rows)
        featured = compute_features(self._spec, scored, {name: each[kept] for name, each in aggregates.items()})
        return featured._replace(dead=failed + featured.dead)

    def _count_filtered(self, batches: Mapping[str, DecodedBatch]) -> None:
        for topic, batch in batches.items():
            if len(batch.filtered):
                self._metrics.events_filtered.add(len(batch.filtered), topic=topic, reason="only")

    def _usable(
        self, tasks: Sequence[TaskRecords], records: RecordBatch
    ) -> tuple[DecodedBatch, dict[str, DecodedBatch], tuple[DeadLetter, ...], list[RekeyedRecords]]:
        """Return the events, the facts by topic, and a dead letter or a re-keyed copy for each other record."""
        events, facts, dead = self._decode(tasks, records)
        rekeyed: list[RekeyedRecords] = []

        def usable(topic: str, batch: DecodedBatch) -> DecodedBatch:
            nonlocal dead
            if topic in self._key_rules:
                batch, refused, copies = self._key_rules[topic].apply(batch)
                dead += refused
                rekeyed.extend([] if copies is None else [copies])
            if self._key_bytes_max is not None:
                batch, large = within_key_limit(batch, self._key_bytes_max)
                dead += large
            return batch

        events = usable(self._pipeline.events.topic, events)
        return events, {topic: usable(topic, batch) for topic, batch in facts.items()}, dead, rekeyed

    def _decode(
        self, tasks: Sequence[TaskRecords], records: RecordBatch
    ) -> tuple[DecodedBatch, dict[str, DecodedBatch], tuple[DeadLetter, ...]]:
        """Return the events, the facts by topic, and a dead letter for each record that cannot be decoded."""
        if not self._facts:
            batch, dead = self._events.deserialize(records)
            return batch, {}, dead
        found: dict[str, DecodedBatch] = {}
        letters: list[DeadLetter] = []
        for topic, deserializer in ((self._pipeline.events.topic, self._events), *self._facts.items()):
            rows = records.of_topic(topic)
            part = records if len(rows) == len(records) else RecordBatch.of(tasks, topic)
            batch, dead = decode_facts(deserializer, part) if topic in self._facts else deserializer.deserialize(part)
            found[topic] = DecodedBatch(
                records, rows[batch.rows], batch.columns, rows[batch.deletes], rows[batch.filtered]
            )
            letters += [replace(letter, row=int(rows[letter.row])) for letter in dead]
        return found.pop(self._pipeline.events.topic), found, tuple(letters)

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
            records.partitions_of(rows),
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
