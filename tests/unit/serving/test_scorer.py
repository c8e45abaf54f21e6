"""surgetank.serving.scorer: every row ends as one score or one dead letter, whatever the model does."""

import math
import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.clock import SystemClock
from surgetank.records import DecodedBatch, RecordBatch, Step
from surgetank.scored_rows import ScoredRows
from surgetank.serving.scorer import MODEL_ERROR, NOT_A_NUMBER
from tests.support.function_model import scorer_of

Matrix = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]

FINE, RAISES, NAN, INFINITE = range(4)


class Model:
    """Scores a row with a tenth of its first column; its second column says how the row behaves."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, matrix: Matrix) -> Scores:
        """Return float64 [m], or raise for the first row that says so."""
        self.calls.append(len(matrix))
        if (matrix[:, 1] == RAISES).any():
            raise RuntimeError(f"cannot do {matrix[matrix[:, 1] == RAISES][0, 0]:g}")
        scores = matrix[:, 0].astype(np.float64) / 10
        scores[matrix[:, 1] == NAN] = math.nan
        scores[matrix[:, 1] == INFINITE] = -math.inf
        return scores


def matrix_of(kinds: list[int]) -> Matrix:
    """Return rows numbered by their first column that behave like this."""
    return np.array([(number, kind) for number, kind in enumerate(kinds)], dtype=np.float32).reshape(-1, 2)


def events_of(count: int, first_row: int = 100) -> DecodedBatch:
    """Return events whose row numbers are 3 apart."""
    columns = pa.RecordBatch.from_pydict({"n": pa.array(range(count), pa.int64())})
    return DecodedBatch(RecordBatch.of(()), first_row + 3 * np.arange(count, dtype=np.int64), columns)


def scored(model: Callable[[Matrix], Scores], kinds: list[int], first_row: int = 100) -> ScoredRows:
    """Score rows of these kinds; their numbers in Records are 3 apart."""
    return scorer_of(model, SystemClock()).score(events_of(len(kinds), first_row), matrix_of(kinds))


@settings(deadline=None)
@given(st.lists(st.sampled_from([FINE, FINE, FINE, RAISES, NAN, INFINITE]), max_size=60))
def test_every_row_ends_once(kinds: list[int]) -> None:
    """Rows that can be scored are, with their own score; each other row is one dead letter."""
    model = Model()
    answer = scored(model, kinds)
    fine = [position for position, kind in enumerate(kinds) if kind == FINE]
    assert answer.kept.tolist() == fine
    assert answer.kept.dtype == np.int64
    assert answer.scores.dtype == np.float64
    np.testing.assert_allclose(answer.scores, [position / 10 for position in fine], rtol=1e-12)
    reasons = {
        RAISES: MODEL_ERROR,
        NAN: NOT_A_NUMBER,
        INFINITE: NOT_A_NUMBER,
    }
    expected = [(100 + 3 * p, Step.INFER, reasons[kind]) for p, kind in enumerate(kinds) if kind != FINE]
    assert [(dead.row, dead.stage, dead.reason) for dead in answer.dead] == expected
    assert len(model.calls) <= max(1, 2 * len(kinds))


def test_a_good_batch_is_one_call() -> None:
    """Nothing is tried twice as long as nothing fails, NaN included."""
    model = Model()
    scored(model, [FINE, NAN, FINE])
    assert model.calls == [3]


def test_no_rows_are_no_call() -> None:
    """An empty batch does not bother the model."""
    model = Model()
    answer = scored(model, [])
    assert (len(answer.kept), len(answer.scores), answer.dead, model.calls) == (0, 0, (), [])


def test_a_dead_letter_says_what_the_model_said() -> None:
    """The message is the exception of the guilty row alone, or the score that is no number."""
    answer = scored(Model(), [FINE, RAISES, RAISES, INFINITE])
    messages = [dead.message for dead in answer.dead]
    assert messages == ["RuntimeError: cannot do 1", "RuntimeError: cannot do 2", "the model's score is -inf"]


def test_a_failure_that_passes_costs_nothing() -> None:
    """A call that raises once is retried as a whole, and no row dies."""
    model = Model()

    def moody(matrix: Matrix) -> Scores:
        if not model.calls:
            model.calls.append(len(matrix))
            raise OSError("for a moment")
        return model(matrix)

    answer = scored(moody, [FINE] * 8)
    assert model.calls == [8, 8]
    assert answer.kept.tolist() == list(range(8))


def test_the_search_for_one_guilty_row_is_short() -> None:
    """One bad row in 1,024: first call, retry, and two calls for each of ten halvings."""
    model = Model()
    answer = scored(model, [FINE] * 700 + [RAISES] + [FINE] * 323)
    assert [dead.row for dead in answer.dead] == [100 + 3 * 700]
    assert len(model.calls) == 22


def test_a_model_that_fails_on_everything_ends() -> None:
    """All rows die, each tried alone, in at most two calls a row."""
    model = Model()
    answer = scored(model, [RAISES] * 33)
    assert len(answer.dead) == 33
    assert len(model.calls) == 2 * 33


def test_too_few_scores_are_a_failure() -> None:
    """A model that answers with another number of rows has said nothing of any of them."""
    answer = scored(lambda matrix: np.zeros(len(matrix) + 1), [FINE, FINE])
    assert [dead.reason for dead in answer.dead] == [MODEL_ERROR] * 2
    assert "shape (2,) for 1 rows" in answer.dead[0].message


def test_a_hanging_call_can_be_seen_from_outside() -> None:
    """While a call is under way, and only then, ``started_at`` says since when."""

    class Clock:
        def now(self) -> float:
            raise AssertionError("a call is timed by the monotonic clock")

        def monotonic(self) -> float:
            return 42.0

    inside, go_on = threading.Event(), threading.Event()

    def hangs(matrix: Matrix) -> Scores:
        inside.set()
        assert go_on.wait(30)
        return np.zeros(len(matrix))

    scorer = scorer_of(hangs, Clock())
    seen = [scorer.started_at]
    thread = threading.Thread(target=scorer.score, args=(events_of(2), matrix_of([FINE, FINE])))
    thread.start()
    assert inside.wait(30)
    seen.append(scorer.started_at)
    go_on.set()
    thread.join(30)
    seen.append(scorer.started_at)
    assert seen == [None, 42.0, None]


def test_no_call_is_under_way_after_one_that_raised() -> None:
    """A model that raises leaves no trace of a call in flight."""
    scorer = scorer_of(Model(), SystemClock())
    scorer.score(events_of(2), matrix_of([RAISES, FINE]))
    assert scorer.started_at is None


def test_an_interrupt_passes_through() -> None:
    """KeyboardInterrupt ends the call and is not blamed on a row."""

    def interrupted(matrix: Matrix) -> Scores:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scored(interrupted, [FINE])
