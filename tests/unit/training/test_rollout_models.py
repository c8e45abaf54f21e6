"""The versions of the flights model for rollouts: they replace each other, and are as good and as bad as they say."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ops.training.encoded_inputs import Encoding, fit_encoding
from ops.training.flights import MODELS
from ops.training.flights_schedule import flights
from ops.training.graphs import network_bytes
from ops.training.rollout_models import BAD, FOLDER, GOOD, SLOW, VERSIONS
from surgetank.serving.bundle import Bundle, load
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.scikit_trees import INPUT, OUTPUT
from tests.support.flight_features import flight_features

FILE_BYTES_MAX = 200_000


@pytest.fixture(scope="module")
def bundles() -> Mapping[str, Bundle]:
    """The checked-in bundles by version."""
    return {version: load(FOLDER, flights.model, version) for version in VERSIONS}


def opened(bundle: Bundle) -> OnnxModel:
    """Return the model of a bundle."""
    return OnnxModel(
        bundle.model,
        name=bundle.name,
        version=bundle.version,
        input=bundle.manifest.input,
        output=bundle.manifest.output,
        features=bundle.features,
    )


def test_all_versions_fit_the_pipeline(bundles: Mapping[str, Bundle]) -> None:
    """The scores of each depend on the event alone; the files are small."""
    for bundle in bundles.values():
        bundle.check(flights.spec)
        assert bundle.model.stat().st_size < FILE_BYTES_MAX
        tolerance = bundle.manifest.tolerance
        opened(bundle).check_row_independence(relative=tolerance.relative, absolute=tolerance.absolute)
    boosting = load(MODELS, flights.model, flights.model_version)
    assert bundles["boosting"].manifest.sha256 == boosting.manifest.sha256


def test_the_figures_tell_good_versions_from_bad_ones(bundles: Mapping[str, Bundle]) -> None:
    """Each good one is better than the share of late flights; the bad ones are not."""
    figures = {version: bundle.manifest.figures["test, September to December"] for version, bundle in bundles.items()}
    for version in GOOD:
        assert figures[version]["auc"] > 0.6
        assert figures[version]["log_loss"] < figures[version]["base_log_loss"]
    for version in BAD:
        assert figures[version]["auc"] < 0.56
        assert figures[version]["log_loss"] > figures[version]["base_log_loss"]
    assert figures[SLOW] == figures["boosting"]


def test_good_versions_differ_and_the_slow_one_does_not(bundles: Mapping[str, Bundle]) -> None:
    """Two good models agree on most flights and not on the number."""
    rows = flight_features(300)
    scores = {version: opened(bundle).score(rows) for version, bundle in bundles.items() if version != SLOW}
    for one in GOOD:
        for other in GOOD:
            agreement = np.corrcoef(scores[one], scores[other])[0, 1]
            assert one == other or 0.2 < agreement < 0.98
            assert one == other or np.abs(scores[one] - scores[other]).mean() > 0.005
    assert scores["inverted"].mean() > scores["boosting"].mean() + 0.3
    np.testing.assert_array_equal(opened(bundles[SLOW]).score(rows[:20]), scores["boosting"][:20])


LATE = np.arange(300) % 3 == 0
ENCODING = fit_encoding(flight_features(300), LATE, {0: 16, 1: 3, 2: 105})
ODD = st.floats(width=32) | st.integers(-2, 200).map(float)


def graph_of(encoding: Encoding) -> OnnxModel:
    """Return a model whose score tells the encoded inputs apart: each has another weight."""
    weights = 2.0 ** -np.arange(encoding.width)[:, None]
    model = network_bytes(encoding, [(weights, np.zeros(1))], 8)
    return OnnxModel(model, name="m", version="1", input=INPUT, output=OUTPUT, features=flights.spec.names)


GRAPH = graph_of(ENCODING)


@given(hnp.arrays(np.float32, (4, 8), elements=ODD))
def test_a_graph_encodes_as_training_did(matrix: npt.NDArray[np.float32]) -> None:
    """Missing values, unknown categories and infinite numbers included."""
    encoded = ENCODING.encode(matrix).astype(np.float64)
    expected = 1 / (1 + np.exp(-encoded @ 2.0 ** -np.arange(ENCODING.width)))
    assert np.isfinite(encoded).all()
    np.testing.assert_allclose(GRAPH.score(matrix), expected, atol=1e-6)
