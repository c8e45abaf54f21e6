"""What a pipeline author writes: events, features, model, scores. Values only; nothing here touches the world."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.errors import TopologyError
from pipeline.features.spec import FeatureSpec, Input
from pipeline.features.tables import TableState, table_states

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
PREDICTIONS = "predictions"  # the table of each key's last score


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

    ``facts`` are topics of events that are not scored; those that feed a table need not be named again.
    ``predictions``: whether the last score of each key is kept in a table; by default where there are tables anyway.
    ``recording`` names the function that gives recorded events for ``surgetank replay``, as
    ``package.module:function``.
    """

    name: str
    events: Events
    features: tuple[Input, ...]
    model: str
    scores: Scores
    facts: tuple[Events, ...] = field(default=())
    predictions: bool | None = None
    recording: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise TopologyError(
                f"pipeline name {self.name!r}: use lower-case letters, digits and dashes, at most 63, a letter first"
            )
        object.__setattr__(self, "features", tuple(self.features))
        _ = self.spec  # a declaration that contradicts itself fails here, at import, with the feature's name
        object.__setattr__(self, "facts", tuple(dict.fromkeys((*self.facts, *self.feeds))))
        topics = [
            self.events.topic,
            self.scores.topic,
            self.dead_letters,
            self.timeline,
            self.upkeep,
            self.recorded,
            *(fact.topic for fact in self.facts),
            *self.changelogs.values(),
        ]
        twice = sorted({topic for topic in topics if topics.count(topic) > 1})
        if twice:
            raise TopologyError(f"pipeline {self.name!r} uses topic {twice[0]!r} for two things; give each its own")
        for topic in self.changelogs.values():
            _check_topic(topic)
        self._check_tables()

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

    def check_facts(self, schemas: Mapping[str, pa.Schema]) -> None:
        """Raise TopologyError unless the decoded facts, given by topic, have what the tables take of them."""
        for memory in self.memories:
            if memory.table.facts is not None:
                memory.check(schemas[memory.table.facts.topic])

    @property
    def memories(self) -> tuple[TableState, ...]:
        """The tables of features, in the order of first use."""
        return table_states(self.features)

    @property
    def feeds(self) -> tuple[Events, ...]:
        """The facts that feed tables: a task reads them beside its events."""
        facts = (memory.table.facts for memory in self.memories)
        return tuple(dict.fromkeys(each for each in facts if isinstance(each, Events)))

    def feed_of(self, memory: TableState) -> Events:
        """Return what feeds a table: its facts, or the pipeline's own events."""
        return next((each for each in self.feeds if each == memory.table.facts), self.events)

    def outputs(self, *, recording: bool) -> tuple[str, ...]:
        """Return the topics that the partitions of a task's number are written to; ``recording``: features too."""
        recorded = (self.recorded,) if recording else ()
        return (self.scores.topic, self.dead_letters, *recorded, *self.changelogs.values())

    @property
    def sources(self) -> tuple[str, ...]:
        """The topics that a task reads, the events first."""
        return (self.events.topic, *(fact.topic for fact in self.feeds))

    @property
    def keeps_predictions(self) -> bool:
        """Whether the last score of each key is kept."""
        return bool(self.memories) if self.predictions is None else self.predictions

    @property
    def changelogs(self) -> dict[str, str]:
        """The changelog topic of each table; empty where nothing is remembered."""
        names = [memory.table.name for memory in self.memories]
        names += [PREDICTIONS] if self.keeps_predictions else []
        return {name: f"{self.name}.{name}.changelog" for name in names}

    def _check_tables(self) -> None:
        if self.changelogs and self.events.key is None:
            raise TopologyError(f"pipeline {self.name!r} remembers keys, but its events have none: say events.key")
        for memory in self.memories:
            table = memory.table
            if table.name == PREDICTIONS:
                raise TopologyError(
                    f"table {PREDICTIONS!r}: that is the name of the table of last scores; take another"
                )
            facts = table.facts
            if facts is None:
                continue
            if not isinstance(facts, Events):
                raise TopologyError(f"table {table.name!r}: its facts must be declared as pipeline.Events")
            if facts.partitions != self.events.partitions:
                raise TopologyError(
                    f"table {table.name!r}: its facts {facts.topic!r} have {facts.partitions} partitions and the "
                    f"events {self.events.topic!r} have {self.events.partitions}; a key must lie in the same partition "
                    "of both: give them the same number"
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
    def recorded(self) -> str:
        """The topic of the features of scored events, where they are recorded."""
        return f"{self.name}.features"

    @property
    def timeline(self) -> str:
        """The topic of what happened to the pipeline: deploys, rebalances, alerts and so on."""
        return f"{self.name}.timeline"

    @property
    def upkeep(self) -> str:
        """The topic that is there while state is resharded or rebuilt: workers do not start beside it."""
        return f"{self.name}.upkeep"

    @property
    def spec(self) -> FeatureSpec:
        """The model's inputs, in order."""
        return FeatureSpec(self.features)


def _check_topic(topic: str) -> None:
    if not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
        raise TopologyError(f"topic {topic!r}: Kafka allows letters, digits, '.', '_' and '-', at most 249")
