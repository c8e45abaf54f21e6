"""surgetank.worker.processing_parts: what a worker checks when it loads its model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ops.training.flights import MODELS
from ops.training.flights_schedule import flights
from surgetank.errors import ModelError, SettingsError
from surgetank.serving import bundle
from surgetank.serving.bundle import Manifest, Tolerance
from surgetank.serving.model_engine import ServedModel
from surgetank.serving.onnx_model import OnnxModel
from surgetank.settings import Settings
from surgetank.settings.models import ModelSettings
from surgetank.worker.processing_parts import load_model, pinned_model
from tests.support import misbehaving_models


def serving(version: str, name: str = "") -> Settings:
    """Return the settings of a worker that serves this version."""
    return Settings(model=ModelSettings(name=name, version=version))


@pytest.mark.parametrize(
    ("declared", "settings", "pinned"),
    [
        ("1", Settings(), "1"),
        ("1", serving("2"), "2"),
        ("", serving("2"), "2"),
        ("", Settings(), ""),
        ("1", serving("", name=flights.model), "1"),
        ("1", serving("", name="another"), ""),  # the declared version is one of the declared model
        ("1", serving("2", name="another"), "2"),
    ],
)
def test_a_worker_serves_the_version_that_is_set_else_the_declared_one(
    declared: str, settings: Settings, pinned: str
) -> None:
    """Neither: the only one present, which the folder of bundles tells."""
    name = settings.model.name or flights.model
    assert pinned_model(replace(flights, model_version=declared), settings) == (name, pinned)


def labels_of(model: ServedModel) -> tuple[str, ...]:
    """Return the labels of a model that ONNX Runtime computes."""
    assert isinstance(model, OnnxModel)
    return model.labels


def test_a_version_appears_beside_the_one_that_is_served(tmp_path: Path) -> None:
    """A restart serves the pinned version still; where none is pinned it serves none of the two."""
    misbehaving_models.publish(tmp_path, "1", misbehaving_models.good())
    pinned, open_ended = replace(flights, model_version="1"), replace(flights, model_version="")
    assert load_model(open_ended, Settings(), tmp_path).version == "1"

    misbehaving_models.publish(tmp_path, "2", misbehaving_models.good())

    assert load_model(pinned, Settings(), tmp_path).version == "1"
    assert load_model(open_ended, serving("2"), tmp_path).version == "2"
    with pytest.raises(ModelError, match="the versions 1, 2; name the one to serve"):
        load_model(open_ended, Settings(), tmp_path)


def test_a_worker_loads_no_model_whose_scores_depend_on_the_batch(tmp_path: Path) -> None:
    """Unless the manifest of its bundle tolerates the difference."""
    model = misbehaving_models.subtracts_the_mean_of_the_batch()
    refused = misbehaving_models.publish(tmp_path, "1", model)
    with pytest.raises(ModelError, match="depends on the rest of its batch"):
        load_model(flights, Settings(), tmp_path)

    tolerant = refused.manifest.model_copy(update={"version": "2", "tolerance": Tolerance(relative=1.0, absolute=1e6)})
    bundle.write(tmp_path, tolerant, model)

    assert load_model(flights, serving("2"), tmp_path).version == "2"


def test_a_worker_scores_by_the_engine_of_the_manifest(tmp_path: Path) -> None:
    """The checked-in model by compiled trees; a manifest that asks for them without trees is refused with the cause."""
    assert load_model(flights, Settings(), MODELS).engine == "compiled-trees"
    published = misbehaving_models.publish(tmp_path, "1", misbehaving_models.good())
    assert load_model(flights, Settings(), tmp_path).engine == "onnxruntime"

    asks = published.manifest.model_copy(update={"engine": "compiled-trees"})
    bundle.write(tmp_path, asks, misbehaving_models.good(), replace=True)

    with pytest.raises(ModelError, match="asks for the engine 'compiled-trees', which cannot score this graph: an op"):
        load_model(flights, Settings(), tmp_path)


def test_a_worker_loads_no_model_of_other_features(tmp_path: Path) -> None:
    """The message names the first difference."""
    misbehaving_models.publish(tmp_path, "1", misbehaving_models.good())
    fewer = replace(flights, features=flights.features[:-1])

    with pytest.raises(ModelError, match="does not declare"):
        load_model(fewer, Settings(), tmp_path)


def test_the_declaration_and_the_manifest_say_what_the_score_is(tmp_path: Path) -> None:
    """Of three outputs the manifest names one and its column; names of inputs and classes may be left out."""
    misbehaving_models.publish(tmp_path, "1", misbehaving_models.three_classes())
    by_kind = {kind: replace(flights, scores=replace(flights.scores, kind=kind)) for kind in ("vector", "label")}

    with pytest.raises(ModelError, match=r"it has no output 'score'"):
        load_model(flights, Settings(), tmp_path)
    written = bundle.load(tmp_path, flights.model).manifest
    silent = {each: value for each, value in written.model_dump().items() if each not in {"input", "output"}}
    model = misbehaving_models.three_classes()
    bundle.write(tmp_path, Manifest(**silent), model, replace=True)
    with pytest.raises(ModelError, match=r"to one of 'early', 'on time', 'late', or declare"):
        load_model(flights, Settings(), tmp_path)
    assert labels_of(load_model(by_kind["vector"], Settings(), tmp_path)) == ()
    assert labels_of(load_model(by_kind["label"], Settings(), tmp_path)) == ("early", "on time", "late")

    bundle.write(tmp_path, Manifest(**silent | {"version": "2", "column": "late"}), model)
    row = np.ones((1, len(flights.spec.names)), dtype=np.float32)
    number = load_model(flights, serving("2"), tmp_path).score(row)
    assert number.tolist() == load_model(by_kind["vector"], serving("2"), tmp_path).score(row)[:, 2].tolist()


def test_a_worker_does_not_start_without_the_execution_provider_that_is_set(tmp_path: Path) -> None:
    """The message says what to install."""
    misbehaving_models.publish(tmp_path, "1", misbehaving_models.good())
    on_device = Settings(model=ModelSettings(provider="OpenVINO"))
    with pytest.raises(SettingsError, match="install onnxruntime-openvino"):
        load_model(flights, on_device, tmp_path)
