"""The pipeline fits its schema and its model, and the model tells frauds from other payments."""

from pathlib import Path

import numpy as np
from surgetank.codec.evolution import problems
from surgetank.codec.schema_repository import project_schemas
from surgetank.serving import bundle
from surgetank.serving.onnx_model import OnnxModel

from models.train import MODELS, train, training_data
from topology.my_fraud import pipeline

SCHEMAS = Path(__file__).parents[1] / "schemas"


def test_the_events_have_the_fields_that_the_pipeline_reads() -> None:
    """Each field of the declaration is in the schema, and has a type that fits."""
    pipeline.check(project_schemas(SCHEMAS).columns(pipeline.events.schema))


def test_released_schemas_stay_readable() -> None:
    """Old and new readers and writers understand each other."""
    assert problems(SCHEMAS) == []


def test_the_model_was_trained_on_the_features_of_the_pipeline() -> None:
    """The bundle has the features of the declaration, in its order."""
    bundle.load(MODELS, pipeline.model, pipeline.model_version).check(pipeline.spec)


def test_training_makes_the_model_that_is_here(tmp_path: Path) -> None:
    """The bundle is the work of the training script, to the last bit."""
    assert train(tmp_path).manifest == bundle.load(MODELS, pipeline.model, pipeline.model_version).manifest


def test_frauds_score_higher_than_other_payments() -> None:
    """The ONNX file scores features as they come, missing values included."""
    found = bundle.load(MODELS, pipeline.model, pipeline.model_version)
    model = OnnxModel(
        found.model,
        name=found.name,
        version=found.version,
        input=found.manifest.input,
        output=found.manifest.output,
        features=pipeline.spec.names,
    )
    matrix, fraud = training_data()
    scores = model.score(matrix.astype(np.float32))
    assert np.isnan(matrix).any()
    assert np.isfinite(scores).all()
    assert np.median(scores[fraud]) > 5 * np.median(scores[~fraud])
