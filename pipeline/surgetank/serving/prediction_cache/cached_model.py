"""A model that scores each feature row once, while that pays."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from surgetank.clock import Clock
from surgetank.serving.batch_cost import BatchCost
from surgetank.serving.model import Float32s, Float64s, Model
from surgetank.serving.prediction_cache.cache_switch import CacheSwitch
from surgetank.serving.prediction_cache.row_table import CacheLookup, RowTable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachedBatch:
    """How many rows of a batch were known (``hits``), equal to another one of the batch (``repeats``), scored
    (``misses``), and not looked up (``bypassed``); the seconds that this took and saved; the bytes of all stored rows.
    """

    hits: int = 0
    repeats: int = 0
    misses: int = 0
    bypassed: int = 0
    spent: float = 0.0
    saved: float = 0.0
    bytes: int = 0


class CachedModel:
    """A ``Model`` that keeps the scores of another one for ``ttl_seconds``, in at most ``bytes_max`` bytes.

    A row is known if all its bytes are the same. The cache belongs to the model that it is made with, a version in
    memory, and begins empty: another version has another cache. Scores are those of the model, computed in an earlier
    batch or in a smaller one, so they are the same only for a model whose scores do not depend on the batch, which
    each worker checks at start.

    While the cache takes more time than it saves (``CacheSwitch``), batches bypass it. ``on_batch`` is called with the
    figures of each batch, in the thread in which it ends.
    """

    def __init__(
        self, model: Model, *, bytes_max: int, ttl_seconds: float, clock: Clock, on_batch: Callable[[CachedBatch], None]
    ) -> None:
        self._model = model
        self._bytes_max = bytes_max
        self._ttl = ttl_seconds
        self._clock = clock
        self._on_batch = on_batch
        self._begun = clock.monotonic()
        self._lock = threading.Lock()
        self._complained = False
        self._table: RowTable | None = None
        self._switch = CacheSwitch()
        self._cost = BatchCost()

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    @property
    def version(self) -> str:
        """The model's version."""
        return self._model.version

    @property
    def rows_max(self) -> int:
        """The largest number of rows of one call of the model."""
        return self._model.rows_max

    def submit(self, matrix: Float32s) -> Future[Float64s]:
        """Return the scores float64 [m] of float32 [m, F]; the model gets the distinct rows that are not known."""
        started = self._clock.monotonic()
        with self._lock:
            in_use = self._switch.in_use(started)
        if not in_use:
            self._on_batch(CachedBatch(bypassed=len(matrix), bytes=self._bytes))
            return self._model.submit(matrix)
        answer: Future[Float64s] = Future()
        try:
            with self._lock:
                lookup = self._table_for(matrix).find(matrix, started - self._begun - self._ttl)
            missing = lookup.missing
            if not len(missing):
                self._finish(lookup, None, started, 0.0)
                answer.set_result(lookup.scores)
                return answer
            rows = matrix if len(missing) == len(matrix) else matrix[missing]
        except Exception:  # noqa: BLE001 - a fault of the cache is none of the model
            self._complain()
            return self._model.submit(matrix)
        asked = self._clock.monotonic()

        def end(scored: Future[Float64s]) -> None:
            took = self._clock.monotonic() - asked
            try:
                fresh = _one_each(scored.result(), len(missing))
                scores = lookup.complete(fresh)
            except Exception as error:  # noqa: BLE001 - the future passes it to the caller
                answer.set_exception(error)
                return
            try:
                self._finish(lookup, fresh, started, took)
            except Exception:  # noqa: BLE001 - the scores are those of the model
                self._complain()
            answer.set_result(scores)

        self._model.submit(rows).add_done_callback(end)
        return answer

    def clear(self) -> None:
        """Forget all scores."""
        with self._lock:
            if self._table is not None:
                self._table.clear()

    @property
    def _bytes(self) -> int:
        return 0 if self._table is None else self._table.bytes

    def _table_for(self, matrix: Float32s) -> RowTable:
        if self._table is None or self._table.features != matrix.shape[1]:
            self._table = RowTable(matrix.shape[1], self._bytes_max)
        return self._table

    def _complain(self) -> None:
        if not self._complained:
            self._complained = True
            log.exception("the prediction cache of version %s fails; the model scores instead", self.version)

    def _finish(self, lookup: CacheLookup, fresh: Float64s | None, started: float, took: float) -> None:
        """Store the new scores and judge the cache. ``took``: the model's seconds."""
        rows, misses = len(lookup.source), len(lookup.missing)
        known = int((lookup.source < 0).sum())
        with self._lock:
            if fresh is not None:
                assert self._table is not None
                self._table.store(lookup, fresh, self._clock.monotonic() - self._begun)
                self._cost.add(misses, took)
            now = self._clock.monotonic()
            spent, saved = now - started - took, 0.0
            if (line := self._cost.line) is not None:
                saved = line.seconds(rows) - (line.seconds(misses) if misses else 0.0)
            self._switch.used(now, spent=spent, saved=saved)
            stored = self._bytes
        self._on_batch(
            CachedBatch(
                known, rows - known - misses, misses, spent=max(0.0, spent), saved=max(0.0, saved), bytes=stored
            )
        )


def _one_each(scores: Float64s, rows: int) -> Float64s:
    """Return the scores. Raises ValueError unless there is one for each of ``rows`` rows."""
    if scores.shape != (rows,):
        raise ValueError(f"the model gave scores of shape {scores.shape} for {rows} rows")
    return scores
