"""Makes scores of the outputs of an ONNX model: one number, a vector, or a label with its probability for each row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from surgetank.errors import ModelError
from surgetank.scored_rows import ScoreKind
from surgetank.serving.class_labels import Labels
from surgetank.serving.model import Float64s
from surgetank.serving.model_outputs import Output, output_of_labels, output_of_scores

_SUM_TOLERANCE = 1e-3  # of the probabilities of a row, which float16 models round

Answer = npt.NDArray[Any]
Sample = Callable[[Sequence[str]], list[Sequence[Answer]]]  # names of outputs -> the outputs for some sets of rows


@dataclass(frozen=True, slots=True)
class ScoreSource:
    """Where a model has its score, as its manifest says. What is empty is found if there is only one candidate.

    ``output`` and ``label`` name outputs; ``column`` is a class, or the number of a column; ``classes`` are the names
    of the columns of ``output``.
    """

    output: str = ""
    column: str = ""
    classes: Labels = ()
    label: str = ""


class ScoreReader(Protocol):
    """Reads the outputs ``names``. ``labels`` are those of a ``LabelModel``, else empty."""

    names: list[str]
    labels: Labels

    def read(self, answers: Sequence[Answer]) -> npt.NDArray[np.floating[Any]]:
        """Return floats [m], [m, k] or, for labels, [m, 2], as ``Model.submit`` does; answers have m rows."""
        ...

    def compared(self, answers: Sequence[Answer]) -> npt.NDArray[np.floating[Any]]:
        """Return the floats [m] or [m, k] in which two calls are compared: those from which labels are chosen."""
        ...


class NumberReader:
    """Reads one column of an output; None: the output has the shape [rows]."""

    labels: Labels = ()

    def __init__(self, output: str, column: int | None) -> None:
        self.names = [output]
        self._column = column

    def read(self, answers: Sequence[Answer]) -> npt.NDArray[np.floating[Any]]:
        """Return floats [m]."""
        return answers[0] if self._column is None else answers[0][:, self._column]

    def compared(self, answers: Sequence[Answer]) -> npt.NDArray[np.floating[Any]]:
        """Return the same."""
        return self.read(answers)


class VectorReader:
    """Reads all columns of an output."""

    labels: Labels = ()

    def __init__(self, output: str) -> None:
        self.names = [output]

    def read(self, answers: Sequence[Answer]) -> npt.NDArray[np.floating[Any]]:
        """Return floats [m, k]."""
        (answer,) = answers
        return answer if answer.ndim == 2 else answer[:, None]

    def compared(self, answers: Sequence[Answer]) -> npt.NDArray[np.floating[Any]]:
        """Return the same."""
        return self.read(answers)


class LabelReader:
    """Reads the class that the model chose, else that of the largest probability, and its probability.

    ``values`` are what the output ``label`` has for each of ``labels``.
    """

    def __init__(
        self, output: str, labels: Labels, label: str = "", values: Sequence[int] | Sequence[str] = ()
    ) -> None:
        self.names = [output, label] if label else [output]
        self.labels = labels
        known = np.array(values)
        self._order = np.argsort(known)
        self._known = known[self._order]

    def read(self, answers: Sequence[Answer]) -> Float64s:
        """Return float64 [m, 2]: the probability and the index of the label. Raises ValueError for an unknown class."""
        probabilities = answers[0]
        index = self._index(answers[1].reshape(-1)) if len(answers) > 1 else probabilities.argmax(axis=1)
        return np.column_stack([probabilities[np.arange(len(index)), index].astype(np.float64), index])

    def compared(self, answers: Sequence[Answer]) -> npt.NDArray[np.floating[Any]]:
        """Return the probabilities: equal ones may be rounded to another order."""
        return answers[0]

    def _index(self, given: Answer) -> npt.NDArray[np.int64]:
        if given.dtype.kind == "O":
            given = given.astype(str)
        at = np.minimum(np.searchsorted(self._known, given), len(self._known) - 1)
        unknown = self._known[at] != given
        if unknown.any():
            raise ValueError(f"the model chose the class {given[unknown][0]!s}, which is none of {list(self.labels)}")
        return self._order[at]


def find_reader(
    what: str, kind: ScoreKind, outputs: Sequence[Output], source: ScoreSource, sample: Sample
) -> ScoreReader:
    """Return what reads scores of this kind from a model with these outputs. ``what`` names the model.

    ``sample`` returns outputs for rows on which they can be judged. Raises ModelError, with the outputs and what to set
    in the manifest, if it is not clear what the score is.
    """
    output = output_of_scores(what, outputs, source.output)
    if source.classes and len(source.classes) != output.width:
        raise ModelError(
            f"{what}: `classes` in the manifest are {list(source.classes)}, and output {output} has {output.width} "
            "columns"
        )
    if kind == "vector":
        return VectorReader(output.name)
    if kind == "label":
        return _label_reader(what, outputs, output, source, sample)
    if len(output.shape) == 1:
        return NumberReader(output.name, None)
    return NumberReader(output.name, _column(what, output, source, sample))


def _column(what: str, output: Output, source: ScoreSource, sample: Sample) -> int:
    """Return the column that is the score."""
    labels = source.classes or output.labels
    if source.column:
        numbers = tuple(map(str, range(output.width)))
        if source.column not in (labels or numbers):
            raise ModelError(
                f"{what}: `column` in the manifest is {source.column!r}, and output {output} has the columns "
                f"{', '.join(map(repr, labels or numbers))}"
            )
        return (labels or numbers).index(source.column)
    if output.width > 2:
        raise ModelError(
            f"{what}: output {output} has {output.width} columns, and a score is one number: set `column` in the "
            f"manifest to one of {', '.join(map(repr, labels or range(output.width)))}, or declare "
            "Scores(kind='vector') or Scores(kind='label')"
        )
    if output.width == 2 and (wrong := _no_probabilities(sample([output.name]))):
        raise ModelError(
            f"{what}: output {output} has two columns that are not the probabilities of no and yes, "
            f"as {wrong}: two targets of a regressor are no score; name an output with one, set `column` in the "
            "manifest, declare Scores(kind='vector'), or export the classifier's probabilities"
        )
    return output.width - 1


def _label_reader(
    what: str, outputs: Sequence[Output], output: Output, source: ScoreSource, sample: Sample
) -> ScoreReader:
    if output.width < 2:
        raise ModelError(
            f"{what}: output {output} has one number, and a label needs the probability of each class: export these, "
            "or declare Scores(kind='number')"
        )
    if wrong := _no_probabilities(sample([output.name])):
        raise ModelError(
            f"{what}: output {output} has no probabilities of classes, of which each row has the sum 1, as {wrong}: "
            "end the model with a softmax, name another output, or declare Scores(kind='vector')"
        )
    labels = source.classes or output.labels
    chosen = output_of_labels(what, outputs, source.label)
    if chosen is None:
        return LabelReader(output.name, labels or _numbers(output))
    if chosen.type == "tensor(string)" and not labels:
        raise ModelError(
            f"{what}: the classes of output {output} have no names in the model: set `classes` in the manifest to the "
            f"texts of output {chosen.name!r}, in the order of the columns"
        )
    known = output.labels or labels or _numbers(output)
    values = known if chosen.type == "tensor(string)" else _integers(known)
    reader = LabelReader(output.name, labels or _numbers(output), chosen.name, values)
    try:
        for answers in sample(reader.names):
            reader.read(answers)
    except ValueError as error:
        raise ModelError(
            f"{what}: {error}: set `classes` in the manifest to what output {chosen.name!r} gives, in the order of the "
            f"columns of {output.name!r}"
        ) from None
    return reader


def _numbers(output: Output) -> Labels:
    return tuple(map(str, range(output.width)))


def _integers(labels: Labels) -> list[int]:
    """Return the integers that an output of integers has for these labels: their own, or their places."""
    try:
        return [int(each) for each in labels]
    except ValueError:
        return list(range(len(labels)))


def _no_probabilities(samples: list[Sequence[Answer]]) -> list[float]:
    """Return a row that has no probabilities, of which all are at least 0 and the sum is 1; empty if all rows do.

    Rows with NaN do not count.
    """
    for (answer,) in samples:
        known = answer[np.isfinite(answer).all(axis=1)].astype(np.float64)
        sums = np.abs(known.sum(axis=1) - 1.0) <= _SUM_TOLERANCE
        fits = sums & (known >= -_SUM_TOLERANCE).all(axis=1)
        if not fits.all():
            row: list[float] = known[~fits][0].tolist()
            return row
    return []
