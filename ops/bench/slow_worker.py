"""Surgetank on the flights pipeline with a slow model: flights-late, and 2 ms more for each row.

The calling thread sleeps for that time, as it would wait for a device or a server. The trial calls at the start of the
worker stay fast.
"""

import time
from concurrent.futures import Future

from ops.bench.contender_args import contender_args
from ops.bench.job import BUNDLE
from ops.bench.surgetank_worker import pipeline, settings
from surgetank.serving.model import Float32s, Float64s
from surgetank.serving.onnx_model import OnnxModel

ROW_SECONDS = 0.002


def install() -> None:
    """Make each call of a model slow from now on."""
    submit = OnnxModel.submit

    def slow(model: OnnxModel, matrix: Float32s) -> Future[Float64s]:
        time.sleep(ROW_SECONDS * len(matrix))
        return submit(model, matrix)

    setattr(OnnxModel, "submit", slow)  # noqa: B010 - a plain assignment is an error of types


if __name__ == "__main__":
    from surgetank import app

    install()
    arguments = contender_args()
    app.run(pipeline(arguments), settings(arguments), models=BUNDLE.parents[1])
