"""topology.flights and its checked-in model: they fit each other and the real data, and claim what is so."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

import topology.flights as declared
from ops.training.flights_schedule import flights
from surgetank.serving.bundle import Bundle, load
from surgetank.serving.onnx_model import OnnxModel
from topology.recordings.flights import boarding_table, raw_flights

MODELS = Path(declared.__file__).parent / "models"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The checked-in bundle."""
    return load(MODELS, flights.model)


@pytest.fixture(scope="module")
def session(bundle: Bundle) -> OnnxModel:
    """The checked-in model."""
    names = bundle.manifest
    return OnnxModel(
        bundle.model,
        name=bundle.name,
        version=bundle.version,
        input=names.input,
        output=names.output,
        features=bundle.features,
    )


@pytest.fixture(scope="module")
def columns() -> pa.RecordBatch:
    """All 336,776 boarding events."""
    (batch,) = boarding_table().combine_chunks().to_batches()
    return batch


def test_the_model_was_trained_on_the_declared_features(bundle: Bundle) -> None:
    """The bundle loads, its checksum holds, and it fits the pipeline's features."""
    bundle.check(flights.spec)
    assert bundle.features == flights.spec.names
    assert bundle.model.stat().st_size < 1_000_000


def test_the_events_have_what_the_features_read(columns: pa.RecordBatch) -> None:
    """The real boarding events have all columns, of the right types, and no feature is missing."""
    flights.spec.check(columns.schema)
    assert not np.isnan(flights.spec.matrix(columns)).any()


def test_nothing_is_known_that_a_boarding_does_not_know(columns: pa.RecordBatch) -> None:
    """No feature reads a column of the recorded outcome."""
    outcome = {
        "dep_time",
        "dep_delay",
        "arr_time",
        "arr_delay",
        "air_time",
        "dep_delay_minutes",
        "departed_at",
    }
    assert not outcome & set(flights.spec.inputs)
    assert set(flights.spec.inputs) <= set(columns.schema.names)


def test_the_vocabularies_are_those_of_the_recording(columns: pa.RecordBatch) -> None:
    """Every carrier, origin and destination of the recording is known, and no other."""
    for name, vocabulary in (
        ("carrier", declared.CARRIERS),
        ("origin", declared.ORIGINS),
        ("dest", declared.DESTINATIONS),
    ):
        assert sorted(pc.unique(columns.column(name)).to_pylist()) == list(vocabulary)


@pytest.mark.parametrize(
    ("part", "months"),
    [("train, January to August", range(1, 9)), ("test, September to December", range(9, 13))],
)
def test_the_figures_are_true(
    bundle: Bundle, session: OnnxModel, columns: pa.RecordBatch, part: str, months: range
) -> None:
    """AUC, log loss and Brier score of the manifest are those of the checked-in model on the real flights."""
    recorded = raw_flights()
    arrived = pc.is_valid(recorded["arr_delay"]).to_numpy()
    chosen = arrived & np.isin(recorded["month"].to_numpy(), list(months))
    late = pc.fill_null(recorded["arr_delay"], 0).to_numpy()[chosen] >= 15
    scores = session.score(flights.spec.matrix(columns)[chosen])
    claimed: dict[str, Any] = bundle.manifest.figures[part]
    assert claimed["rows"] == len(late)
    assert claimed["auc"] == pytest.approx(roc_auc_score(late, scores), abs=1e-6)
    assert claimed["log_loss"] == pytest.approx(log_loss(late, scores), abs=1e-6)
    assert claimed["brier"] == pytest.approx(brier_score_loss(late, scores), abs=1e-6)
    assert [band["rows"] for band in claimed["calibration"]] == [len(band) for band in np.array_split(late, 10)]


def test_the_model_says_more_than_the_average(bundle: Bundle) -> None:
    """On months that it has not seen it ranks better than chance and costs less than saying the average."""
    unseen = bundle.manifest.figures["test, September to December"]
    assert 0.60 < unseen["auc"] < 0.75
    assert unseen["log_loss"] < unseen["base_log_loss"]


def test_all_real_events_get_a_probability(session: OnnxModel, columns: pa.RecordBatch) -> None:
    """Cancelled flights and flights without a tail number too: every score is between 0 and 1."""
    scores = session.score(flights.spec.matrix(columns))
    assert len(scores) == 336_776
    assert ((scores > 0) & (scores < 1)).all()


def test_the_size_of_a_batch_does_not_change_a_score(session: OnnxModel, columns: pa.RecordBatch) -> None:
    """A flight has the same score alone and in any company, to the last bit."""
    matrix = flights.spec.matrix(columns.slice(0, 5_000))
    whole = session.score(matrix)
    for size in (1, 7, 64, 1_000):
        parts = [session.score(matrix[i : i + size]) for i in range(0, 1_000, size)]
        np.testing.assert_array_equal(np.concatenate(parts)[:1_000], whole[:1_000])


def test_missing_values_are_scored(session: OnnxModel) -> None:
    """An event of which nothing is known still gets a finite score."""
    assert np.isfinite(session.score(np.full((1, len(flights.spec.names)), np.nan, dtype=np.float32))).all()
