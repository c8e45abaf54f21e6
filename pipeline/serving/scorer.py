"""Returns scores for the rows that the models can score, and dead letters for the others."""

import numpy as np

from pipeline.bisection import bisect_failures
from pipeline.clock import Clock
from pipeline.dead_letter_reason import DeadLetterReason, Step
from pipeline.records import DeadLetter, DecodedBatch, Int64s, ModelVersion, ScoredRows
from pipeline.serving.model import CompletionGate, Float32s, Float64s, Model
from pipeline.serving.router import Router

MODEL_ERROR = DeadLetterReason(Step.INFER, "model_error", "the model raised an error for this event alone")
NOT_A_NUMBER = DeadLetterReason(Step.INFER, "not_a_number", "the score is NaN or infinite")


class Scorer:
    """Calls models that may raise, return NaN, or hang.

    A call that raises is repeated once, then bisected down to the failing rows: at most 2m calls for m rows, and only
    rows that fail alone become dead letters.
    """

    def __init__(self, router: Router, clock: Clock) -> None:
        self._router = router
        self._gate = CompletionGate(clock)

    @property
    def started_at(self) -> float | None:
        """Start of the oldest call in progress, in ``Clock.monotonic`` seconds; None between calls."""
        return self._gate.started_at

    def score(self, events: DecodedBatch, matrix: Float32s) -> ScoredRows:
        """Score a batch of m events; ``matrix`` is float32 [m, F]."""
        scores = np.full(len(events), np.nan, dtype=np.float64)
        model = np.zeros(len(events), dtype=np.int32)
        raised: dict[int, Exception] = {}
        routes = self._router.primary(events) if len(events) else ()
        calls: list[tuple[Model, Int64s, Float32s]] = []
        for number, route in enumerate(routes):
            model[route.positions] = number
            whole = len(route.positions) == len(events)
            for start in range(0, len(route.positions), route.model.rows_max):
                positions = route.positions[start : start + route.model.rows_max]
                rows = matrix[start : start + len(positions)] if whole else matrix[positions]
                calls.append((route.model, positions, rows))
        for called, _, rows in calls:
            self._gate.submit(called, rows)
        failed = []
        for call in calls:
            try:
                scores[call[1]] = self._take(len(call[2]))
            except Exception:  # noqa: BLE001 - a model may raise anything; the call is repeated
                failed.append(call)
        for called, positions, rows in failed:
            raised |= self._repeat(called, positions, rows, scores)
        models = tuple(ModelVersion(route.model.name, route.model.version) for route in routes)
        return _combine(events.rows, scores, raised, models, model)

    def _repeat(self, model: Model, positions: Int64s, rows: Float32s, scores: Float64s) -> dict[int, Exception]:
        """Repeat a failed call, and bisect it if it fails again; return the errors by position in the batch."""

        def attempt(start: int, stop: int) -> Float64s:
            self._gate.submit(model, rows[start:stop])
            return self._take(stop - start)

        done, failed = bisect_failures(len(rows), attempt)
        for start, stop, part in done:
            scores[positions[start:stop]] = part
        return {int(positions[row]): error for row, error in failed}

    def _take(self, rows: int) -> Float64s:
        scores = self._gate.take()
        if scores.shape != (rows,):
            raise ValueError(f"the model gave scores of shape {scores.shape} for {rows} rows")
        return scores


def _combine(
    rows: Int64s,
    scores: Float64s,
    raised: dict[int, Exception],
    models: tuple[ModelVersion, ...],
    model: np.ndarray,
) -> ScoredRows:
    """Return the finite scores; the other positions become dead letters."""
    finite = np.isfinite(scores)
    if finite.all():
        return ScoredRows(np.arange(len(rows), dtype=np.int64), scores, (), models, model)
    dead = tuple(
        DeadLetter.of(rows[position], MODEL_ERROR, raised[position])
        if position in raised
        else DeadLetter(int(rows[position]), NOT_A_NUMBER, f"the model's score is {scores[position]}")
        for position in np.flatnonzero(~finite).tolist()
    )
    return ScoredRows(np.flatnonzero(finite), scores[finite], dead, models, model[finite])
