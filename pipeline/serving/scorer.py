"""Returns scores for the rows that the model can score, and dead letters for the others."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pipeline.bisection import bisect_failures
from pipeline.clock import Clock
from pipeline.dead_letter_reason import DeadLetterReason, Step
from pipeline.records import DeadLetter, ScoredRows

Model = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]
Part = tuple[int, int, npt.NDArray[np.float64]]  # rows [start, stop) and their scores

_MESSAGE_MAX = 500


class Scorer:
    """Calls a model that may raise, return NaN, or hang.

    ``model`` maps float32 [m, F] to float64 [m]; ``OnnxModel.score`` is one. A call that raises is repeated once, then
    bisected down to the failing rows: at most 2m calls in total, and only rows that fail alone become dead letters.
    """

    def __init__(self, model: Model, clock: Clock) -> None:
        self._model = model
        self._clock = clock
        self._started_at: float | None = None

    @property
    def started_at(self) -> float | None:
        """Start of the call in flight, in ``Clock.monotonic`` seconds; None between calls.

        For a watchdog in another thread: a hanging call can be detected but not stopped.
        """
        return self._started_at

    def score(self, rows: npt.NDArray[np.int64], matrix: npt.NDArray[np.float32]) -> ScoredRows:
        """Score a batch: ``rows`` is int64 [m], row numbers in the RecordBatch; ``matrix`` is float32 [m, F]."""
        count = len(matrix)
        if count == 0:
            return verdict(rows, [], [])
        try:
            return verdict(rows, [(0, count, self._call(matrix))], [])
        except Exception:  # noqa: BLE001 - whatever a model raises, it is asked again
            # The bisection begins with the repeated call for the whole batch.
            return verdict(rows, *bisect_failures(count, lambda start, stop: self._call(matrix[start:stop])))

    def _call(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        self._started_at = self._clock.monotonic()
        try:
            scores = self._model(matrix)
        finally:
            self._started_at = None
        if scores.shape != (len(matrix),):
            raise ValueError(f"the model gave scores of shape {scores.shape} for {len(matrix)} rows")
        return scores


def verdict(rows: npt.NDArray[np.int64], parts: list[Part], failed: list[tuple[int, Exception]]) -> ScoredRows:
    """Combine the results of the calls. Positions without a finite score become dead letters."""
    scores = np.full(len(rows), np.nan, dtype=np.float64)
    for start, stop, part in parts:
        scores[start:stop] = part
    finite = np.isfinite(scores)
    if finite.all():
        return ScoredRows(kept=np.arange(len(rows), dtype=np.int64), scores=scores, dead=())
    raised = dict(failed)
    dead = [
        _raised(int(rows[position]), raised[position])
        if position in raised
        else _not_a_number(int(rows[position]), float(scores[position]))
        for position in np.flatnonzero(~finite).tolist()
    ]
    return ScoredRows(kept=np.flatnonzero(finite), scores=scores[finite], dead=tuple(dead))


def _raised(row: int, error: Exception) -> DeadLetter:
    message = f"{type(error).__name__}: {error}"
    return DeadLetter(row, Step.INFER, DeadLetterReason.MODEL_ERROR, message[:_MESSAGE_MAX])


def _not_a_number(row: int, score: float) -> DeadLetter:
    return DeadLetter(row, Step.INFER, DeadLetterReason.NOT_A_NUMBER, f"the model's score is {score}")
