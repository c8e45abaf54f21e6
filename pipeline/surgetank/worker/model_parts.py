"""Builds the model of a bundle, as a worker serves it and as `surgetank score` uses it. Needs no Kafka."""

from surgetank.declaration import Pipeline
from surgetank.serving.bundle import Bundle
from surgetank.serving.onnx_model import OnnxModel
from surgetank.settings import Settings


def model_of(chosen: Bundle, pipeline: Pipeline, settings: Settings) -> OnnxModel:
    """Return the model of a bundle, checked against the features, and that scores do not depend on the batch.

    Raises ModelError, which names the first difference.
    """
    chosen.check(pipeline.spec)
    model = OnnxModel(
        chosen.model,
        name=chosen.name,
        version=chosen.version,
        input=chosen.manifest.input,
        output=chosen.manifest.output,
        features=pipeline.spec.names,
        threads=settings.model.threads,
        kind=pipeline.scores.kind,
        column=chosen.manifest.column,
        classes=chosen.manifest.classes,
        label=chosen.manifest.label,
        provider=settings.model.provider,
    )
    tolerance = chosen.manifest.tolerance
    model.check_row_independence(relative=tolerance.relative, absolute=tolerance.absolute)
    return model
