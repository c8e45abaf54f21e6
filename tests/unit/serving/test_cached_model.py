"""A cached model gives the scores of the model itself, for any batches, and calls it less often."""

import threading
from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.clock import SystemClock
from surgetank.serving.model import Float32s, Float64s
from surgetank.serving.prediction_cache.cached_model import CachedBatch, CachedModel
from tests.support.function_model import FunctionModel
from tests.unit.serving.test_row_table import batches, score_of

SECONDS = 30.0


class SetClock(SystemClock):
    """A monotonic clock that a test sets."""

    at = 0.0

    def monotonic(self) -> float:
        """Return the time that was set."""
        return self.at


class Counted:
    """A cached model of ``score_of`` that counts the rows of its calls and keeps the figures."""

    def __init__(self, *, bytes_max: int = 1 << 20, ttl: float = 60.0, row_seconds: float = 0.0) -> None:
        self.clock = SetClock()
        self.calls: list[int] = []
        self.figures: list[CachedBatch] = []
        self.row_seconds = row_seconds

        def score(matrix: Float32s) -> Float64s:
            self.calls.append(len(matrix))
            self.clock.at += self.row_seconds * len(matrix)
            return score_of(matrix)

        self.model = CachedModel(
            FunctionModel(score, name="sum", version="7", rows_max=100),
            bytes_max=bytes_max,
            ttl_seconds=ttl,
            clock=self.clock,
            on_batch=self.figures.append,
        )

    def scores(self, matrix: Float32s) -> Float64s:
        """Return the scores of a matrix."""
        return self.model.submit(matrix).result(SECONDS)


def numbers(*values: float) -> Float32s:
    """Return float32 [m, 1]."""
    return np.array(values, dtype=np.float32).reshape(-1, 1)


def test_it_is_the_model_under_its_own_name() -> None:
    """A score says which model computed it."""
    model = Counted().model
    assert (model.name, model.version, model.rows_max) == ("sum", "7", 100)


@given(matrices=batches(), room=st.integers(0, 3000), pause=st.floats(0, 3))
def test_the_scores_are_those_of_the_model(matrices: list[Float32s], room: int, pause: float) -> None:
    """For any sequence of batches, with any bits, in a cache of any size, in use or not."""
    counted = Counted(bytes_max=room, row_seconds=0.01)
    for matrix in matrices * 3:
        counted.clock.at += pause
        np.testing.assert_array_equal(counted.scores(matrix), score_of(matrix))


def test_known_rows_and_equal_rows_are_not_scored_again() -> None:
    """Of six rows three are new, of the next four one."""
    counted = Counted()
    counted.scores(numbers(1, 2, 1, 3, 3, 3))
    counted.scores(numbers(3, 4, 4, 1))
    counted.scores(numbers(1, 4))
    assert counted.calls == [3, 1]
    assert [(each.hits, each.repeats, each.misses) for each in counted.figures] == [(0, 3, 3), (2, 1, 1), (2, 0, 0)]
    assert counted.figures[-1].bytes == 4 * 24


def test_a_score_is_computed_again_after_its_time() -> None:
    """After 60 s here."""
    counted = Counted()
    for at in (0.0, 59.0, 61.0):
        counted.clock.at = at
        counted.scores(numbers(1))
    assert counted.calls == [1, 1]


def test_a_cleared_cache_scores_again() -> None:
    """Whoever knows that the model answers otherwise now calls it."""
    counted = Counted()
    counted.scores(numbers(1))
    counted.model.clear()
    counted.scores(numbers(1))
    assert counted.calls == [1, 1]


def test_another_version_has_a_cache_of_its_own() -> None:
    """It begins empty, and its scores are its own."""
    first = CachedModel(
        FunctionModel(lambda matrix: matrix[:, 0].astype(np.float64)),
        bytes_max=1 << 20,
        ttl_seconds=60,
        clock=SetClock(),
        on_batch=lambda _: None,
    )
    second = CachedModel(
        FunctionModel(lambda matrix: -matrix[:, 0].astype(np.float64), version="2"),
        bytes_max=1 << 20,
        ttl_seconds=60,
        clock=SetClock(),
        on_batch=lambda _: None,
    )
    for _ in range(2):
        assert first.submit(numbers(5)).result(SECONDS).tolist() == [5.0]
        assert second.submit(numbers(5)).result(SECONDS).tolist() == [-5.0]


