"""The checked-in model with memory: trained on what the offline features say, and better than the one without."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

import topology.flights as declared
from ops.training import flights_schedule as schedule
from ops.training.flights import LATE_MINUTES, examples
from surgetank.serving.bundle import Bundle, load
from surgetank.serving.onnx_model import OnnxModel
from topology.flights import flights
from topology.recordings.flights import raw_flights

MODELS = Path(declared.__file__).parent / "models"
UNSEEN = "test, September to December"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The checked-in bundle."""
    return load(MODELS, flights.model)


@pytest.fixture(scope="module")
def scored(bundle: Bundle) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """The scores, the labels and the months of all flights that arrived."""
    matrix, late, month = examples(flights)
    names = bundle.manifest
    session = OnnxModel(
        bundle.model,
        name=bundle.name,
        version=bundle.version,
        input=names.input,
        output=names.output,
        features=bundle.features,
    )
    return session.score(matrix), late, month


def test_it_is_what_the_pipeline_declares(bundle: Bundle) -> None:
    """It fits the pipeline that is served; the model of the schedule alone is another one, and fits its own."""
    bundle.check(flights.spec)
    assert load(MODELS, schedule.flights.model).version == "1"
    load(MODELS, schedule.flights.model).check(schedule.flights.spec)


def test_the_labels_are_those_of_their_flights() -> None:
    """Features come in the order of time and labels in that of the file: each row is one flight's."""
    matrix, late, month = examples(schedule.flights)
    recorded = raw_flights().filter(pc.is_valid(raw_flights()["arr_delay"]))
    np.testing.assert_array_equal(matrix[:, schedule.flights.spec.names.index("distance")], recorded["distance"])
    np.testing.assert_array_equal(late, recorded["arr_delay"].to_numpy() >= LATE_MINUTES)
    np.testing.assert_array_equal(month, recorded["month"])


@pytest.mark.parametrize(
    ("part", "first", "last"), [("train, January to August", 1, 8), ("test, September to December", 9, 12)]
)
def test_the_figures_are_true(
    bundle: Bundle,
    scored: tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.int64]],
    part: str,
    first: int,
    last: int,
) -> None:
    """Those of the manifest are those of the checked-in model on the features that are computed offline today."""
    scores, late, month = scored
    chosen = (first <= month) & (month <= last)
    claimed = bundle.manifest.figures[part]
    assert claimed["rows"] == chosen.sum()
    assert claimed["auc"] == pytest.approx(roc_auc_score(late[chosen], scores[chosen]), abs=1e-6)
    assert claimed["log_loss"] == pytest.approx(log_loss(late[chosen], scores[chosen]), abs=1e-6)
    assert claimed["brier"] == pytest.approx(brier_score_loss(late[chosen], scores[chosen]), abs=1e-6)


def test_memory_is_worth_something(bundle: Bundle) -> None:
    """On months that neither has seen it ranks better than the schedule alone, and its probabilities cost less."""
    without = load(MODELS, schedule.flights.model).manifest.figures[UNSEEN]
    with_memory = bundle.manifest.figures[UNSEEN]
    assert with_memory["auc"] > without["auc"] + 0.01
    assert with_memory["log_loss"] < without["log_loss"] - 0.01
