"""Choose the engine of the checked-in bundles again, without training: ``python -m ops.training.engines``.

ONNX files stay as they are; only ``engine`` in the manifests and its figures are written.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgetank.serving.bundle import Manifest, load, write
from surgetank.serving.engine_choice import choose_engine

ROWS = 20_000
Matrix = npt.NDArray[np.float32]


def with_engine(manifest: Manifest, model: bytes, matrix: Matrix) -> Manifest:
    """Return a manifest with the engine that was chosen on rows of ``matrix``, float32 [n, F]; print the reason."""
    rows = matrix[np.random.default_rng(5).permutation(len(matrix))[:ROWS]]
    choice = choose_engine(
        model,
        input=manifest.input,
        output=manifest.output,
        features=[feature["name"] for feature in manifest.features],
        tolerance=manifest.tolerance,
        rows=rows,
    )
    print(f"{manifest.name} {manifest.version}: {choice.reason}")
    return choice.written_to(manifest)


def main() -> int:
    """Choose for each checked-in bundle, and write its manifest."""
    from ops.bench.payments import payments as pipeline
    from ops.training import flights, payments

    def of_flights(name: str) -> Callable[[], Matrix]:
        return lambda: flights.examples(flights.PIPELINES[name])[0]

    bundles: list[tuple[Path, str, Callable[[], Matrix]]] = [
        *((flights.MODELS, name, of_flights(name)) for name in flights.PIPELINES),
        (payments.MODELS, pipeline.model, lambda: payments.examples()[0]),
    ]
    for directory, name, matrix in bundles:
        bundle = load(directory, name)
        model = bundle.model.read_bytes()
        write(directory, with_engine(bundle.manifest, model, matrix()), model, replace=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
