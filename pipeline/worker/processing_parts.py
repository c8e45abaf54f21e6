"""Builds the processing steps of a worker. Each function raises StartupError for an error of the setup."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.clock import Clock
from pipeline.codec.avro.deserializer import AvroDeserializer
from pipeline.codec.avro.serializer import AvroSerializer
from pipeline.codec.base import Deserializer
from pipeline.codec.schema_repository import SchemaRepository
from pipeline.declaration import Pipeline
from pipeline.kafka import provisioning
from pipeline.kafka.clients import MESSAGE_BYTES_MAX
from pipeline.kafka.retry import retry_until_available
from pipeline.processing.feature_log import FeatureLog
from pipeline.serving import bundle
from pipeline.serving.onnx_model import OnnxModel
from pipeline.settings import Settings
from pipeline.worker.processed_offsets import ProcessedEvents

if TYPE_CHECKING:  # compiled code is loaded only for pipelines with state
    from pipeline.processing.stateful_features import StatefulFeatures


def load_model(pipeline: Pipeline, settings: Settings, folder: Path) -> OnnxModel:
    """Return the pipeline's model, checked against its features, and that scores do not depend on the batch.

    ``folder``: the bundles, unless set otherwise.
    """
    chosen = bundle.load(
        settings.model.directory or folder, settings.model.name or pipeline.model, settings.model.version
    )
    chosen.check(pipeline.spec)
    model = OnnxModel(
        chosen.model,
        name=chosen.name,
        version=chosen.version,
        input=chosen.manifest.input,
        output=chosen.manifest.output,
        features=pipeline.spec.names,
        threads=settings.model.threads,
    )
    tolerance = chosen.manifest.tolerance
    model.check_row_independence(relative=tolerance.relative, absolute=tolerance.absolute)
    return model


def deserializers(
    pipeline: Pipeline, schemas: SchemaRepository, value_bytes_max: int
) -> tuple[Deserializer, Mapping[str, Deserializer]]:
    """Return the deserializer of the events, and those of the facts by topic; their columns fit the declaration."""
    events = AvroDeserializer(schemas, pipeline.events.schema, value_bytes_max=value_bytes_max)
    facts = {
        each.topic: AvroDeserializer(schemas, each.schema, value_bytes_max=value_bytes_max)
        for each in pipeline.table_facts
    }
    pipeline.check(events.schema)
    pipeline.check_facts({topic: each.schema for topic, each in facts.items()})
    return events, facts


def record_limits(pipeline: Pipeline, settings: Settings, clock: Clock) -> tuple[int, int]:
    """Check the topics; return the largest score and the largest dead letter, in bytes.

    Waits until the brokers are available.
    """
    recording = settings.features.record
    retry_until_available(
        lambda: provisioning.check(
            settings.kafka, pipeline, optional=False, recording=recording, drain=settings.state.drain
        ),
        clock,
    )
    limits = retry_until_available(
        lambda: provisioning.record_limits(settings.kafka, pipeline, recording=recording), clock
    )
    return (
        limits[pipeline.scores.topic] - provisioning.FRAME_BYTES,
        min(limits[pipeline.dead_letters], MESSAGE_BYTES_MAX) - provisioning.FRAME_BYTES,
    )


def processed_events(pipeline: Pipeline, settings: Settings, schemas: SchemaRepository) -> ProcessedEvents:
    """Return what finds how far events were processed, in the scores and dead letters."""
    scores = AvroDeserializer(schemas, "score", value_bytes_max=MESSAGE_BYTES_MAX)
    return ProcessedEvents(settings.kafka, pipeline, scores)


def feature_log(pipeline: Pipeline, schemas: SchemaRepository, stateful: "StatefulFeatures | None") -> FeatureLog:
    """Return the feature log of a pipeline. A pipeline without state reads no facts and needs no start offsets."""
    return FeatureLog(
        pipeline, AvroSerializer(schemas, "features"), stateful.committed if stateful is not None else lambda _: {}
    )
