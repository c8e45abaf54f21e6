"""What the models of a batch answered: numbers, vectors or labels, by row, and as columns of the batch."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from surgetank.records import Int64s
from surgetank.scored_rows import VECTOR, ScoreKind
from surgetank.serving.model import Float64s, LabelModel, Model
from surgetank.serving.router import Route


class Answers:
    """The answers of one model for m rows; NaN for rows without an answer.

    ``values`` is float64 [m] for numbers, [m, 2] for labels (``LabelModel``), [m, k] for vectors, where k is that of
    the first answer.
    """

    __slots__ = ("_kind", "_width", "values")

    def __init__(self, kind: ScoreKind, rows: int) -> None:
        self._kind = kind
        self._width = 2 if kind == "label" else 0  # of numbers, and of vectors before the first answer
        self.values: Float64s = np.full((rows, 2) if kind == "label" else rows, np.nan, dtype=np.float64)

    def put(self, start: int, stop: int, answer: Float64s) -> None:
        """Keep the answer for rows [start, stop). Raises ValueError if it has another shape than the kind needs."""
        rows = stop - start
        if self._kind == "number":
            if answer.shape != (rows,):
                raise ValueError(f"the model gave scores of shape {answer.shape} for {rows} rows")
        else:
            if answer.ndim != 2 or len(answer) != rows or answer.shape[1] != (self._width or answer.shape[1] or 1):
                wanted = f"[{rows}, {self._width or 'k'}]"
                raise ValueError(f"the model gave {self._kind}s of shape {answer.shape}; it must be {wanted}")
            if not self._width:
                self._width = answer.shape[1]
                self.values = np.full((len(self.values), self._width), np.nan, dtype=np.float64)
        self.values[start:stop] = answer

    def scores(self) -> Float64s:
        """Return the one number of each row, float64 [m]; NaN or infinite if any element of the answer is.

        Of a vector it is the largest element, of a label the probability.
        """
        if self.values.ndim == 1:
            return self.values
        if self._kind == "label":
            return self.values[:, 0]
        finite = np.isfinite(self.values)
        # The first element that is no number is the score, so that it is told.
        bad = np.take_along_axis(self.values, np.argmin(finite, axis=1)[:, None], axis=1)[:, 0]
        return np.where(finite.all(axis=1), self.values.max(axis=1), bad)


def vectors_of(routes: Sequence[Route], parts: Sequence[Answers], rows: int, kept: Int64s) -> pa.Array:
    """Return the vectors of the ``kept`` of m rows, int64 [k], as a column of type ``VECTOR`` [k].

    The vectors of different models may have different lengths.
    """

    def column(_: Model, values: Float64s) -> pa.Array:
        width = values.shape[1] if values.ndim == 2 else 0
        offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32) * np.int32(width))
        return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)[: len(values) * width]), type=VECTOR)

    return _gathered(routes, parts, rows, kept, column, VECTOR)


def labels_of(routes: Sequence[Route], parts: Sequence[Answers], rows: int, kept: Int64s) -> pa.Array:
    """Return the labels of the ``kept`` of m rows, int64 [k], as a column of text [k].

    Raises TypeError unless each model is a ``LabelModel``.
    """

    def column(model: Model, values: Float64s) -> pa.Array:
        if not isinstance(model, LabelModel):
            raise TypeError(f"model {model.name} {model.version} has no labels")
        index = np.nan_to_num(values[:, 1]).astype(np.int32)  # rows without an answer are not kept
        return pa.array(model.labels, pa.string()).take(pa.array(index))

    return _gathered(routes, parts, rows, kept, column, pa.string())


def _gathered(
    routes: Sequence[Route],
    parts: Sequence[Answers],
    rows: int,
    kept: Int64s,
    column: Callable[[Model, Float64s], pa.Array],
    kind: pa.DataType,
) -> pa.Array:
    """Return the ``kept`` rows of the column of each route, in the order of the batch."""
    columns = [column(route.model, part.values) for route, part in zip(routes, parts, strict=True)]
    if not columns:
        return pa.array([], kind)
    if len(columns) == 1 and len(kept) == rows:
        return columns[0]
    place, behind = np.empty(rows, dtype=np.int64), 0
    for route, each in zip(routes, columns, strict=True):
        place[route.positions] = np.arange(behind, behind + len(each))
        behind += len(each)
    return pa.concat_arrays(columns).take(pa.array(place[kept]))
