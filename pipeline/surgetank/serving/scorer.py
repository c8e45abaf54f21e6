"""Returns scores for the rows that the models can score, and dead letters for the others."""

from collections.abc import Sequence

import numpy as np

from surgetank.bisection import bisect_failures
from surgetank.clock import Clock
from surgetank.records import DeadLetter, DeadLetterReason, DecodedBatch, Int64s, ModelVersion, Step
from surgetank.scored_rows import ScoredRows, ScoreKind
from surgetank.serving.answers import Answers, labels_of, vectors_of
from surgetank.serving.model import CompletionGate, Float32s, Model
from surgetank.serving.router import Route, Router

MODEL_ERROR = DeadLetterReason(Step.INFER, "model_error", "the model raised an error for this event alone")
NOT_A_NUMBER = DeadLetterReason(Step.INFER, "not_a_number", "the score is NaN or infinite")


class Scorer:
    """Calls models that may raise, return NaN, or hang; all answer with scores of one ``kind``.

    A call that raises is repeated once, then bisected down to the failing rows: at most 2m calls for m rows, and only
    rows that fail alone become dead letters.
    """

    def __init__(self, router: Router, clock: Clock, kind: ScoreKind = "number") -> None:
        self._router = router
        self._gate = CompletionGate(clock)
        self._kind = kind

    @property
    def started_at(self) -> float | None:
        """Start of the oldest call in progress, in ``Clock.monotonic`` seconds; None between calls."""
        return self._gate.started_at

    def score(self, events: DecodedBatch, matrix: Float32s) -> ScoredRows:
        """Score a batch of m events; ``matrix`` is float32 [m, F]."""
        routes = self._router.primary(events) if len(events) else ()
        parts = [matrix[route.positions] for route in routes]
        answers = [Answers(self._kind, len(part)) for part in parts]
        calls = [
            (number, start, min(start + route.model.rows_max, len(parts[number])))
            for number, route in enumerate(routes)
            for start in range(0, len(parts[number]), route.model.rows_max)
        ]
        for number, start, stop in calls:
            self._gate.submit(routes[number].model, parts[number][start:stop])
        failed = []
        for number, start, stop in calls:
            try:
                answers[number].put(start, stop, self._gate.take())
            except Exception:  # noqa: BLE001 - a model may raise anything; the call is repeated
                failed.append((number, start, stop))
        raised: dict[int, Exception] = {}
        for number, start, stop in failed:
            route = routes[number]
            errors = self._repeat(route.model, parts[number], answers[number], start, stop)
            positions = np.arange(len(events))[route.positions]
            raised |= {int(positions[row]): error for row, error in errors}
        return _combine(events.rows, self._kind, routes, answers, raised)

    def _repeat(
        self, model: Model, rows: Float32s, answers: Answers, first: int, last: int
    ) -> list[tuple[int, Exception]]:
        """Repeat a failed call for rows [first, last), and bisect it if it fails again; return the errors by row."""

        def attempt(start: int, stop: int) -> None:
            self._gate.submit(model, rows[first + start : first + stop])
            answers.put(first + start, first + stop, self._gate.take())

        return [(first + row, error) for row, error in bisect_failures(last - first, attempt)[1]]


def _combine(
    rows: Int64s, kind: ScoreKind, routes: Sequence[Route], parts: Sequence[Answers], raised: dict[int, Exception]
) -> ScoredRows:
    """Return the finite scores of all routes in the order of the batch; the other positions become dead letters."""
    scores, model = np.zeros(len(rows), dtype=np.float64), np.zeros(len(rows), dtype=np.int32)
    for number, (route, part) in enumerate(zip(routes, parts, strict=True)):
        scores[route.positions], model[route.positions] = part.scores(), number
    models = tuple(ModelVersion(route.model.name, route.model.version) for route in routes)
    finite = np.isfinite(scores)
    dead: tuple[DeadLetter, ...] = ()
    failed: tuple[int, ...] = ()
    if finite.all():
        kept = np.arange(len(rows), dtype=np.int64)
    else:
        kept = np.flatnonzero(finite)
        dead = tuple(
            DeadLetter.of(rows[position], MODEL_ERROR, raised[position])
            if position in raised
            else DeadLetter(int(rows[position]), NOT_A_NUMBER, f"the model's score is {scores[position]}")
            for position in np.flatnonzero(~finite).tolist()
        )
        failed = tuple(np.bincount(model[~finite], minlength=len(models)).tolist())
        scores, model = scores[kept], model[kept]
    if kind == "number":
        return ScoredRows(kept, scores, dead, models, model, failed=failed)
    vectors = vectors_of(routes, parts, len(rows), kept) if kind == "vector" else None
    labels = labels_of(routes, parts, len(rows), kept) if kind == "label" else None
    return ScoredRows(kept, scores, dead, models, model, vectors, labels, failed)
