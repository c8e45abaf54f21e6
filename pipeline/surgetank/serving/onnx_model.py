"""A model run by ONNX Runtime: a float32 matrix in, one float64 score per row out."""

import sys
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgetank.errors import ModelError
from surgetank.serving.model import Float32s, Float64s
from surgetank.serving.onnx_without_telemetry import ort
from surgetank.serving.row_independence import check_row_independence, random_rows
from surgetank.serving.row_order import ROWS_MIN, row_order
from surgetank.serving.single_file import parse_single_file

_LOG_FATAL = 4  # errors of calls are raised; ONNX Runtime would also write a line for each
_SUM_TOLERANCE = 1e-3  # of the two probabilities of a row, which float16 models round


class OnnxModel:
    """A ``Model`` with its signature checked. It computes in the calling thread; several threads may call it at once.

    ``model`` is a path or the bytes of an ONNX file. ``input`` and ``output`` name a tensor each; the input is float32
    [rows, len(features)], the output is floats [rows], [rows, 1], or [rows, 2] with the probabilities of no and yes;
    the score is the probability of yes. Raises ModelError if the model cannot be loaded, has another signature, or
    keeps weights in a second file.
    """

    engine = "onnxruntime"

    def __init__(
        self,
        model: Path | bytes,
        *,
        name: str,
        version: str,
        input: str,  # noqa: A002 - ONNX's own word
        output: str,
        features: Sequence[str],
        threads: int = 1,
    ) -> None:
        self.name = name
        self.version = version
        self.rows_max = sys.maxsize
        self._what = f"model {model}" if isinstance(model, Path) else "model"
        self._session = self._open(model, threads)
        self._input, self._output, self._features = input, output, tuple(features)
        self._check_input()
        self._check_output()
        self._order = row_order(parse_single_file(model), input)

    def submit(self, matrix: Float32s) -> Future[Float64s]:
        """Compute and return a finished future."""
        done: Future[Float64s] = Future()
        try:
            done.set_result(self.score(matrix))
        except Exception as error:  # noqa: BLE001 - the future passes it to the caller
            done.set_exception(error)
        return done

    def score(self, matrix: Float32s) -> Float64s:
        """Return float64 [m] for float32 [m, F]. Raises ONNX Runtime's errors."""
        if self._order is None or len(matrix) < ROWS_MIN:
            return self._run(matrix).astype(np.float64)
        order = self._order.order(matrix)
        scores = np.empty(len(matrix))
        scores[order] = self._run(matrix[order])
        return scores

    def warm_up(self, rows_max: int) -> None:
        """Score one row and ``rows_max`` rows of zeros, so that memory is allocated before the first real batch."""
        for rows in sorted({1, rows_max}):
            self.score(np.zeros((rows, len(self._features)), dtype=np.float32))

    def check_row_independence(self, *, relative: float, absolute: float) -> None:
        """Raise ModelError if the score of a row depends on the rest of its batch, beyond the tolerance."""
        check_row_independence(self._what, self.score, len(self._features), relative=relative, absolute=absolute)

    def _run(self, matrix: Float32s) -> Float32s | Float64s:
        (answer,) = self._session.run([self._output], {self._input: matrix})
        return answer[:, -1] if answer.ndim == 2 else answer  # type: ignore[no-any-return]

    def _open(self, model: Path | bytes, threads: int) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _LOG_FATAL
        # A memory pattern would be kept for every batch size; natural batching has thousands of sizes.
        options.enable_mem_pattern = False
        # Threads that spin while waiting take CPU from decoding and from the clients' heartbeats.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        content = str(model) if isinstance(model, Path) else model
        try:
            return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            raise ModelError(f"{self._what}: ONNX Runtime cannot load it: {error}") from error

    def _check_input(self) -> None:
        inputs = {tensor.name: tensor for tensor in self._session.get_inputs()}
        if set(inputs) != {self._input}:
            raise ModelError(
                f"{self._what} takes the inputs {_listed(inputs)}; it must take one matrix named {self._input!r}"
            )
        tensor = inputs[self._input]
        if tensor.type != "tensor(float)":
            raise ModelError(f"{self._what}: input {self._input!r} is {tensor.type}; it must be float32")
        if len(tensor.shape) != 2 or isinstance(tensor.shape[0], int):
            raise ModelError(
                f"{self._what}: input {self._input!r} has the shape {tensor.shape}; it must be "
                f"[any number of rows, {len(self._features)}]"
            )
        self._check_width(tensor.shape[1])

    def _check_width(self, width: int | str | None) -> None:
        features = self._features
        if not isinstance(width, int) or width == len(features):
            return  # for a model without a declared width, _check_output finds it by a trial
        if width < len(features):
            gap = f"it has no column for feature {features[width]!r}"
        else:
            gap = f"no feature is there for its column {len(features)} and those after it"
        raise ModelError(
            f"{self._what}: input {self._input!r} has {width} columns and the pipeline {len(features)} "
            f"features: {gap} (the features: {_listed(features)})"
        )

    def _check_output(self) -> None:
        """Check a real output, not the declared shape: exporters often leave it open or declare it wrongly."""
        outputs = {tensor.name: tensor for tensor in self._session.get_outputs()}
        if self._output not in outputs:
            raise ModelError(f"{self._what} gives {_listed(outputs)}; it has no output {self._output!r}")
        rows = 3
        zeros = np.zeros((rows, len(self._features)), dtype=np.float32)
        try:
            (answer,) = self._session.run([self._output], {self._input: zeros})
        except Exception as error:
            raise ModelError(
                f"{self._what} fails on a matrix of zeros for the features {_listed(self._features)}: {error}"
            ) from error
        if not isinstance(answer, np.ndarray) or answer.dtype.kind != "f":
            raise ModelError(
                f"{self._what}: output {self._output!r} is {outputs[self._output].type}; it must be a tensor "
                "of floats (a classifier from scikit-learn must be converted with zipmap off)"
            )
        if answer.shape not in {(rows,), (rows, 1), (rows, 2)}:
            raise ModelError(
                f"{self._what}: output {self._output!r} has the shape {answer.shape} for {rows} rows; "
                "it must be [rows], [rows, 1] or [rows, 2]"
            )
        if answer.shape == (rows, 2):
            self._check_probabilities(answer)
            try:
                (answer,) = self._session.run([self._output], {self._input: random_rows(len(self._features))})
            except Exception:  # noqa: BLE001 - a model may raise for values that it never meets
                return
            self._check_probabilities(answer)

    def _check_probabilities(self, answer: npt.NDArray[np.floating]) -> None:
        """Raise ModelError unless each row [no, yes] has two probabilities, or NaN."""
        known = answer[np.isfinite(answer).all(axis=1)].astype(np.float64)
        sums = np.abs(known.sum(axis=1) - 1.0) <= _SUM_TOLERANCE
        fits = sums & (known >= -_SUM_TOLERANCE).all(axis=1)
        if not fits.all():
            raise ModelError(
                f"{self._what}: output {self._output!r} has two columns that are not the probabilities of no and yes, "
                f"as {known[~fits][0].tolist()}: two targets of a regressor are no score; name an output with one, or "
                "export the classifier's probabilities"
            )


def _listed(names: Sequence[str] | dict[str, object]) -> str:
    return ", ".join(repr(name) for name in names) or "nothing"
