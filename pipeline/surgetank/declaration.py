"""The declaration of a pipeline: events, features, model, scores. Values only, without side effects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import pyarrow as pa

from surgetank.errors import TopologyError
from surgetank.event_columns import EventColumns, TimeUnit, check_time_units, root_columns, unit_hint
from surgetank.features.spec import FeatureSpec, Input
from surgetank.features.tables import TableState, table_states
from surgetank.scored_rows import ScoreKind
from surgetank.text_columns import has_text

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
Format = Literal["avro", "json"]
DifferingKeys = Literal["count", "refuse", "rekey"]
PartitionerName = Literal["murmur2", "crc32"]
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
SCORE = "score"  # the engine's own schema of scores
SCORE_DETAILS = "score_details"  # the same with a vector or a label
ENGINE_SCORES = (SCORE, SCORE_DETAILS)
PREDICTIONS = "predictions"  # the table of each key's last score


@dataclass(frozen=True, slots=True)
class Events:
    """A topic of events, with ``partitions`` partitions.

    ``schema`` is the name of a file in ``schemas/`` without its suffix, an Avro schema. ``format`` is how the values
    are encoded: ``avro``, in the Confluent wire format, or ``json``, as objects with the fields of the schema.
    ``key``, ``time`` and ``id`` are fields of the schema: the field that the record key repeats (None: the key is not
    used), the event time (a timestamp of any unit, an instant or a local time), and the producer's stable identity of
    the event. Key and id have any type but record, array and map. A field of a record is named by its path,
    ``after.amount``, here and in features.

    ``only`` is a condition on columns: an event for which it is 0 or missing is counted, and otherwise ignored. It gets
    no score and updates no table.

    ``time_units`` names fields that hold times as whole numbers since 1970-01-01 in UTC, with their unit: ``s``,
    ``ms``, ``us`` or ``ns``. They are timestamps for the pipeline.

    ``differing_keys`` is what happens to a record whose key does not repeat the key field: ``count`` it only, so that
    it updates the state of its record key; ``refuse`` it, as a dead letter; or ``rekey`` it: send it to the topic again
    with the right key, to the partition that ``partitioner`` gives, which must be that of the topic's producers:
    ``murmur2`` (Java, or librdkafka with ``murmur2_random``) or ``crc32`` (librdkafka by default).
    """

    topic: str
    schema: str
    time: str
    key: str | None = None
    id: str = "event_id"
    partitions: int = 8
    format: Format = "avro"
    differing_keys: DifferingKeys = "count"
    partitioner: PartitionerName = "murmur2"
    time_units: Mapping[str, TimeUnit] = field(default_factory=dict, hash=False)
    only: Input | None = None

    def __post_init__(self) -> None:
        _check_topic(self.topic)
        if self.format not in get_args(Format):
            raise TopologyError(f"events {self.topic!r}: format is {self.format!r}; it must be 'avro' or 'json'")
        for name, of in (("differing_keys", DifferingKeys), ("partitioner", PartitionerName)):
            if (value := getattr(self, name)) not in get_args(of):
                raise TopologyError(
                    f"events {self.topic!r}: {name} is {value!r}; it must be one of {', '.join(get_args(of))}"
                )
        if self.key is None and self.differing_keys != "count":
            raise TopologyError(
                f"events {self.topic!r}: differing_keys is {self.differing_keys!r}, but they have no key: set key"
            )
        if self.partitions < 1:
            raise TopologyError(f"events {self.topic!r}: partitions is {self.partitions}; it must be 1 or more")
        object.__setattr__(self, "time_units", dict(self.time_units))
        check_time_units(self.time_units, self.topic)
        _check_condition(self.only, f"events {self.topic!r}: only")

    def columns(self, schema: pa.Schema, *, partial: bool = False) -> EventColumns:
        """Return what adds the columns that can be named to events with these columns. Raises TopologyError.

        ``partial``: the schema may lack fields whose unit is declared.
        """
        present = set(schema.names)
        units = {
            name: unit
            for name, unit in self.time_units.items()
            if not partial or root_columns([name], schema)[0] in present
        }
        return EventColumns(schema, units, self.topic)


@dataclass(frozen=True, slots=True)
class Scores:
    """The topic of scores. It has as many partitions as the events: a score is in the partition of its event.

    ``kind`` is what the model says of an event: a ``number``, the probability of one class or a regression; a
    ``vector``, the probabilities of all classes or an embedding; or a ``label`` with its probability. A score has the
    vector or the label in a field of its own, and in the field ``score`` one number: the largest element of the vector,
    or the probability of the label.

    ``passthrough`` names fields of the events that scores have too, with the same names and values. ``schema`` is then
    the name of a schema of the project with these fields behind those of the engine's schema of scores.
    """

    topic: str
    passthrough: tuple[str, ...] = ()
    schema: str = SCORE
    kind: ScoreKind = "number"

    def __post_init__(self) -> None:
        _check_topic(self.topic)
        if self.kind not in get_args(ScoreKind):
            raise TopologyError(
                f"scores {self.topic!r}: kind is {self.kind!r}; it must be one of {', '.join(get_args(ScoreKind))}"
            )
        if self.schema in ENGINE_SCORES:
            object.__setattr__(self, "schema", self.engine_schema)
        given: object = self.passthrough
        if isinstance(given, str):
            raise TopologyError(f"scores {self.topic!r}: passthrough is one text; write ({given!r},)")
        object.__setattr__(self, "passthrough", tuple(self.passthrough))
        if len(set(self.passthrough)) < len(self.passthrough):
            twice = next(name for name in self.passthrough if self.passthrough.count(name) > 1)
            raise TopologyError(f"scores {self.topic!r}: passthrough names {twice!r} twice")
        if self.passthrough and self.schema in ENGINE_SCORES:
            raise TopologyError(
                f"scores {self.topic!r}: passthrough needs a schema of your own; give schema= a name, and write the "
                "schema with: surgetank schemas score PIPELINE"
            )

    @property
    def engine_schema(self) -> str:
        """The name of the engine's schema of scores of this kind."""
        return SCORE if self.kind == "number" else SCORE_DETAILS


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline from events to scores.

    ``facts`` are topics of events that are not scored; facts that update a table are included automatically.
    ``model_version`` is the version of the model to serve, unless the setting ``model.version`` names another; empty:
    the only version in the folder of bundles, and workers do not start if there are several.
    ``predictions``: whether a table keeps the last score of each key; the default is yes if there are other tables.
    ``recording`` is the function that returns recorded events for ``surgetank replay``, as ``package.module:function``.
    ``score_only`` is a condition on columns: an event for which it is 0 or missing updates the tables that the
    pipeline's own events update, and gets no score. An event that ``events.only`` leaves out does neither.
    """

    name: str
    events: Events
    features: tuple[Input, ...]
    model: str
    scores: Scores
    facts: tuple[Events, ...] = field(default=())
    predictions: bool | None = None
    recording: str | None = None
    model_version: str = ""
    score_only: Input | None = None

    def __post_init__(self) -> None:
        check_pipeline_name(self.name)
        if not isinstance(self.model_version, str):
            raise TopologyError(
                f"pipeline {self.name!r}: model_version is {self.model_version!r}; write the version as a text"
            )
        _check_condition(self.score_only, f"pipeline {self.name!r}: score_only")
        object.__setattr__(self, "features", tuple(self.features))
        _ = self.spec  # raises for a contradictory declaration at import, naming the feature
        object.__setattr__(self, "facts", tuple(dict.fromkeys((*self.facts, *self.table_facts))))
        topics = [
            self.events.topic,
            self.scores.topic,
            self.dead_letters,
            self.replayed_letters,
            self.timeline,
            self.rollout,
            self.migration_topic,
            self.recorded,
            self.shadow_scores,
            *(fact.topic for fact in self.facts),
            *self.changelogs.values(),
        ]
        twice = sorted({topic for topic in topics if topics.count(topic) > 1})
        if twice:
            raise TopologyError(f"pipeline {self.name!r} uses topic {twice[0]!r} twice; use separate topics")
        for topic in self.changelogs.values():
            _check_topic(topic)
        self._check_tables()

    def check(self, schema: pa.Schema, *, partial: bool = False) -> None:
        """Raise TopologyError, naming the field, unless the schema of the events has all declared fields.

        ``partial``: the schema may lack fields that nothing reads.
        """
        schema = self.events.columns(schema, partial=partial).schema
        self.spec.check(schema)
        events = self.events
        for condition in (events.only, self.score_only):
            if condition is not None:
                condition.check(schema)
        for role, name in (("id", events.id), ("time", events.time), ("key", events.key)):
            if name is not None and name not in schema.names:
                raise TopologyError(
                    f"pipeline {self.name!r}: events.{role} names field {name!r}, which schema {events.schema!r} "
                    f"does not have; it has {', '.join(schema.names)}"
                )
        for role, name in (("id", events.id), ("key", events.key)):
            if name is not None and not has_text(schema.field(name).type):
                raise TopologyError(
                    f"pipeline {self.name!r}: events.{role} names field {name!r}, which is {schema.field(name).type}; "
                    "scores hold it as text, which a record, an array or a map does not have: name a field of another "
                    "type"
                )
        if not pa.types.is_timestamp(schema.field(events.time).type):
            raise TopologyError(
                f"pipeline {self.name!r}: events.time names field {events.time!r}, which is not a timestamp"
                + unit_hint(events.time, schema)
            )

    def check_facts(self, schemas: Mapping[str, pa.Schema]) -> None:
        """Raise TopologyError unless the schemas of the facts, by topic, have all fields that the tables read."""
        columns = {facts.topic: facts.columns(schemas[facts.topic]).schema for facts in self.table_facts}
        for table_state in self.table_states:
            if table_state.table.facts is not None:
                table_state.check(columns[table_state.table.facts.topic])
        for facts in self.table_facts:
            kind = columns[facts.topic].field(facts.key).type if facts.key in columns[facts.topic].names else None
            if kind is not None and not has_text(kind):
                raise TopologyError(
                    f"facts {facts.topic!r}: key names field {facts.key!r}, which is {kind}; "
                    "name a field of another type"
                )
            if facts.only is not None:
                facts.only.check(columns[facts.topic])

    @property
    def table_states(self) -> tuple[TableState, ...]:
        """The state of the tables that the features use, in the order of first use."""
        return table_states(self.features, only=self.events.only)

    @property
    def table_facts(self) -> tuple[Events, ...]:
        """The facts that update tables: a task reads them beside its events."""
        facts = (table_state.table.facts for table_state in self.table_states)
        return tuple(dict.fromkeys(each for each in facts if isinstance(each, Events)))

    def updating_events(self, table_state: TableState) -> Events:
        """Return the events that update a table: its facts, or the pipeline's own events."""
        return next((each for each in self.table_facts if each == table_state.table.facts), self.events)

    def outputs(self, *, recording: bool) -> tuple[str, ...]:
        """Return the topics that a task writes, in the partition of its number; ``recording``: with the feature log."""
        recorded = (self.recorded,) if recording else ()
        return (self.scores.topic, self.dead_letters, *recorded, *self.changelogs.values())

    @property
    def rekeyed(self) -> tuple[str, ...]:
        """The source topics that a task also writes: it sends records again with the right key, to any partition."""
        return tuple(each.topic for each in (self.events, *self.table_facts) if each.differing_keys == "rekey")

    @property
    def sources(self) -> tuple[str, ...]:
        """The topics that a task reads, events first."""
        return (self.events.topic, *(fact.topic for fact in self.table_facts))

    @property
    def keeps_predictions(self) -> bool:
        """Whether a table keeps the last score of each key."""
        return bool(self.table_states) if self.predictions is None else self.predictions

    @property
    def changelogs(self) -> dict[str, str]:
        """The changelog topic of each table; empty for a pipeline without state."""
        names = [table_state.table.name for table_state in self.table_states]
        names += [PREDICTIONS] if self.keeps_predictions else []
        return {name: f"{self.name}.{name}.changelog" for name in names}

    def _check_tables(self) -> None:
        if self.changelogs and self.events.key is None:
            raise TopologyError(f"pipeline {self.name!r} has state by key, but its events have no key: set events.key")
        for table_state in self.table_states:
            table = table_state.table
            if table.name == PREDICTIONS:
                raise TopologyError(
                    f"table {PREDICTIONS!r}: this name is reserved for the table of last scores; use another"
                )
            facts = table.facts
            if facts is None:
                continue
            if not isinstance(facts, Events):
                raise TopologyError(f"table {table.name!r}: its facts must be declared as pipeline.Events")
            if facts.partitions != self.events.partitions:
                raise TopologyError(
                    f"table {table.name!r}: its facts {facts.topic!r} have {facts.partitions} partitions and the "
                    f"events {self.events.topic!r} have {self.events.partitions}; a key must be in the same partition "
                    "of both: use the same number of partitions"
                )

    @property
    def group(self) -> str:
        """The consumer group of the pipeline's workers."""
        return self.name

    @property
    def dead_letters(self) -> str:
        """The topic of events that could not be scored."""
        return f"{self.name}.dead-letters"

    @property
    def replayed_letters(self) -> str:
        """The topic that lists the dead letters whose events were sent again."""
        return f"{self.name}.dead-letters-replayed"

    @property
    def recorded(self) -> str:
        """The topic of the logged features of scored events."""
        return f"{self.name}.features"

    @property
    def shadow_scores(self) -> str:
        """The topic of the scores of a shadow: a version that scores beside the one that answers."""
        return f"{self.name}.shadow-scores"

    @property
    def timeline(self) -> str:
        """The topic of timeline events: deploys, rebalances, alerts and so on."""
        return f"{self.name}.timeline"

    @property
    def rollout(self) -> str:
        """The topic of commands that say which versions of the model answer."""
        return f"{self.name}.rollout"

    @property
    def migration_topic(self) -> str:
        """The topic that exists while state is resharded or rebuilt, and keeps workers from starting."""
        return f"{self.name}.upkeep"

    @property
    def spec(self) -> FeatureSpec:
        """The model's inputs in order."""
        return FeatureSpec(self.features, self.events.time_units)


def check_pipeline_name(name: str) -> None:
    """Raise TopologyError unless topics, consumer groups and modules can be named after this name."""
    if not _NAME.fullmatch(name):
        raise TopologyError(
            f"pipeline name {name!r}: use lower-case letters, digits and dashes, at most 63, a letter first"
        )


def _check_condition(condition: object, what: str) -> None:
    if condition is None:
        return
    if not isinstance(condition, Input):
        raise TopologyError(f"{what} is {condition!r}; it must be a condition such as Above('amount', 0)")
    if condition.aggregates:
        raise TopologyError(
            f"{what} reads aggregate {condition.aggregates[0].name!r}; a condition reads columns of the event only"
        )


def _check_topic(topic: str) -> None:
    if not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
        raise TopologyError(f"topic {topic!r}: Kafka allows letters, digits, '.', '_' and '-', at most 249")