def test_an_error_of_the_model_is_in_the_future_and_nothing_is_stored() -> None:
    """The rows can be scored later."""
    failing = True

    def score(matrix: Float32s) -> Float64s:
        if failing:
            raise RuntimeError("not now")
        return score_of(matrix)

    model = CachedModel(
        FunctionModel(score), bytes_max=1 << 20, ttl_seconds=60, clock=SetClock(), on_batch=lambda _: None
    )
    assert isinstance(model.submit(numbers(1, 2)).exception(SECONDS), RuntimeError)
    failing = False
    np.testing.assert_array_equal(model.submit(numbers(1, 2)).result(SECONDS), score_of(numbers(1, 2)))


def test_scores_of_another_shape_are_an_error() -> None:
    """They could not be told apart by row."""
    model = CachedModel(
        FunctionModel(lambda matrix: np.zeros(len(matrix) + 1)),
        bytes_max=1 << 20,
        ttl_seconds=60,
        clock=SetClock(),
        on_batch=lambda _: None,
    )
    with pytest.raises(ValueError, match=r"shape \(3,\) for 2 rows"):
        model.submit(numbers(1, 2)).result(SECONDS)


class PendingModel:
    """A ``Model`` whose calls end in another thread, when the test says so."""

    name, version, rows_max = "pending", "1", 100

    def __init__(self) -> None:
        self.calls: list[tuple[Float32s, Future[Float64s]]] = []

    def submit(self, matrix: Float32s) -> Future[Float64s]:
        """Return a future that is not finished."""
        future: Future[Float64s] = Future()
        self.calls.append((matrix, future))
        return future

    def finish(self, number: int) -> None:
        """End a call in a thread of its own."""
        matrix, future = self.calls[number]
        thread = threading.Thread(target=future.set_result, args=(score_of(matrix),))
        thread.start()
        thread.join(SECONDS)


def test_calls_that_end_later_in_another_order_give_the_right_scores() -> None:
    """Two batches with the same rows are on their way at once."""
    model = PendingModel()
    cache = CachedModel(model, bytes_max=1 << 20, ttl_seconds=60, clock=SetClock(), on_batch=lambda _: None)
    one, other = cache.submit(numbers(1, 2, 2)), cache.submit(numbers(2, 3))
    assert not one.done()
    model.finish(1)
    model.finish(0)
    np.testing.assert_array_equal(one.result(SECONDS), score_of(numbers(1, 2, 2)))
    np.testing.assert_array_equal(other.result(SECONDS), score_of(numbers(2, 3)))
    np.testing.assert_array_equal(cache.submit(numbers(3, 1)).result(SECONDS), score_of(numbers(3, 1)))
    assert len(model.calls) == 2


def test_a_cache_without_hits_is_bypassed_and_tried_again() -> None:
    """Its table knows the rows of the last window still."""
    counted = Counted(row_seconds=0.001, ttl=1e6)
    for number in range(3000):
        counted.clock.at += 0.01
        counted.scores(numbers(*range(10 * number, 10 * number + 10)))
    bypassed = sum(each.bypassed for each in counted.figures)
    assert bypassed > 0.8 * 30_000
    counted.clock.at += 10_000
    counted.scores(numbers(*range(10)))
    assert counted.figures[-1].hits == 10


def test_a_cache_with_hits_stays_in_use_and_counts_what_it_saves() -> None:
    """Nine of ten rows are known."""
    counted = Counted(row_seconds=0.001)
    for number in range(3000):
        counted.scores(numbers(*range(9), 1000 + number))
    assert sum(each.bypassed for each in counted.figures) == 0
    assert sum(each.saved for each in counted.figures) == pytest.approx(2999 * 9 * 0.001, rel=0.05)


def test_a_fault_of_the_cache_is_none_of_the_model() -> None:
    """Memory that cannot be had, or a metric that fails: the scores are those of the model."""
    counted = Counted(bytes_max=1 << 60)
    for _ in range(2):
        assert counted.scores(numbers(1, 2, 2)).tolist() == score_of(numbers(1, 2, 2)).tolist()

    def fails(_: CachedBatch) -> None:
        raise RuntimeError

    model = FunctionModel(score_of, name="sum", version="7", rows_max=100)
    cached = CachedModel(model, bytes_max=1 << 20, ttl_seconds=60.0, clock=SetClock(), on_batch=fails)
    for _ in range(2):
        assert cached.submit(numbers(1, 2)).result(SECONDS).tolist() == score_of(numbers(1, 2)).tolist()
