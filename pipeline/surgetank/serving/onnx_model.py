"""A model run by ONNX Runtime: a float32 matrix in, one float64 score, vector or label per row out."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from surgetank.errors import ModelError
from surgetank.scored_rows import ScoreKind
from surgetank.serving.class_labels import Labels, class_labels, replace_zip_maps
from surgetank.serving.execution_providers import CPU
from surgetank.serving.external_data import parse_model, serialized
from surgetank.serving.fixed_batch import run_in_batches
from surgetank.serving.model import Float32s, Float64s, computed
from surgetank.serving.model_inputs import find_inputs, listed
from surgetank.serving.model_outputs import Output, try_outputs
from surgetank.serving.onnx_session import open_session
from surgetank.serving.row_independence import check_row_independence, random_rows
from surgetank.serving.row_order import ROWS_MIN, row_order
from surgetank.serving.score_reader import ScoreReader, ScoreSource, find_reader

Answers = Sequence[npt.NDArray[Any]]


class OnnxModel:
    """A ``Model`` with its signature checked. It computes in the calling thread; several threads may call it at once.

    ``model`` is a path or the bytes of an ONNX file. Its inputs are one matrix [rows, len(features)], which ``input``
    names, or for each feature a column [rows, 1] or [rows] with its name, if ``input`` is empty; of floats or of
    integers. If the number of rows is fixed, calls are split and filled up.

    ``kind`` is what a score is. A number is the output [rows], [rows, 1], the probability of yes in [rows, 2] with
    those of no and yes, or a ``column``; a vector is all columns; a label is the class that the model chose, else that
    with the largest probability. ``output``, ``column``, ``classes`` and ``label``: as in ``ScoreSource``.

    Raises ModelError if the model cannot be loaded, has another signature, or keeps weights in a file outside its
    folder; SettingsError if there is no such execution ``provider``.
    """

    engine = "onnxruntime"

    def __init__(
        self,
        model: Path | bytes,
        *,
        name: str,
        version: str,
        input: str = "",  # noqa: A002 - ONNX's own word
        output: str = "",
        features: Sequence[str],
        threads: int = 1,
        kind: ScoreKind = "number",
        column: str = "",
        classes: Sequence[str] = (),
        label: str = "",
        provider: str = CPU,
    ) -> None:
        self.name = name
        self.version = version
        self.rows_max = sys.maxsize
        self._what = f"model {model}" if isinstance(model, Path) else "model"
        self._features = tuple(features)
        proto = self._parse(model)
        zipped = replace_zip_maps(proto)
        content = serialized(proto, model) if zipped else model
        self._session = open_session(self._what, content, threads=threads, provider=provider)
        self._inputs = find_inputs(self._what, self._session.get_inputs(), input, self._features)
        source = ScoreSource(output, column, tuple(classes), label)

        def labels_of(named: str, count: int) -> Labels:
            of_map = zipped.get(named, ())
            return of_map if len(of_map) == count else class_labels(proto, count)

        outputs = self._try_outputs(source, kind, labels_of)
        self._reader: ScoreReader = find_reader(self._what, kind, outputs, source, self._sample)
        self.labels: Labels = self._reader.labels
        matrix_name = self._inputs.matrix_name
        self._order = row_order(proto, matrix_name) if matrix_name is not None else None

    def submit(self, matrix: Float32s) -> Future[Float64s]:
        """Compute and return a finished future."""
        return computed(self.score, matrix)

    def score(self, matrix: Float32s) -> Float64s:
        """Return float64 [m], [m, k] or [m, 2], as ``Model.submit`` says, for float32 [m, F].

        Raises ONNX Runtime's errors, and ValueError for a value that an input of integers does not take.
        """
        return self._ordered(matrix, self._reader.read)

    def warm_up(self, rows_max: int) -> None:
        """Score one row and ``rows_max`` rows of zeros, so that memory is allocated before the first real batch."""
        for rows in sorted({1, rows_max}):
            self.score(np.zeros((rows, len(self._features)), dtype=np.float32))

    def check_row_independence(self, *, relative: float, absolute: float) -> None:
        """Raise ModelError if the score of a row depends on the rest of its batch, beyond the tolerance."""

        def values(matrix: Float32s) -> Float64s:
            return self._ordered(self._inputs.rounded(matrix), self._reader.compared)

        check_row_independence(self._what, values, len(self._features), relative=relative, absolute=absolute)

    def _parse(self, model: Path | bytes) -> onnx.ModelProto:
        try:
            return parse_model(model)
        except ModelError:
            raise
        except Exception as error:  # of the file, or of the format's own library
            raise ModelError(f"{self._what} cannot be read as ONNX: {error}") from error

    def _ordered(self, matrix: Float32s, read: Callable[[Answers], npt.NDArray[np.floating[Any]]]) -> Float64s:
        names = self._reader.names
        if self._order is None or len(matrix) < ROWS_MIN:
            return read(self._run(names, matrix)).astype(np.float64)
        order = self._order.order(matrix)
        found = read(self._run(names, matrix[order]))
        scores = np.empty(found.shape)
        scores[order] = found
        return scores

    def _run(self, names: Sequence[str], matrix: Float32s) -> Answers:
        if self._inputs.rows is None:
            return self._session.run(names, self._inputs.feeds(matrix))  # type: ignore[no-any-return]
        return run_in_batches(
            lambda rows: self._session.run(names, self._inputs.feeds(rows)), matrix, self._inputs.rows
        )

    def _try_outputs(
        self, source: ScoreSource, kind: ScoreKind, labels_of: Callable[[str, int], Labels]
    ) -> list[Output]:
        """Return the outputs, tried with zeros; only the named one, where others do not matter."""
        types = {tensor.name: tensor.type for tensor in self._session.get_outputs()}
        if source.output in types and kind != "label":
            types = {source.output: types[source.output]}

        def run(names: Sequence[str], rows: int) -> Answers:
            return self._run(names, np.zeros((rows, len(self._features)), dtype=np.float32))

        try:
            return try_outputs(types, run, labels_of)
        except Exception as error:
            raise ModelError(
                f"{self._what} fails on a matrix of zeros for the features {listed(self._features)}: {error}"
            ) from error

    def _sample(self, names: Sequence[str]) -> list[Answers]:
        """Return the outputs for zeros and for random rows; only for zeros if the model raises for the others."""
        rows = self._inputs.rounded(random_rows(len(self._features)))
        zeros = self._run(names, np.zeros_like(rows[:1]))
        try:
            return [zeros, self._run(names, rows)]
        except Exception:  # noqa: BLE001 - a model may raise for values that it never meets
            return [zeros]
