"""Builds what reads and writes the values of a worker's topics, with the ids of a schema registry if there is one."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from surgetank.clock import Clock
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.base import Deserializer
from surgetank.codec.formats import deserializer_of, output_serializer, registered_schemas, schema_lookup
from surgetank.codec.schema_repository import SchemaRepository, project_schemas
from surgetank.codec.score_schema import score_deserializer, score_serializer
from surgetank.declaration import Events, Pipeline
from surgetank.kafka.clients import MESSAGE_BYTES_MAX
from surgetank.processing.event_filter import filtering
from surgetank.processing.feature_log import FeatureLog
from surgetank.processing.shadow_records import SHADOW_SCORE, ShadowWriter
from surgetank.runtime.known_schemas_order import SchemaGate
from surgetank.settings import Settings
from surgetank.worker.processed_offsets import ProcessedEvents

if TYPE_CHECKING:  # compiled code is loaded only for pipelines with state, and for projects with a schema registry
    from surgetank.codec.formats import RegisteredTopic
    from surgetank.codec.schema_lookup import SchemaLookup
    from surgetank.processing.stateful_features import StatefulFeatures


@dataclass(frozen=True, slots=True)
class WireParts:
    """The deserializer of the events, those of the facts by topic, and the serializer of the scores.

    ``gate`` holds records back until their schemas are known; None without a schema registry.
    """

    events: Deserializer
    facts: Mapping[str, Deserializer]
    scores: AvroSerializer
    gate: SchemaGate | None
    _pipeline: Pipeline
    _settings: Settings
    _schemas: SchemaRepository
    _lookup: "SchemaLookup | None"

    def processed_events(self) -> ProcessedEvents:
        """Return what finds how far events were processed, in the scores and dead letters."""
        scores = score_deserializer(self._schemas, self._pipeline, self._lookup, value_bytes_max=MESSAGE_BYTES_MAX)
        return ProcessedEvents(self._settings.kafka, self._pipeline, scores)

    def shadow_writer(self) -> ShadowWriter:
        """Return what writes the records of the shadow topic. Waits for a schema registry as ``output_serializer``."""
        topic = self._pipeline.shadow_scores
        serializer = output_serializer(SHADOW_SCORE, topic, self._schemas, self._settings, self._lookup)
        return ShadowWriter(self._pipeline, serializer)

    def feature_log(self, stateful: "StatefulFeatures | None") -> FeatureLog | None:
        """Return the feature log of the pipeline; None if features are not recorded.

        A pipeline without state reads no facts and needs no start offsets.
        """
        if not self._settings.features.record:
            return None
        topic = self._pipeline.recorded
        serializer = output_serializer("features", topic, self._schemas, self._settings, self._lookup)
        return FeatureLog(self._pipeline, serializer, stateful.committed if stateful is not None else lambda _: {})


def wire_parts(pipeline: Pipeline, settings: Settings, clock: Clock) -> WireParts:
    """Return the parts of a worker. Raises SchemaError and TopologyError for schemas that do not fit the declaration.

    Waits for a schema registry that is unavailable, unless the id of the scores is known.
    """
    schemas, bytes_max = project_schemas(settings.schemas.directory), settings.dead_letters.value_bytes_max
    lookup = schema_lookup(settings, clock)
    registered = _registered_topics(pipeline, schemas, lookup)
    events, facts = deserializers(pipeline, schemas, bytes_max, registered)
    scores = score_serializer(schemas, pipeline, settings, lookup)
    gate = _schema_gate(lookup, registered, bytes_max)
    return WireParts(events, facts, scores, gate, pipeline, settings, schemas, lookup)


def deserializers(
    pipeline: Pipeline,
    schemas: SchemaRepository,
    value_bytes_max: int,
    registered: "Mapping[str, RegisteredTopic]" = MappingProxyType({}),
) -> tuple[Deserializer, Mapping[str, Deserializer]]:
    """Return the deserializer of the events, and those of the facts by topic; their columns fit the declaration.

    ``registered`` are the writer schemas of topics with ids of a schema registry.
    """

    def of(each: Events) -> Deserializer:
        writers = registered.get(each.topic)
        return filtering(deserializer_of(each, schemas, value_bytes_max=value_bytes_max, writers=writers), each.only)

    events = of(pipeline.events)
    facts = {each.topic: of(each) for each in pipeline.table_facts}
    pipeline.check(events.schema)
    pipeline.check_facts({topic: each.schema for topic, each in facts.items()})
    return events, facts


def _registered_topics(
    pipeline: Pipeline, schemas: SchemaRepository, lookup: "SchemaLookup | None"
) -> "Mapping[str, RegisteredTopic]":
    """Return by topic the writer schemas of events and facts whose values have ids of a schema registry."""
    found = {each.topic: registered_schemas(each, schemas, lookup) for each in (pipeline.events, *pipeline.table_facts)}
    return {topic: each for topic, each in found.items() if each is not None}


def _schema_gate(
    lookup: "SchemaLookup | None", topics: "Mapping[str, RegisteredTopic]", value_bytes_max: int
) -> SchemaGate | None:
    """Return what holds records back until their schemas are known; None without a schema registry."""
    if lookup is None:
        return None
    from surgetank.codec.schema_gate import RegisteredSchemaGate

    return RegisteredSchemaGate(lookup, topics, value_bytes_max)
