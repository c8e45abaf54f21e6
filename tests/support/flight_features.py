"""Made-up inputs of the model of the flights schedule, with plausible values."""

import numpy as np
import numpy.typing as npt

from ops.training.flights_schedule import flights


def flight_features(rows: int, seed: int = 1, missing: float = 0.02) -> npt.NDArray[np.float32]:
    """Return float32 [rows, F]; a share of the values is missing."""
    random = np.random.default_rng(seed)
    columns = []
    for each in flights.spec.declaration():
        if each["kind"] == "Category":
            columns.append(random.integers(0, len(each["vocabulary"]), rows))
        elif each["kind"] == "DayOfWeek":
            columns.append(random.integers(0, 7, rows))
        else:
            columns.append(random.integers(30, 1_440, rows))
    matrix = np.column_stack(columns).astype(np.float32)
    matrix[random.random(matrix.shape) < missing] = np.nan
    return matrix
