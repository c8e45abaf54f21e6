"""Train the models of the flights pipeline: ``python -m ops.training.flights --model flights-late-memory``.

``flights-late`` uses the schedule; ``flights-late-memory`` also uses earlier departures of the aircraft, and has
another name because its inputs differ. The training data is January to August 2013, the test data September to
December. Cancelled and diverted flights have no label and are in neither, though the running pipeline scores them. The
features are those that a worker computes (``surgetank features backfill``). The same versions of the libraries give
the same model, bit by bit.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ops.training.engines import with_engine
from ops.training.figures import figures, markdown
from ops.training.flights_schedule import flights as schedule
from surgetank.declaration import Pipeline
from surgetank.errors import ModelError
from surgetank.offline.backfill import compute_aggregates, matrices
from surgetank.offline.history import History
from surgetank.serving.bundle import Manifest, load, sha256, write
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.scikit_trees import INPUT, OUTPUT, onnx_bytes
from topology.flights import flights
from topology.recordings.flights import boarding_table, raw_flights, recording

LATE_MINUTES = 15
LAST_MONTH_OF_TRAINING = 8
COMMAND = "python -m ops.training.flights"
PIPELINES = {each.model: each for each in (schedule, flights)}
MODELS = Path(__file__).parents[2] / "topology" / "models"
PAGE = Path(__file__).with_name("flights-late.md")
DISAGREEMENT_MAX = 1e-6  # of float32 sums of a hundred leaves from float64 sums

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.bool_]


def examples(pipeline: Pipeline) -> tuple[Matrix, Labels, npt.NDArray[np.int64]]:
    """Return features float32 [n, F], late bool [n] and month int64 [n] of the flights that arrived."""
    history = History.of(recording(), pipeline)
    taken = history.topics[pipeline.events.topic]
    statistics = compute_aggregates(pipeline, history)
    matrix = np.concatenate([part for _, part in matrices(pipeline, taken, statistics)])
    # From time order to file order, which is the order of the labels.
    place = pc.index_in(boarding_table()["event_id"], value_set=taken.table["event_id"].combine_chunks())
    recorded = raw_flights()
    arrived = pc.is_valid(recorded["arr_delay"])
    recorded = recorded.filter(arrived)
    late = recorded["arr_delay"].to_numpy() >= LATE_MINUTES
    return matrix[place.filter(arrived).to_numpy()], late, recorded["month"].to_numpy().astype(np.int64)


def fit(matrix: Matrix, late: Labels) -> HistGradientBoostingClassifier:
    """Return a trained classifier: a hundred small trees, for speed.

    It uses one thread, because the summation order of several threads would change the last bits.
    """
    classifier = HistGradientBoostingClassifier(
        max_iter=100,
        learning_rate=0.08,
        max_leaf_nodes=16,
        max_depth=5,
        early_stopping=False,
        random_state=2013,
    )
    with threadpool_limits(limits=1):
        return classifier.fit(matrix, late)


def train(pipeline: Pipeline, version: str) -> tuple[Manifest, bytes]:
    """Return manifest and model. Raises RuntimeError if the conversion changed a score."""
    spec = pipeline.spec
    matrix, late, month = examples(pipeline)
    past = month <= LAST_MONTH_OF_TRAINING
    classifier = fit(matrix[past], late[past])
    model = onnx_bytes(classifier, len(spec.names))
    served = OnnxModel(model, name="flights", version="0", input=INPUT, output=OUTPUT, features=spec.names).score(
        matrix
    )
    disagreement = float(np.abs(served - classifier.predict_proba(matrix)[:, 1]).max())
    if disagreement > DISAGREEMENT_MAX:
        raise RuntimeError(f"the converted model disagrees with the trained one by {disagreement:.2e}")
    numbers: dict[str, Any] = {
        "train, January to August": figures(late[past], served[past]),
        "test, September to December": figures(late[~past], served[~past]),
    }
    chosen = "" if pipeline is schedule else f" --model {pipeline.model}"
    manifest = Manifest(
        name=pipeline.model,
        version=version,
        meaning=f"probability that the flight arrives {LATE_MINUTES} or more minutes late, if it arrives",
        features=spec.declaration(),
        fingerprint=spec.fingerprint(),
        sha256=sha256(model),
        input=INPUT,
        output=OUTPUT,
        figures=numbers,
        created_by=f"{COMMAND}{chosen} --version {version} (scikit-learn {sklearn.__version__})",
    )
    return with_engine(manifest, model, matrix), model


def page(manifests: list[Manifest]) -> str:
    """Return the figures of some models side by side as a Markdown page."""
    parts = {
        f"{each.name} {each.version}, {part}": numbers
        for each in manifests
        for part, numbers in each.figures.items()
        if part != "engine"
    }
    return markdown("Figures of " + " and ".join(f"{each.name} {each.version}" for each in manifests), parts)


def main() -> int:
    """Train; write the bundle and the page of figures, or compare with the existing bundle."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Train a model of the flights pipeline.")
    parser.add_argument("--model", choices=PIPELINES, default=schedule.model, help="the model (default: %(default)s)")
    parser.add_argument("--directory", type=Path, default=MODELS, help="folder of bundles (default: %(default)s)")
    parser.add_argument("--version", default="1", help="version to write (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the model would change")
    arguments = parser.parse_args()
    manifest, model = train(PIPELINES[arguments.model], arguments.version)
    print(page([manifest]))
    if arguments.check:
        same = load(arguments.directory, manifest.name, manifest.version).manifest.sha256 == manifest.sha256
        print("the checked-in model is this one, bit by bit" if same else "the checked-in model differs")
        return 0 if same else 1
    bundle = write(arguments.directory, manifest, model, replace=True)
    PAGE.write_text(page([each for one in PIPELINES.values() if (each := _written(arguments.directory, one))]))
    print(f"wrote {bundle.folder}: {len(model):,} bytes, sha256 {manifest.sha256}")
    return 0


def _written(directory: Path, pipeline: Pipeline) -> Manifest | None:
    """Return the manifest of the declared version of a model, None if it is not there."""
    try:
        return load(directory, pipeline.model, pipeline.model_version).manifest
    except ModelError:
        return None


if __name__ == "__main__":
    sys.exit(main())
