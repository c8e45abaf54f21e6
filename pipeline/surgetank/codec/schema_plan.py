"""Compares the schemas of a pipeline's topics with those of a registry, and registers what is missing."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from surgetank.codec.avro.equality import is_same_schema
from surgetank.codec.schema_ids import RegisteredSchema
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.declaration import Pipeline

COMPATIBILITY = "FULL_TRANSITIVE"  # what `surgetank schemas check` demands of the files


class SubjectStatus(StrEnum):
    """What a registry has of a schema."""

    REGISTERED = "registered"
    NEW_SUBJECT = "new subject"
    NEW_VERSION = "new version"
    REFUSED = "refused"


class Registry(Protocol):
    """The subjects of a registry. Each call may raise RegistryUnavailableError."""

    def latest(self, subject: str) -> tuple[int, int, str] | None:
        """Return the id, version and text of a subject's latest schema; None if it has none."""
        ...

    def find(self, subject: str, text: str) -> tuple[int, int] | None:
        """Return the id and version of a schema under a subject; None if it is in none of its versions."""
        ...

    def is_compatible(self, subject: str, text: str) -> bool:
        """Return whether the registry would take a schema as the next version of a subject that it has."""
        ...

    def compatibility(self, subject: str) -> str | None:
        """Return the compatibility level of a subject; None if it has none of its own."""
        ...

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set the compatibility level of a subject."""
        ...

    def register(self, subject: str, text: str) -> int:
        """Register a schema and return its id."""
        ...


@dataclass(frozen=True, slots=True)
class TopicSchema:
    """The schema of a topic's values: its name here, and its text."""

    topic: str
    name: str
    text: str

    @property
    def subject(self) -> str:
        """The name of the topic's values in the registry, by Confluent's default strategy."""
        return f"{self.topic}-value"


@dataclass(frozen=True, slots=True)
class PlannedSubject:
    """What registering a schema would change.

    ``id`` and ``version`` are those of the schema, or of the latest one before it; None if there is none. ``level`` is
    the compatibility level of the subject, None if it has none of its own, and ``wanted_level`` what it becomes.
    """

    schema: TopicSchema
    status: SubjectStatus
    id: int | None
    version: int | None
    level: str | None
    wanted_level: str

    @property
    def changes(self) -> bool:
        """Whether the registry does not have it all yet."""
        return self.status is not SubjectStatus.REGISTERED or self.level != self.wanted_level


def topic_schemas(pipeline: Pipeline, contracts: SchemaRepository, *, recording: bool) -> list[TopicSchema]:
    """Return the schemas of a pipeline's topics that are Avro: events, facts, scores, shadow scores, recorded features.

    Raises SchemaError if there is no such schema.
    """
    topics = {each.topic: each.schema for each in (pipeline.events, *pipeline.table_facts) if each.format != "json"}
    topics[pipeline.scores.topic] = pipeline.scores.schema
    topics[pipeline.shadow_scores] = "shadow_score"
    if recording:
        topics[pipeline.recorded] = "features"
    return [TopicSchema(topic, name, json.dumps(contracts.schema(name))) for topic, name in topics.items()]


def plan(registry: Registry, schemas: Iterable[TopicSchema], level: str | None) -> list[PlannedSubject]:
    """Return what is to do for each schema. ``level``: that of all subjects; None: of those that have none."""
    return [_planned(registry, each, level) for each in schemas]


def apply(registry: Registry, planned: Iterable[PlannedSubject]) -> dict[str, int]:
    """Register the schemas of a plan without a refused one, then set the levels; return the ids by subject.

    A level only affects the versions after it. Raises IncompatibleError if the registry has changed meanwhile.
    """
    ids = {}
    for each in planned:
        subject = each.schema.subject
        known = each.id if each.status is SubjectStatus.REGISTERED else None
        ids[subject] = registry.register(subject, each.schema.text) if known is None else known
        if each.level != each.wanted_level:
            registry.set_compatibility(subject, each.wanted_level)
    return ids


def _planned(registry: Registry, schema: TopicSchema, level: str | None) -> PlannedSubject:
    latest, current = registry.latest(schema.subject), registry.compatibility(schema.subject)
    wanted = level or current or COMPATIBILITY
    if latest is None:
        return PlannedSubject(schema, SubjectStatus.NEW_SUBJECT, None, None, current, wanted)
    number, version, text = latest
    if is_same_schema(RegisteredSchema("AVRO", text), RegisteredSchema("AVRO", schema.text)):
        status = SubjectStatus.REGISTERED
    elif (earlier := registry.find(schema.subject, schema.text)) is not None:  # a later version is another team's
        (number, version), status = earlier, SubjectStatus.REGISTERED
    elif registry.is_compatible(schema.subject, schema.text):
        status = SubjectStatus.NEW_VERSION
    else:
        status = SubjectStatus.REFUSED
    return PlannedSubject(schema, status, number, version, current, wanted)
