"""The hand-written loop, at least once, with the engine's compiled trees in place of ONNX Runtime.

The ratio to it compares the code around the model, since both call the same loops.
"""

from pathlib import Path

from ops.bench import hand_loop
from ops.bench.contender_args import contender_args
from ops.bench.job import BUNDLE, BenchJob, Matrix
from surgetank.serving.bundle import load
from surgetank.serving.trees.compiled_trees import CompiledTrees


def compiled_trees(bundle: Path) -> CompiledTrees:
    """Return the model of a bundle's folder by compiled loops, whatever its manifest chose."""
    loaded = load(bundle.parents[1], bundle.parent.name, bundle.name)
    names = loaded.manifest
    return CompiledTrees(
        loaded.model,
        name=loaded.name,
        version=loaded.version,
        input=names.input,
        output=names.output,
        features=loaded.features,
    )


class TreesJob(BenchJob):
    """Scores whole batches of flights by compiled trees."""

    def __init__(self, pipeline: str, events_topic: str) -> None:
        self._trees = compiled_trees(BUNDLE)
        super().__init__(pipeline, events_topic)

    def infer(self, matrix: Matrix) -> Matrix:
        """Return float32 [m]."""
        return self._trees.answer(matrix)[:, -1]


if __name__ == "__main__":
    hand_loop.main(contender_args(), TreesJob)
