"""Builds the model of a bundle, as a worker serves it and as `surgetank score` uses it. Needs no Kafka."""

from surgetank.declaration import Pipeline
from surgetank.serving.bundle import Bundle
from surgetank.serving.model_engine import ServedModel, open_model
from surgetank.settings import Settings


def model_of(chosen: Bundle, pipeline: Pipeline, settings: Settings) -> ServedModel:
    """Return the model of a bundle, checked against the features, and that scores do not depend on the batch.

    Raises ModelError, which names the first difference.
    """
    chosen.check(pipeline.spec)
    model = open_model(
        chosen,
        pipeline.spec.names,
        kind=pipeline.scores.kind,
        threads=settings.model.threads,
        provider=settings.model.provider,
    )
    tolerance = chosen.manifest.tolerance
    model.check_row_independence(relative=tolerance.relative, absolute=tolerance.absolute)
    return model
