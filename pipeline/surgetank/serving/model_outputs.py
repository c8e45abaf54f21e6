"""What the outputs of an ONNX model are, as a trial shows them, and which of them a score can be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from surgetank.errors import ModelError
from surgetank.serving.class_labels import Labels

TRIAL_ROWS = 3
_NUMBERS = {"tensor(float)", "tensor(double)", "tensor(float16)"}
_LABELS = {"tensor(int64)", "tensor(int32)", "tensor(string)"}

Run = Callable[[Sequence[str], int], Sequence[npt.NDArray[Any]]]  # names of outputs, rows -> the outputs


@dataclass(frozen=True, slots=True)
class Output:
    """An output: ``type`` as ONNX Runtime names it, ``shape`` for ``TRIAL_ROWS`` rows, and for one row.

    The shapes are empty for what is no tensor. ``labels`` are the names of its columns; empty: unknown.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    shape_of_one: tuple[int, ...]
    labels: Labels = ()

    @property
    def has_rows(self) -> bool:
        """Whether the first dimension is the rows, whatever their number."""
        return bool(self.shape) and self.shape == (TRIAL_ROWS, *self.shape[1:]) and self._of_one_fits

    @property
    def _of_one_fits(self) -> bool:
        return self.shape_of_one == (1, *self.shape[1:])

    @property
    def width(self) -> int:
        """The number of columns: 1 for [rows] and [rows, 1]; 0 if a row is more than a vector."""
        return 0 if len(self.shape) > 2 else int(np.prod(self.shape[1:]))

    @property
    def has_numbers(self) -> bool:
        """Whether it has one number, or a vector of numbers, for each row."""
        return self.type in _NUMBERS and self.has_rows and self.width > 0

    @property
    def has_labels(self) -> bool:
        """Whether it has one class for each row."""
        return self.type in _LABELS and self.has_rows and self.width == 1

    def __str__(self) -> str:
        shape = ["rows", *self.shape[1:]] if self.has_rows else list(self.shape)
        size = f" [{', '.join(map(str, shape))}]" if self.shape else ""
        if not self.has_rows and self.shape:
            size += f" for {TRIAL_ROWS} rows and {list(self.shape_of_one)} for one"
        classes = f" of the classes {', '.join(map(repr, self.labels))}" if self.labels else ""
        return f"{self.name!r} {self.type}{size}{classes}"


def try_outputs(types: Mapping[str, str], run: Run, labels_of: Callable[[str, int], Labels]) -> list[Output]:
    """Return the outputs with these ``types`` by name, as two runs show them: declared shapes are often open or wrong.

    ``labels_of`` returns the labels of an output with some columns. Raises what ``run`` raises.
    """
    tensors = [name for name, kind in types.items() if kind.startswith("tensor(")]

    def shapes_of(rows: int) -> dict[str, tuple[int, ...]]:
        answers = run(tensors, rows) if tensors else ()  # ONNX Runtime takes no names for all outputs
        return {name: answer.shape for name, answer in zip(tensors, answers, strict=True)}

    shapes, of_one = shapes_of(TRIAL_ROWS), shapes_of(1)

    def output(name: str, kind: str) -> Output:
        shape = shapes.get(name, ())
        labels = labels_of(name, shape[1]) if len(shape) == 2 and shape[1] > 1 and kind in _NUMBERS else ()
        return Output(name, kind, shape, of_one.get(name, ()), labels)

    return [output(name, kind) for name, kind in types.items()]


def output_of_scores(what: str, outputs: Sequence[Output], name: str) -> Output:
    """Return the output ``name`` with numbers, or the only one if it is empty. Raises ModelError with the outputs."""
    if name:
        return _named(what, outputs, name)
    fitting = [each for each in outputs if each.has_numbers]
    if not fitting:
        raise ModelError(
            f"{what} gives {_listed(outputs)}; a score must be a tensor of floats [rows] or [rows, columns]"
            f"{_cure(outputs)}"
        )
    if len(fitting) > 1:
        raise ModelError(
            f"{what} gives {_listed(outputs)}; several can be the score: set `output` in the manifest to one of "
            f"{', '.join(repr(each.name) for each in fitting)}"
        )
    return fitting[0]


def output_of_labels(what: str, outputs: Sequence[Output], name: str) -> Output | None:
    """Return the output ``name`` with labels; if it is empty, the only one, or None. Raises ModelError."""
    fitting = [each for each in outputs if each.has_labels]
    if name:
        found = next((each for each in fitting if each.name == name), None)
        if found is None:
            raise ModelError(
                f"{what} gives {_listed(outputs)}; `label` in the manifest is {name!r}, which must be an output of "
                "integers or texts [rows]"
            )
        return found
    if len(fitting) > 1:
        raise ModelError(
            f"{what} gives {_listed(outputs)}; several can be the label: set `label` in the manifest to one of "
            f"{', '.join(repr(each.name) for each in fitting)}"
        )
    return fitting[0] if fitting else None


def _named(what: str, outputs: Sequence[Output], name: str) -> Output:
    found = next((each for each in outputs if each.name == name), None)
    if found is None:
        raise ModelError(f"{what} gives {_listed(outputs)}; it has no output {name!r}")
    if found.type not in _NUMBERS:
        raise ModelError(
            f"{what}: output {name!r} is {found.type}; it must be a tensor of floats; it gives {_listed(outputs)}"
            f"{_cure([found])}"
        )
    if not found.has_numbers:
        raise ModelError(
            f"{what}: output {name!r} has the shape {list(found.shape)} for {TRIAL_ROWS} rows and "
            f"{list(found.shape_of_one)} for one; it must be [rows] or [rows, columns]: export it without an "
            "operation that drops or folds dimensions (squeeze, flatten)"
        )
    return found


def _cure(outputs: Sequence[Output]) -> str:
    if any(each.type.startswith("seq(map(") for each in outputs):
        return ": convert the classifier with zipmap off"
    if any(each.has_labels for each in outputs):
        return ": a class alone is no score; export the probabilities too"
    return ""


def _listed(outputs: Sequence[Output]) -> str:
    return "; ".join(map(str, outputs)) or "nothing"
