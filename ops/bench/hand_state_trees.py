"""The hand-written loop with state, at least once, with the engine's compiled trees in place of ONNX Runtime."""

from ops.bench import hand_state
from ops.bench.contender_args import contender_args
from ops.bench.hand_trees import compiled_trees
from ops.bench.job import Matrix
from ops.bench.payments_job import BUNDLE, PaymentsJob


class PaymentsTreesJob(PaymentsJob):
    """Scores whole batches of payments by compiled trees."""

    def __init__(self, pipeline: str, events_topic: str) -> None:
        self._trees = compiled_trees(BUNDLE)
        super().__init__(pipeline, events_topic)

    def infer(self, matrix: Matrix) -> Matrix:
        """Return float32 [m]."""
        return self._trees.answer(matrix)[:, -1]


if __name__ == "__main__":
    hand_state.main(contender_args(), PaymentsTreesJob)
