"""A tree ensemble scored by compiled loops: a float32 matrix in, one float64 score per row out."""

import sys
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from surgetank.serving.class_labels import replace_zip_maps
from surgetank.serving.external_data import external_files, parse_model
from surgetank.serving.model import Float32s, Float64s, computed
from surgetank.serving.row_independence import check_row_independence
from surgetank.serving.trees import loops
from surgetank.serving.trees.ensemble import CannotCompile
from surgetank.serving.trees.graph import read_graph
from surgetank.serving.trees.layout import layout

ENGINE = "compiled-trees"
# From this many rows the trees are searched, below they are walked; the scores are the same.
SEARCH_ROWS_MIN = 4


class CompiledTrees:
    """A ``Model`` of the trees of an ONNX file. It computes in the calling thread; several threads may call it at once.

    ``columns`` is the number of columns of the answer, of which the last one is the score.

    The arguments are those of ``OnnxModel``. Raises CannotCompile, a ModelError with the cause, if the graph has
    anything that the loops do not know.
    """

    engine = ENGINE

    def __init__(
        self,
        model: Path | bytes,
        *,
        name: str,
        version: str,
        input: str,  # noqa: A002 - ONNX's own word
        output: str,
        features: Sequence[str],
    ) -> None:
        self.name = name
        self.version = version
        self.rows_max = sys.maxsize
        self._what = f"model {model}" if isinstance(model, Path) else "model"
        self._features = len(features)
        if external_files(model):
            raise CannotCompile("it keeps tensors in other files")
        proto = parse_model(model)
        replace_zip_maps(proto)
        graph = read_graph(proto, input_name=input, output_name=output, features=len(features))
        self.graph = graph
        found = layout(graph.ensemble)
        self._searchable = found.searchable
        self._arrays = (found.bounds, found.cuts, found.nodes, found.roots, found.weights, found.tests, found.words)
        self._base = np.array(graph.ensemble.base)
        self._divisor, self._transform = graph.ensemble.divisor, int(graph.ensemble.transform)
        self.columns = self.answer(np.zeros((1, self._features), dtype=np.float32)).shape[1]

    def submit(self, matrix: Float32s) -> Future[Float64s]:
        """Compute and return a finished future."""
        return computed(self.score, matrix)

    def score(self, matrix: Float32s) -> Float64s:
        """Return float64 [m] for float32 [m, F]: the last column of the answer."""
        return self.answer(matrix)[:, -1].astype(np.float64)

    def answer(self, matrix: Float32s) -> Float32s:
        """Return the output of the graph, float32 [m, columns], for float32 [m, F]. Raises ValueError for another F."""
        if matrix.ndim != 2 or matrix.shape[1] != self._features or matrix.dtype != np.float32:
            raise ValueError(f"a {matrix.dtype} matrix {matrix.shape}; it must be float32 [m, {self._features}]")
        for step in self.graph.before:
            matrix = step(matrix)
        answer = np.empty((len(matrix), self.graph.ensemble.columns), dtype=np.float32)
        loops.score(
            np.ascontiguousarray(matrix),
            *self._arrays,
            self._base,
            self._divisor,
            self._transform,
            self._searchable and len(matrix) >= SEARCH_ROWS_MIN,
            answer,
        )
        for step in self.graph.after:
            answer = step(answer)
        return answer

    def warm_up(self, rows_max: int) -> None:
        """Score one row and ``rows_max`` rows of zeros, so that memory is allocated before the first real batch."""
        for rows in sorted({1, rows_max}):
            self.score(np.zeros((rows, self._features), dtype=np.float32))

    def check_row_independence(self, *, relative: float, absolute: float) -> None:
        """Raise ModelError if the score of a row depends on the rest of its batch, beyond the tolerance."""
        check_row_independence(self._what, self.score, self._features, relative=relative, absolute=absolute)
