"""The inputs of linear models and neural networks: features without missing values, of similar size.

Trees read features as they are. These models need numbers around 0: a category becomes the rate of late flights among
the training rows of its value, a number its distance from the mean in standard deviations. A missing value becomes 0,
the mean; a number that is missing in training rows has a second column that says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.bool_]

SIZE_MAX = 5.0  # standard deviations; values beyond are those of odd events
_PRIOR_ROWS = 50.0  # a rare value has the mean rate rather than its own


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of features float32 [n, F] as float32 [n, K].

    ``rates`` has by column of a category the encoded value of each of its v indices and, last, that of any other value:
    float32 [v + 1]. ``numbers`` int64 [N] are the other columns, with ``means`` and ``scales`` float32 [N];
    ``missing`` int64 [M] are those of them with a column that is 1 for a missing value.
    """

    rates: dict[int, Matrix]
    numbers: npt.NDArray[np.int64]
    means: Matrix
    scales: Matrix
    missing: npt.NDArray[np.int64]

    @property
    def width(self) -> int:
        """The number of columns K."""
        return len(self.rates) + len(self.numbers) + len(self.missing)

    def encode(self, matrix: Matrix) -> Matrix:
        """Return float32 [n, K], as the graph of ``nodes`` computes it."""
        columns = []
        for column, rates in self.rates.items():
            values = matrix[:, column]
            with np.errstate(invalid="ignore"):
                known = (values >= 0) & (values < len(rates) - 1)
            columns.append(rates[np.where(known, values, len(rates) - 1).astype(np.int64)][:, None])
        numbers = matrix[:, self.numbers]
        centred = (np.where(np.isnan(numbers), self.means, numbers) - self.means) * self.scales
        columns.append(np.clip(centred, -SIZE_MAX, SIZE_MAX))
        columns.append(np.isnan(matrix[:, self.missing]))
        return np.concatenate(columns, axis=1, dtype=np.float32)

    def nodes(self, source: str, target: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """Return the nodes and constants that compute tensor ``target`` [n, K] from tensor ``source`` [n, F]."""
        nodes: list[onnx.NodeProto] = []
        constants: list[onnx.TensorProto] = []

        def constant(name: str, value: npt.NDArray[np.generic]) -> str:
            constants.append(numpy_helper.from_array(value, name))
            return name

        def node(kind: str, inputs: Sequence[str], output: str, **attributes: int) -> str:
            nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
            return output

        parts = []
        zero = constant("zero", np.array([0], np.float32))
        for column, rates in self.rates.items():
            name = f"category_{column}"
            place = constant(f"{name}_at", np.array([column], np.int64))
            value = node("Gather", (source, place), f"{name}_value", axis=1)
            other = constant(f"{name}_other", np.array([len(rates) - 1], np.float32))
            not_below = node("GreaterOrEqual", (value, zero), f"{name}_not_below")
            known = node("And", (not_below, node("Less", (value, other), f"{name}_below")), f"{name}_known")
            index = node("Where", (known, value, other), f"{name}_number")
            whole = node("Cast", (index,), f"{name}_index", to=TensorProto.INT64)
            parts.append(node("Gather", (constant(f"{name}_rates", rates), whole), name))
        numbers = node("Gather", (source, constant("numbers_at", self.numbers)), "numbers_raw", axis=1)
        means = constant("means", self.means)
        filled = node("Where", (node("IsNaN", (numbers,), "numbers_missing"), means, numbers), "numbers_filled")
        centred = node("Sub", (filled, means), "numbers_centred")
        scaled = node("Mul", (centred, constant("scales", self.scales)), "numbers_scaled")
        bounds = (
            constant("least", np.array(-SIZE_MAX, np.float32)),
            constant("greatest", np.array(SIZE_MAX, np.float32)),
        )
        parts.append(node("Clip", (scaled, *bounds), "numbers"))
        if len(self.missing):
            raw = node("Gather", (source, constant("missing_at", self.missing)), "missing_raw", axis=1)
            is_missing = node("IsNaN", (raw,), "missing_known")
            parts.append(node("Cast", (is_missing,), "missing", to=TensorProto.FLOAT))
        node("Concat", parts, target, axis=1)
        return nodes, constants


def fit_encoding(matrix: Matrix, late: Labels, categories: dict[int, int]) -> Encoding:
    """Return the encoding for training rows float32 [n, F] with labels bool [n].

    ``categories`` has the number of indices of each column of a category.
    """
    rates = {column: _rates(matrix[:, column], late, size) for column, size in categories.items()}
    numbers = np.array([column for column in range(matrix.shape[1]) if column not in categories], dtype=np.int64)
    values = matrix[:, numbers].astype(np.float64)
    scales = 1 / np.maximum(np.nanstd(values, axis=0), 1e-6)
    missing = numbers[np.isnan(values).any(axis=0)]
    return Encoding(rates, numbers, np.nanmean(values, axis=0).astype(np.float32), scales.astype(np.float32), missing)


def _rates(values: Matrix, late: Labels, size: int) -> Matrix:
    """Return float32 [size + 1]: the log odds of a late flight by index, around 0; 0 for any other value."""
    known = ~np.isnan(values)
    index = values[known].astype(np.int64)
    mean = late.mean()
    count = np.bincount(index, minlength=size) + _PRIOR_ROWS
    share = (np.bincount(index, weights=late[known], minlength=size) + mean * _PRIOR_ROWS) / count
    odds = np.log(share / (1 - share)) - np.log(mean / (1 - mean))
    return np.append(odds / max(float(np.std(odds[index])), 1e-6), 0).astype(np.float32)
