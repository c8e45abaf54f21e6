"""How a matrix of features becomes the inputs of an ONNX model: one matrix, or one column for each feature."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from surgetank.errors import ModelError
from surgetank.serving.model import Float32s

_DTYPES: dict[str, npt.DTypeLike] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


class SessionTensor(Protocol):
    """An input of a session, as ONNX Runtime describes it; a size in ``shape`` that is no int may vary."""

    name: str
    type: str
    shape: Sequence[int | str | None]


@dataclass(frozen=True, slots=True)
class _Input:
    """One input, and the columns of the matrix that it takes: an int for a tensor of shape [rows]."""

    name: str
    dtype: "np.dtype[Any]"
    columns: slice | int
    features: tuple[str, ...]

    def of(self, matrix: Float32s) -> npt.NDArray[Any]:
        """Return the values of this input. Raises ValueError for a value that is no integer where one must be."""
        values = matrix[:, self.columns]
        if self.dtype.kind == "f":
            return values.astype(self.dtype, copy=False)
        with np.errstate(invalid="ignore"):  # NaN, and numbers that are too large
            whole = values.astype(self.dtype)
        wrong = np.argwhere(whole != values)
        if len(wrong):
            at = tuple(wrong[0])
            feature = self.features[at[1] if len(at) > 1 else 0]
            raise ValueError(f"feature {feature!r} is {values[at]:g}, and input {self.name!r} takes {self.dtype}")
        return whole


class ModelInputs:
    """The inputs of one model. ``rows`` is the number of rows of each call; None: any number.

    ``matrix_name`` is the name of the input if there is one for all features.
    """

    def __init__(self, inputs: Sequence[_Input], rows: int | None) -> None:
        self._inputs = tuple(inputs)
        self.rows = rows
        self.matrix_name = inputs[0].name if len(inputs) == 1 else None
        self._is_plain = len(inputs) == 1 and inputs[0].dtype == np.float32

    def feeds(self, matrix: Float32s) -> dict[str, npt.NDArray[Any]]:
        """Return the inputs by name for a matrix float32 [m, F]. Raises ValueError as an input of integers does."""
        if self._is_plain:
            return {self._inputs[0].name: matrix}
        return {each.name: each.of(matrix) for each in self._inputs}

    def rounded(self, matrix: Float32s) -> Float32s:
        """Return the matrix with whole numbers in the columns that go into inputs of integers."""
        rounded = matrix.copy()
        for each in self._inputs:
            if each.dtype.kind == "i":
                rounded[:, each.columns] = np.rint(matrix[:, each.columns])
        return rounded


def find_inputs(what: str, tensors: Sequence[SessionTensor], name: str, features: Sequence[str]) -> ModelInputs:
    """Return how the ``features`` go into the inputs ``tensors`` of a model. ``what`` names the model.

    ``name`` is the input that takes all features as a matrix; if it is empty, that is the only input, or each feature
    goes into an input of its name. Raises ModelError, which says what to change.
    """
    names = [tensor.name for tensor in tensors]
    for tensor in tensors:
        _check_type(what, tensor)
    by_column = len(tensors) > 1 and set(names) == set(features)
    if by_column and not name:
        inputs = [_column(what, tensor, list(features).index(tensor.name)) for tensor in tensors]
        return ModelInputs(inputs, _rows(what, tensors))
    if len(tensors) != 1 or name not in {"", names[0]}:
        cure = "; leave `input` out of the manifest: there is one for each feature" if by_column else ""
        wanted = f"one matrix named {name!r}" if name else "one matrix, or one column for each feature, with its name"
        raise ModelError(
            f"{what} takes the inputs {listed(names)}; it must take {wanted}{cure or _named(name, features)}"
        )
    (tensor,) = tensors
    if len(tensor.shape) != 2:
        raise ModelError(
            f"{what}: input {tensor.name!r} has the shape {list(tensor.shape)}; it must be [any number of rows, "
            f"{len(features)}]: reshape inside of the model"
        )
    _check_width(what, tensor, features)
    return ModelInputs([_Input(tensor.name, _dtype(tensor), slice(None), tuple(features))], _rows(what, tensors))


def _column(what: str, tensor: SessionTensor, at: int) -> _Input:
    """Return the input that takes one feature, of shape [rows] or [rows, 1]."""
    if len(tensor.shape) == 1:
        return _Input(tensor.name, _dtype(tensor), at, (tensor.name,))
    if len(tensor.shape) != 2 or (isinstance(tensor.shape[1], int) and tensor.shape[1] != 1):
        raise ModelError(
            f"{what}: input {tensor.name!r} has the shape {list(tensor.shape)}; it takes one feature, so it must be "
            "[rows, 1]"
        )
    return _Input(tensor.name, _dtype(tensor), slice(at, at + 1), (tensor.name,))


def _dtype(tensor: SessionTensor) -> "np.dtype[Any]":
    return np.dtype(_DTYPES[tensor.type])


def _check_type(what: str, tensor: SessionTensor) -> None:
    if tensor.type == "tensor(string)":
        raise ModelError(
            f"{what}: input {tensor.name!r} takes text, and features are numbers: declare the field as Category(...), "
            "and train on its number (surgetank.offline.training.training_matrix) instead of encoding the text inside "
            "of the model"
        )
    if tensor.type not in _DTYPES:
        raise ModelError(
            f"{what}: input {tensor.name!r} is {tensor.type}; it must be float32, float64, float16, int64 or int32"
        )


def _check_width(what: str, tensor: SessionTensor, features: Sequence[str]) -> None:
    width = tensor.shape[1]
    if not isinstance(width, int) or width == len(features):
        return  # for a model without a declared width, a trial finds it
    if width < len(features):
        gap = f"it has no column for feature {features[width]!r}"
    else:
        gap = f"no feature is there for its column {len(features)} and those after it"
    raise ModelError(
        f"{what}: input {tensor.name!r} has {width} columns and the pipeline {len(features)} "
        f"features: {gap} (the features: {listed(features)})"
    )


def _rows(what: str, tensors: Sequence[SessionTensor]) -> int | None:
    """Return the fixed number of rows; None: any number."""
    fixed = {size for tensor in tensors if isinstance(size := tensor.shape[0], int)}
    if len(fixed) > 1 or any(size < 1 for size in fixed):
        raise ModelError(f"{what}: its inputs have {sorted(fixed)} rows; export it with a free first dimension")
    return next(iter(fixed), None)


def _named(name: str, features: Sequence[str]) -> str:
    return "" if name else f" (the features: {listed(features)})"


def listed(names: Sequence[str]) -> str:
    """Return names in quotes, separated by commas."""
    return ", ".join(repr(name) for name in names) or "nothing"
