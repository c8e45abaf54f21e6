"""The protocol of a model, and a gate that releases the results of its calls in the order of submission."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from surgetank.clock import Clock

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]


class Model(Protocol):
    """One version of a model: a float32 matrix in, float64 out: one score, or one vector, per row.

    A model of labels is a ``LabelModel``.
    """

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def version(self) -> str:
        """The model's version."""
        ...

    @property
    def rows_max(self) -> int:
        """The largest number of rows of one call."""
        ...

    def submit(self, matrix: Float32s) -> Future[Float64s]:
        """Return the scores float64 [m] of a matrix float32 [m, F], 1 <= m <= ``rows_max``.

        A model of vectors returns float64 [m, k], with the same k for each call. The score of a row depends on this row
        alone. Whatever the model raises is set on the future, and nothing is raised here. A model that computes in the
        calling thread returns a finished future.
        """
        ...


@runtime_checkable
class LabelModel(Model, Protocol):
    """A ``Model`` that chooses a label for each row.

    ``submit`` returns float64 [m, 2]: the probability of the label, and the index of the label in ``labels``.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels by index."""
        ...


def computed(score: Callable[[Float32s], Float64s], matrix: Float32s) -> Future[Float64s]:
    """Return a finished future of the scores of a matrix, or of what ``score`` raises. For ``Model.submit``."""
    done: Future[Float64s] = Future()
    try:
        done.set_result(score(matrix))
    except Exception as error:  # noqa: BLE001 - the future passes it to the caller
        done.set_exception(error)
    return done


class CompletionGate:
    """Submits calls, and releases their results in the order of submission, whichever call ends first.

    For one thread; ``started_at`` is for any thread.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: deque[tuple[float, Future[Float64s]]] = deque()
        self._started_at: float | None = None

    @property
    def started_at(self) -> float | None:
        """Start of the oldest call in progress, in ``Clock.monotonic`` seconds; None if there is none.

        For a watchdog in another thread: a hanging call can be detected but not stopped.
        """
        return self._started_at

    def submit(self, model: Model, matrix: Float32s) -> None:
        """Start a call."""
        started_at = self._clock.monotonic()
        if self._started_at is None:
            self._started_at = started_at
        self._calls.append((started_at, model.submit(matrix)))
        self._started_at = self._oldest()

    def take(self) -> Float64s:
        """Wait for the oldest call and return its answer, or raise the exception of its future."""
        _, future = self._calls[0]
        try:
            return future.result()
        finally:
            self._calls.popleft()
            self._started_at = self._oldest()

    def _oldest(self) -> float | None:
        return next((started_at for started_at, future in self._calls if not future.done()), None)
