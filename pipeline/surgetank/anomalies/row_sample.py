"""A bounded sample of the rows of each batch for the detectors; adding a batch takes a few microseconds."""

import threading

import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

ROWS_PER_BATCH = 256
ROWS_MAX = 16_384  # between two calls of take; further rows are dropped


class RowSample:
    """Model inputs and scores of some rows since the last ``take``. ``width`` is the number of inputs."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._lock = threading.Lock()
        self._inputs: list[Float32s] = []
        self._scores: list[Float64s] = []
        self._rows = 0

    def add(self, matrix: Float32s, scores: Float64s) -> None:
        """Add some rows of a batch: ``matrix`` float32 [m, F], NaN for a missing input; ``scores`` float64 [m]."""
        if self._rows >= ROWS_MAX:
            return
        # A copy, because a view would keep the whole batch in memory.
        inputs = matrix[:: 1 + len(matrix) // ROWS_PER_BATCH].copy()
        chosen = scores[:: 1 + len(scores) // ROWS_PER_BATCH].copy()
        with self._lock:
            self._inputs.append(inputs)
            self._scores.append(chosen)
            self._rows += max(len(inputs), len(chosen))

    def take(self) -> tuple[int, Float64s, Float64s]:
        """Return and remove the sample: number of rows, missing values per input float64 [F], scores float64 [k]."""
        with self._lock:
            inputs, scores = self._inputs, self._scores
            self._inputs, self._scores, self._rows = [], [], 0
        missing = np.zeros(self._width)
        for part in inputs:
            missing += np.isnan(part).sum(axis=0)
        return sum(map(len, inputs)), missing, np.concatenate(scores) if scores else np.zeros(0)
