"""Builds the processing steps of a worker. Each function raises StartupError for an error of the setup."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from surgetank.clock import Clock
from surgetank.codec.base import Deserializer
from surgetank.codec.formats import deserializer_of, output_serializer, registered_schemas
from surgetank.codec.schema_repository import SchemaRepository, project_schemas
from surgetank.codec.score_schema import check_score_schema, score_deserializer
from surgetank.declaration import Events, Pipeline
from surgetank.kafka import provisioning, topic_configs
from surgetank.kafka.clients import MESSAGE_BYTES_MAX
from surgetank.kafka.retry import retry_until_available
from surgetank.kafka.task_limit import TaskLimit, task_limit
from surgetank.migration.partitioners import PARTITIONERS
from surgetank.processing.event_filter import filtering
from surgetank.processing.feature_log import FeatureLog
from surgetank.processing.key_rule import KeyRule, Rekeying
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.record_compression import RecordBytes
from surgetank.records import ModelVersion
from surgetank.runtime.known_schemas_order import SchemaGate
from surgetank.serving import bundle
from surgetank.serving.onnx_model import OnnxModel
from surgetank.settings import Settings
from surgetank.telemetry.metrics import Metrics
from surgetank.worker.processed_offsets import ProcessedEvents

if TYPE_CHECKING:  # compiled code is loaded only for pipelines with state, and for projects with a schema registry
    from surgetank.codec.avro.registered_schemas import RegisteredSchemas
    from surgetank.codec.schema_lookup import SchemaLookup
    from surgetank.processing.stateful_features import StatefulFeatures


def pinned_model(pipeline: Pipeline, settings: Settings) -> ModelVersion:
    """Return the model to serve: as set, else as declared. An empty version is the only one present. Pure.

    The declared version is one of the declared model: it does not hold for another ``model.name``.
    """
    name = settings.model.name or pipeline.model
    declared = pipeline.model_version if name == pipeline.model else ""
    return ModelVersion(name, settings.model.version or declared)


def load_model(pipeline: Pipeline, settings: Settings, folder: Path) -> OnnxModel:
    """Return the pinned model, checked against the pipeline's features, and that scores do not depend on the batch.

    ``folder``: the bundles, unless set otherwise.
    """
    chosen = bundle.load(settings.model.directory or folder, *pinned_model(pipeline, settings))
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


def registered_topics(
    pipeline: Pipeline, schemas: SchemaRepository, lookup: "SchemaLookup | None"
) -> "Mapping[str, RegisteredSchemas]":
    """Return by topic the writer schemas of events and facts whose values have ids of a schema registry."""
    found = {each.topic: registered_schemas(each, schemas, lookup) for each in (pipeline.events, *pipeline.table_facts)}
    return {topic: each for topic, each in found.items() if each is not None}


def schema_gate(
    lookup: "SchemaLookup | None", topics: "Mapping[str, RegisteredSchemas]", value_bytes_max: int
) -> SchemaGate | None:
    """Return what holds records back until their schemas are known; None without a schema registry."""
    if lookup is None:
        return None
    from surgetank.codec.schema_gate import RegisteredSchemaGate

    return RegisteredSchemaGate(lookup, topics, value_bytes_max)


def check_declaration(pipeline: Pipeline, settings: Settings, folder: Path) -> OnnxModel:
    """Check what a worker needs besides Kafka: schemas with the declared fields, and a model of these features.

    ``folder``: the bundles, unless set otherwise. Returns the model.
    """
    schemas = project_schemas(settings.schemas.directory)
    deserializers(pipeline, schemas, settings.dead_letters.value_bytes_max)
    check_score_schema(schemas, pipeline)
    return load_model(pipeline, settings, folder)


def deserializers(
    pipeline: Pipeline,
    schemas: SchemaRepository,
    value_bytes_max: int,
    registered: "Mapping[str, RegisteredSchemas]" = MappingProxyType({}),
) -> tuple[Deserializer, Mapping[str, Deserializer]]:
    """Return the deserializer of the events, and those of the facts by topic; their columns fit the declaration.

    ``registered`` is what ``registered_topics`` returned.
    """

    def of(each: Events) -> Deserializer:
        writers = registered.get(each.topic)
        return filtering(deserializer_of(each, schemas, value_bytes_max=value_bytes_max, writers=writers), each.only)

    events = of(pipeline.events)
    facts = {each.topic: of(each) for each in pipeline.table_facts}
    pipeline.check(events.schema)
    pipeline.check_facts({topic: each.schema for topic, each in facts.items()})
    return events, facts


class TopicLimits(NamedTuple):
    """The largest score with its key, dead letter, and key of a row of state (None: there is no state), in bytes.

    ``rekeyed`` is the same for records that are sent to a source topic again with the right key, by topic. ``batch`` is
    the size of a batch of records that every topic takes that is written, in bytes; ``tasks`` is how many tasks the
    topics allow.
    """

    score: int
    dead_letter: RecordBytes
    key: int | None
    rekeyed: Mapping[str, RecordBytes]
    batch: int
    tasks: TaskLimit


def topic_limits(pipeline: Pipeline, settings: Settings, clock: Clock) -> TopicLimits:
    """Check the topics and return their limits, together with those of the client.

    Waits until the brokers are available.
    """
    recording = settings.features.record
    partitions = retry_until_available(
        lambda: provisioning.check(
            settings.kafka, pipeline, optional=False, recording=recording, drain=settings.state.drain
        ),
        clock,
    )
    room = retry_until_available(
        lambda: topic_configs.record_limits(settings.kafka, pipeline, recording=recording), clock
    )
    score = room[pipeline.scores.topic]
    if recording:  # a features record has what the score of the same event has, and the features
        score = min(score, room[pipeline.recorded] - topic_configs.features_extra_bytes(pipeline))
    compressed = retry_until_available(
        lambda: topic_configs.record_bytes(settings.kafka, [pipeline.dead_letters, *pipeline.rekeyed]), clock
    )
    dead_letter = compressed.pop(pipeline.dead_letters)
    tasks = task_limit(pipeline, partitions, recording=recording)
    batch = max(1, min(room[topic] for topic in (*pipeline.outputs(recording=recording), *pipeline.rekeyed)))
    return TopicLimits(score, dead_letter, _key_bytes_max(pipeline, room), compressed, batch, tasks)


def key_rules(
    pipeline: Pipeline, limits: TopicLimits, metrics: Metrics, warnings: RecordWarnings
) -> dict[str, KeyRule]:
    """Return by topic the rule for records whose key does not repeat the key field."""

    def rekeying(events: Events) -> Rekeying | None:
        if events.differing_keys != "rekey":
            return None
        return Rekeying(pipeline.name, PARTITIONERS[events.partitioner], limits.rekeyed[events.topic])

    return {
        each.topic: KeyRule(
            each, rekeying=rekeying(each), warn=bool(pipeline.changelogs), metrics=metrics, warnings=warnings
        )
        for each in (pipeline.events, *pipeline.table_facts)
        if each.key is not None
    }


def _key_bytes_max(pipeline: Pipeline, record_bytes: Mapping[str, int]) -> int | None:
    if not pipeline.changelogs:
        return None
    from surgetank.processing.largest_key import largest_key  # compiled code takes a second to load

    return largest_key(pipeline, record_bytes)


def processed_events(
    pipeline: Pipeline, settings: Settings, schemas: SchemaRepository, lookup: "SchemaLookup | None"
) -> ProcessedEvents:
    """Return what finds how far events were processed, in the scores and dead letters."""
    scores = score_deserializer(schemas, pipeline, lookup, value_bytes_max=MESSAGE_BYTES_MAX)
    return ProcessedEvents(settings.kafka, pipeline, scores)


def feature_log(
    pipeline: Pipeline,
    settings: Settings,
    schemas: SchemaRepository,
    lookup: "SchemaLookup | None",
    stateful: "StatefulFeatures | None",
) -> FeatureLog | None:
    """Return the feature log of a pipeline; None if features are not recorded.

    A pipeline without state reads no facts and needs no start offsets.
    """
    if not settings.features.record:
        return None
    serializer = output_serializer("features", pipeline.recorded, schemas, settings, lookup)
    return FeatureLog(pipeline, serializer, stateful.committed if stateful is not None else lambda _: {})
