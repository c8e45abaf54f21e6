"""What a pipeline author writes: events, features, model, scores. Values only; nothing here touches the world."""

import re
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.errors import TopologyError
from pipeline.features.spec import Feature, FeatureSpec

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Events:
    """A topic of Avro events.

    ``schema`` names a file of ``schemas/`` without its ending. ``key``, ``time`` and ``id`` name fields of it: the
    field that the record key repeats (None: the key is not looked at), the event time (timestamp-millis or
    timestamp-micros), and the producer's stable identity of the event (a string).
    """

    topic: str
    schema: str
    time: str
    key: str | None = None
    id: str = "event_id"
    partitions: int = 8

    def __post_init__(self) -> None:
        _check_topic(self.topic)
        if self.partitions < 1:
            raise TopologyError(f"events {self.topic!r}: partitions is {self.partitions}; it must be 1 or more")


@dataclass(frozen=True, slots=True)
class Scores:
    """The topic of scores. It has as many partitions as the events: a score lies where its event lay."""

    topic: str

    def __post_init__(self) -> None:
        _check_topic(self.topic)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Events in, scores out.

    ``facts`` are topics of events that are not scored. ``recording`` names the function that gives recorded events
    for ``surgetank replay``, as ``package.module:function``.
    """

    name: str
    events: Events
    features: tuple[Feature, ...]
    model: str
    scores: Scores
    facts: tuple[Events, ...] = field(default=())
    recording: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise TopologyError(
                f"pipeline name {self.name!r}: use lower-case letters, digits and dashes, at most 63, a letter first"
            )
        object.__setattr__(self, "features", tuple(self.features))
        object.__setattr__(self, "facts", tuple(self.facts))
        topics = [
            self.events.topic,
            self.scores.topic,
            self.dead_letters,
            self.timeline,
            *(fact.topic for fact in self.facts),
        ]
        twice = sorted({topic for topic in topics if topics.count(topic) > 1})
        if twice:
            raise TopologyError(f"pipeline {self.name!r} uses topic {twice[0]!r} for two things; give each its own")
        _ = self.spec  # a declaration that contradicts itself fails here, at import, with the feature's name

    def check(self, schema: pa.Schema) -> None:
        """Raise TopologyError, with the field's name, unless the decoded events have what is declared of them."""
        self.spec.check(schema)
        events = self.events
        for role, name in (("id", events.id), ("time", events.time), ("key", events.key)):
            if name is not None and name not in schema.names:
                raise TopologyError(
                    f"pipeline {self.name!r}: events.{role} names field {name!r}, which schema {events.schema!r} "
                    f"does not have; it has {', '.join(schema.names)}"
                )
        if not pa.types.is_timestamp(schema.field(events.time).type):
            raise TopologyError(
                f"pipeline {self.name!r}: events.time names field {events.time!r}, which is not a timestamp"
            )

    @property
    def group(self) -> str:
        """The consumer group of the pipeline's workers."""
        return self.name

    @property
    def dead_letters(self) -> str:
        """The topic of what could not be scored."""
        return f"{self.name}.dead-letters"

    @property
    def timeline(self) -> str:
        """The topic of what happened to the pipeline: deploys, rebalances, alerts and so on."""
        return f"{self.name}.timeline"

    @property
    def spec(self) -> FeatureSpec:
        """The model's inputs, in order."""
        return FeatureSpec(self.features)


def _check_topic(topic: str) -> None:
    if not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
        raise TopologyError(f"topic {topic!r}: Kafka allows letters, digits, '.', '_' and '-', at most 249")
