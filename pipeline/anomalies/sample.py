"""What the flow leaves for the detectors: some rows of each batch, for some microseconds of the flow's time."""

import threading

import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

ROWS_PER_BATCH = 256
ROWS_MAX = 16_384  # between two looks; if nobody looks, it stays at that


class ReservoirSample:
    """Model inputs and scores of some rows since the last look. ``width`` is the number of inputs."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._lock = threading.Lock()
        self._inputs: list[Float32s] = []
        self._scores: list[Float64s] = []
        self._rows = 0

    def saw(self, matrix: Float32s, scores: Float64s) -> None:
        """Keep some rows of a batch: ``matrix`` is float32 [m, F], NaN where an input is missing."""
        if self._rows >= ROWS_MAX:
            return
        # A copy: a view would keep the whole batch alive.
        inputs = matrix[:: 1 + len(matrix) // ROWS_PER_BATCH].copy()
        chosen = scores[:: 1 + len(scores) // ROWS_PER_BATCH].copy()
        with self._lock:
            self._inputs.append(inputs)
            self._scores.append(chosen)
            self._rows += max(len(inputs), len(chosen))

    def take(self) -> tuple[int, Float64s, Float64s]:
        """Return how many rows there are, how many of them lack each input, float64 [F], and their scores."""
        with self._lock:
            inputs, scores = self._inputs, self._scores
            self._inputs, self._scores, self._rows = [], [], 0
        missing = np.zeros(self._width)
        for part in inputs:
            missing += np.isnan(part).sum(axis=0)
        return sum(map(len, inputs)), missing, np.concatenate(scores) if scores else np.zeros(0)
