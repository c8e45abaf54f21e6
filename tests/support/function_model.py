"""A model made of a function, and the scorer of one model, for tests."""

import sys
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import numpy.typing as npt

from surgetank.clock import Clock
from surgetank.serving.router import SingleModelRouter
from surgetank.serving.scorer import Scorer

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]


class FunctionModel:
    """A ``Model`` that computes in the calling thread with any function of float32 [m, F]."""

    def __init__(
        self,
        function: Callable[[Float32s], Float64s],
        *,
        name: str = "m",
        version: str = "1",
        rows_max: int = sys.maxsize,
    ) -> None:
        self._function = function
        self.name = name
        self.version = version
        self.rows_max = rows_max

    def submit(self, matrix: Float32s) -> Future[Float64s]:
        """Return a finished future."""
        done: Future[Float64s] = Future()
        try:
            done.set_result(self._function(matrix))
        except Exception as error:  # noqa: BLE001 - the future passes it to the caller
            done.set_exception(error)
        return done


def scorer_of(function: Callable[[Float32s], Float64s], clock: Clock) -> Scorer:
    """Return the scorer of one model."""
    return Scorer(SingleModelRouter(FunctionModel(function)), clock)
