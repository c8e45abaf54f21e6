"""Scores committed events a second time with a shadow, whose scores only go to the shadow topic.

The shadow works in a thread of its own, after the transaction with the scores of a batch was committed. So whatever it
does, the score path does not wait for it; and no event is scored twice by it, because a batch is committed once. Rows
are skipped where the worker is busy (``shadow_admission``). What a worker has not scored when it ends is lost.
"""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from surgetank.clock import Clock
from surgetank.processing.shadow_admission import Skipped, WorkerLoad, reason_to_skip
from surgetank.processing.shadow_records import ShadowWriter
from surgetank.records import DecodedBatch, Int64s, OutputRecords
from surgetank.scored_rows import ScoredRows, ScoreKind
from surgetank.serving.model import Float32s, Model
from surgetank.serving.router import SingleModelRouter
from surgetank.serving.scorer import Scorer
from surgetank.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShadowBatch:
    """The m events of a batch, their features float32 [m, F], and their served scores.

    ``records`` is the number of all records of the batch, ``arrived_ms`` int64 [n] their arrival in milliseconds.
    """

    events: DecodedBatch
    matrix: Float32s
    served: ScoredRows
    records: int
    arrived_ms: Int64s

    def __len__(self) -> int:
        return len(self.events)


class ShadowScoring:
    """Scores batches with the shadow of the plan in force. For any thread.

    ``writer`` returns what writes the records; it is called in the shadow's thread and may block. ``send`` sends
    records without waiting, and returns how many it took. ``rows_max`` returns the largest number of rows of a batch.
    ``clock`` agrees with the timestamps of the events.
    """

    def __init__(
        self,
        writer: Callable[[], ShadowWriter],
        send: Callable[[OutputRecords], int],
        *,
        rows_max: Callable[[], int],
        call_deadline_seconds: float,
        clock: Clock,
        metrics: Metrics,
        kind: ScoreKind = "number",
    ) -> None:
        self._writer = writer
        self._kind = kind
        self._send = send
        self._rows_max = rows_max
        self._call_deadline_seconds = call_deadline_seconds
        self._clock = clock
        self._metrics = metrics
        self._queued_rows: Callable[[], int] = lambda: 0
        self._running: _ShadowThread | None = None

    def connect(self, queued_rows: Callable[[], int]) -> None:
        """Ask ``queued_rows`` for the number of fetched rows that wait for a batch."""
        self._queued_rows = queued_rows

    def serve(self, model: Model | None) -> None:
        """Score with this model from now on; None: with none. Call it at each switch, in one thread at a time."""
        before = self._running
        if before is not None and before.model is model:
            return
        self._running = None
        if before is not None:
            before.stop()
        if model is not None:
            self._running = _ShadowThread(model, self._kind, self._score, self._clock, self._metrics)

    def after_commit(
        self, events: DecodedBatch, matrix: Float32s, served: ScoredRows, records: int, arrived_ms: Int64s
    ) -> Callable[[], None] | None:
        """Return what to call once a batch is committed; None without a shadow. Parameters as in ``ShadowBatch``."""
        if self._running is None or not len(events):
            return None
        return partial(self._committed, ShadowBatch(events, matrix, served, records, arrived_ms))

    def _committed(self, batch: ShadowBatch) -> None:
        """Queue the batch for the shadow, or skip it."""
        running = self._running
        if running is None:
            return
        arrived = batch.arrived_ms[batch.arrived_ms >= 0]
        load = WorkerLoad(
            rows=batch.records,
            rows_max=self._rows_max(),
            queued_rows=self._queued_rows(),
            age_seconds=self._clock.now() - float(arrived.min()) / 1000 if len(arrived) else 0.0,
            waiting_rows=running.waiting_rows,
            call_seconds=running.call_seconds,
        )
        reason = reason_to_skip(load, call_deadline_seconds=self._call_deadline_seconds)
        if reason is None:
            running.put(batch)
            return
        self._metrics.shadow_rows_skipped.add(len(batch), reason=reason)
        if reason is Skipped.HANGING:
            running.report_hanging(load.call_seconds)

    def _score(self, running: "_ShadowThread", batch: ShadowBatch) -> None:
        """Score a batch and send the scores. Called in the shadow's thread."""
        if running.writer is None:
            try:
                running.writer = self._writer()
            except Exception as error:  # noqa: BLE001 - a missing schema or an unreachable registry, among others
                running.report("its scores cannot be written", error)
                self._metrics.shadow_rows_skipped.add(len(batch), reason=Skipped.NOT_READY)
                return
        shadow = running.scorer.score(batch.events, batch.matrix)
        for letter in shadow.dead:
            self._metrics.shadow_rows_failed.add(1, reason=letter.reason.label)
        if running.stopped:
            self._metrics.shadow_rows_skipped.add(len(batch), reason=Skipped.REPLACED)
            return
        records = running.writer.write(batch.events, batch.served, shadow, int(self._clock.now() * 1000))
        sent = self._send(records)
        self._metrics.shadow_rows_scored.add(len(shadow.kept))
        self._metrics.shadow_rows_skipped.add(len(records) - sent, reason=Skipped.NOT_WRITTEN)


class _ShadowThread:
    """The thread of one shadow: one call at a time, and the batches that wait for it."""

    def __init__(
        self,
        model: Model,
        kind: ScoreKind,
        score: "Callable[[_ShadowThread, ShadowBatch], None]",
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.model = model
        self.scorer = Scorer(SingleModelRouter(model), clock, kind)
        self.writer: ShadowWriter | None = None
        self.stopped = False
        self._score = score
        self._clock = clock
        self._metrics = metrics
        self._batches: queue.SimpleQueue[ShadowBatch | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_rows = 0
        self._reported = False
        self._what = f"shadow {model.name} {model.version}"
        threading.Thread(target=self._run, name=f"shadow {model.version}", daemon=True).start()

    @property
    def waiting_rows(self) -> int:
        """The rows that wait, with those in progress."""
        return self._waiting_rows

    @property
    def call_seconds(self) -> float:
        """How long the call in progress has taken; 0 without one."""
        started_at = self.scorer.started_at
        return 0.0 if started_at is None else self._clock.monotonic() - started_at

    def put(self, batch: ShadowBatch) -> None:
        """Score a batch after the ones before it."""
        with self._lock:
            self._waiting_rows += len(batch)
        self._batches.put(batch)

    def stop(self) -> None:
        """Skip the batches that wait, and end after the call in progress."""
        self.stopped = True
        self._batches.put(None)

    def report(self, what: str, error: Exception) -> None:
        """Log the first error as a warning, later ones for debugging only: a shadow may fail with each batch."""
        log.log(logging.DEBUG if self._reported else logging.WARNING, "%s: %s: %s", self._what, what, error)
        self._reported = True

    def report_hanging(self, seconds: float) -> None:
        """Log once that the call in progress does not end."""
        if not self._reported:
            log.warning("%s: a call has run for %.0f s; its rows are skipped meanwhile", self._what, seconds)
            self._reported = True

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                if self.stopped:
                    self._metrics.shadow_rows_skipped.add(len(batch), reason=Skipped.REPLACED)
                else:
                    self._score(self, batch)
            except Exception as error:  # noqa: BLE001 - nothing of a shadow may end the worker
                self.report("a batch was not scored", error)
                self._metrics.shadow_rows_skipped.add(len(batch), reason=Skipped.ERROR)
            finally:
                with self._lock:
                    self._waiting_rows -= len(batch)
