"""The steps around the trees, on float32 [m, columns]: what converters write for scalers, imputers and links.

Each computes every row by itself, with the operations and the precision of ONNX Runtime.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from surgetank.serving.model import Float32s
from surgetank.serving.trees.ensemble import Transform


class GraphStep(Protocol):
    """One node of a graph: float32 [m, k] in, float32 [m, l] out."""

    def __call__(self, matrix: Float32s) -> Float32s:
        """Return a new matrix."""
        ...


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``matrix operation constant``, or ``constant operation matrix`` if ``reversed_``."""

    operation: str
    constant: Float32s
    reversed_: bool = False

    def __call__(self, matrix: Float32s) -> Float32s:
        """Return the result, infinite or NaN where it overflows."""
        left, right = (self.constant, matrix) if self.reversed_ else (matrix, self.constant)
        with np.errstate(all="ignore"):
            match self.operation:
                case "Add":
                    return left + right
                case "Sub":
                    return left - right
                case "Mul":
                    return left * right
                case _:
                    return left / right


@dataclass(frozen=True, slots=True)
class Scale:
    """``(matrix - offset) * scale``."""

    offset: Float32s
    scale: Float32s

    def __call__(self, matrix: Float32s) -> Float32s:
        """Return the result, infinite or NaN where it overflows."""
        with np.errstate(all="ignore"):
            return (matrix - self.offset) * self.scale


@dataclass(frozen=True, slots=True)
class Impute:
    """Replaces NaN (``replaced`` is NaN), or one number, by the value of the column."""

    values: Float32s
    replaced: float

    def __call__(self, matrix: Float32s) -> Float32s:
        """Return the matrix without what is replaced."""
        absent = np.isnan(matrix) if np.isnan(self.replaced) else matrix == np.float32(self.replaced)
        return np.where(absent, self.values, matrix)


@dataclass(frozen=True, slots=True)
class Columns:
    """Takes some columns, in this order."""

    taken: npt.NDArray[np.int64]

    def __call__(self, matrix: Float32s) -> Float32s:
        """Return the columns as a matrix."""
        return matrix[:, self.taken]


@dataclass(frozen=True, slots=True)
class Link:
    """A transform of each row: logistic or softmax."""

    transform: Transform

    def __call__(self, matrix: Float32s) -> Float32s:
        """Return the transformed matrix."""
        from surgetank.serving.trees.loops import transform  # compiled code takes a moment to load

        answer = np.array(matrix, order="C")
        transform(answer, int(self.transform))
        return answer
