"""surgetank.worker.processing_parts: what a worker checks when it loads its model."""

from dataclasses import replace
from pathlib import Path

import pytest

from ops.training.flights_schedule import flights
from surgetank.errors import ModelError
from surgetank.serving import bundle
from surgetank.serving.bundle import Tolerance
from surgetank.settings import Settings
from surgetank.worker.processing_parts import load_model
from tests.support import misbehaving_models


def test_a_worker_loads_no_model_whose_scores_depend_on_the_batch(tmp_path: Path) -> None:
    """Unless the manifest of its bundle tolerates the difference."""
    model = misbehaving_models.subtracts_the_mean_of_the_batch()
    refused = misbehaving_models.publish(tmp_path, "1", model)
    with pytest.raises(ModelError, match="depends on the rest of its batch"):
        load_model(flights, Settings(), tmp_path)

    tolerant = refused.manifest.model_copy(update={"version": "2", "tolerance": Tolerance(relative=1.0, absolute=1e6)})
    bundle.write(tmp_path, tolerant, model)

    assert load_model(flights, Settings(), tmp_path).version == "2"


def test_a_worker_loads_no_model_of_other_features(tmp_path: Path) -> None:
    """The message names the first difference."""
    misbehaving_models.publish(tmp_path, "1", misbehaving_models.good())
    fewer = replace(flights, features=flights.features[:-1])

    with pytest.raises(ModelError, match="does not declare"):
        load_model(fewer, Settings(), tmp_path)
