"""Make versions of the flights model for rollouts in tests and demo: ``python -m ops.training.rollout_models``.

All are versions of one model and read the same features, so that each can replace each. They lie in a folder of their
own, ops/training/rollout-models/: workers of the flights pipeline find one version only in topology/models/.

| version | |
|---|---|
| boosting | gradient-boosted trees, the model of topology/models |
| logistic | a logistic regression |
| network | a neural network of two hidden layers |
| shuffled | bad: trees that were trained with shuffled labels; the scores hardly differ from flight to flight |
| inverted | bad: trees that were trained with inverted labels; late flights have low scores |
| slow | good but slow: the scores of boosting, about 1.5 ms a row |

The figures of each, on months that no training saw, are in its manifest.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ops.training.encoded_inputs import Encoding, Labels, Matrix, fit_encoding
from ops.training.figures import figures
from ops.training.flights import LAST_MONTH_OF_TRAINING, MODELS, PIPELINES, examples
from ops.training.flights_schedule import flights as schedule
from ops.training.graphs import network_bytes, slowed
from surgetank.declaration import Pipeline
from surgetank.serving.bundle import Bundle, Manifest, load, sha256, write
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.scikit_trees import INPUT, OUTPUT, onnx_bytes

COMMAND = "python -m ops.training.rollout_models"
FOLDER = Path(__file__).with_name("rollout-models")
GOOD = ("boosting", "logistic", "network")
BAD = ("shuffled", "inverted")
SLOW = "slow"
VERSIONS = (*GOOD, *BAD, SLOW)

_SEED = 2013
_ROWS = 60_000  # of the training rows, for the models that take longer with more
_HIDDEN = (32, 16)
_CHECKED_ROWS = 200  # of the slow model
_DISAGREEMENT_MAX = 1e-5


def rollout_bundles(directory: Path, pipeline: Pipeline = schedule) -> dict[str, Bundle]:
    """Train all versions for a flights pipeline and write their bundles, replacing those there; return them by version.

    Takes some seconds. The same versions of the libraries give the same models, bit by bit.
    """
    return {each.version: write(directory, each, model, replace=True) for each, model in trained(pipeline)}


def trained(pipeline: Pipeline) -> Iterator[tuple[Manifest, bytes]]:
    """Yield manifest and model of each version. Raises RuntimeError if a conversion changed a score."""
    base = load(MODELS, pipeline.model, pipeline.model_version)
    matrix, late, month = examples(pipeline)
    past = month <= LAST_MONTH_OF_TRAINING
    some = np.random.default_rng(_SEED).permutation(np.flatnonzero(past))[:_ROWS]
    categories = {
        place: len(each["vocabulary"])
        for place, each in enumerate(pipeline.spec.declaration())
        if each["kind"] == "Category"
    }
    width = matrix.shape[1]
    boosting = base.model.read_bytes()
    encoding = fit_encoding(matrix[past], late[past], categories)
    yield _bundle(pipeline, "boosting", boosting, matrix[~past], late[~past])
    yield _bundle(pipeline, "logistic", _logistic(encoding, matrix[some], late[some]), matrix[~past], late[~past])
    yield _bundle(pipeline, "network", _network(encoding, matrix[some], late[some]), matrix[~past], late[~past])
    shuffled = np.random.default_rng(_SEED).permutation(late[some])
    for version, labels in (("shuffled", shuffled), ("inverted", ~late[some])):
        yield _bundle(pipeline, version, onnx_bytes(_trees(matrix[some], labels), width), matrix[~past], late[~past])
    slow, rows = slowed(boosting, width), matrix[~past][:_CHECKED_ROWS]
    if not np.array_equal(_scores(pipeline, slow, rows), _scores(pipeline, boosting, rows)):
        raise RuntimeError("the slow model has other scores than the model that it is made of")
    yield _bundle(pipeline, SLOW, slow, matrix[~past], late[~past], scored_by=boosting)


def _logistic(encoding: Encoding, matrix: Matrix, late: Labels) -> bytes:
    with threadpool_limits(limits=1):
        fitted = LogisticRegression(max_iter=200).fit(encoding.encode(matrix), late)
    model = network_bytes(encoding, [(fitted.coef_.T, fitted.intercept_)], matrix.shape[1])
    return _checked(model, matrix, fitted.predict_proba(encoding.encode(matrix))[:, 1])


def _network(encoding: Encoding, matrix: Matrix, late: Labels) -> bytes:
    network = MLPClassifier(_HIDDEN, batch_size=512, learning_rate_init=0.002, max_iter=8, random_state=_SEED)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # eight rounds are enough, and always the same
        fitted = network.fit(encoding.encode(matrix), late)
    model = network_bytes(encoding, list(zip(fitted.coefs_, fitted.intercepts_, strict=True)), matrix.shape[1])
    return _checked(model, matrix, fitted.predict_proba(encoding.encode(matrix))[:, 1])


def _trees(matrix: Matrix, late: Labels) -> HistGradientBoostingClassifier:
    classifier = HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=16, max_depth=5, early_stopping=False, random_state=_SEED
    )
    with threadpool_limits(limits=1):
        return classifier.fit(matrix, late)


def _checked(model: bytes, matrix: Matrix, expected: Any) -> bytes:
    served = OnnxModel(
        model, name="checked", version="0", input=INPUT, output=OUTPUT, features=[""] * matrix.shape[1]
    ).score(matrix)
    disagreement = float(np.abs(served - expected).max())
    if disagreement > _DISAGREEMENT_MAX:
        raise RuntimeError(f"the converted model disagrees with the trained one by {disagreement:.2e}")
    return model


def _scores(pipeline: Pipeline, model: bytes, matrix: Matrix) -> Any:
    names = pipeline.spec.names
    return OnnxModel(model, name=pipeline.model, version="0", input=INPUT, output=OUTPUT, features=names).score(matrix)


def _bundle(
    pipeline: Pipeline, version: str, model: bytes, matrix: Matrix, late: Labels, *, scored_by: bytes | None = None
) -> tuple[Manifest, bytes]:
    """Return manifest and model; the figures are those of ``scored_by``, whose scores are the same, if it is given."""
    spec = pipeline.spec
    measured = figures(late, _scores(pipeline, model if scored_by is None else scored_by, matrix))
    del measured["calibration"]
    chosen = "" if pipeline is schedule else f" --model {pipeline.model}"
    manifest = Manifest(
        name=pipeline.model,
        version=version,
        meaning="probability that the flight arrives 15 or more minutes late, if it arrives; for tests of a rollout",
        features=spec.declaration(),
        fingerprint=spec.fingerprint(),
        sha256=sha256(model),
        input=INPUT,
        output=OUTPUT,
        figures={"test, September to December": measured},
        created_by=f"{COMMAND}{chosen} (scikit-learn {sklearn.__version__})",
    )
    return manifest, model


def main() -> int:
    """Train and write all versions, or compare them with those there."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Make versions of the flights model for a rollout.")
    parser.add_argument("--model", choices=PIPELINES, default=schedule.model, help="the model (default: %(default)s)")
    parser.add_argument("--directory", type=Path, default=FOLDER, help="folder of bundles (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a model would change")
    arguments = parser.parse_args()
    differing = []
    for manifest, model in trained(PIPELINES[arguments.model]):
        (measured,) = manifest.figures.values()
        quality = f"AUC {measured['auc']:.4f}, log loss {measured['log_loss']:.4f}"
        print(f"{manifest.version:9} {len(model):7,} bytes, {quality}")
        if not arguments.check:
            write(arguments.directory, manifest, model, replace=True)
        elif load(arguments.directory, manifest.name, manifest.version).manifest.sha256 != manifest.sha256:
            differing.append(manifest.version)
    if arguments.check:
        print(f"these differ: {', '.join(differing)}" if differing else "the checked-in models are these, bit by bit")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
