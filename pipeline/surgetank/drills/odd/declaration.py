"""A random pipeline: its schemas, its declaration as a user writes it, its model and the settings of its worker."""

from dataclasses import dataclass
from random import Random
from typing import Any

from surgetank.codec.schema_repository import engine_schemas
from surgetank.drills.odd.features import (
    Need,
    OddFeature,
    calendar_feature,
    category_feature,
    elapsed_feature,
    fits,
    number_feature,
    per_second,
)
from surgetank.drills.odd.models import ModelKind, OddModel, draw_kind, odd_model
from surgetank.drills.odd.schemas import OddSchema, odd_schema

MIB = 1 << 20
STATE_SHARE = 0.45
UNFIT_SHARE = 0.02  # of pipelines in which a feature reads a field of any type
EVENT_BYTES_MAX = (MIB, 4 * MIB, 32 * MIB)  # of the topics of events and facts
BACKLOG_SHARE = 0.04  # of pipelines with a backlog that is larger than what their worker may hold
BACKLOG_BYTES = 832 * MIB
SIZE_MAX = 20 * MIB  # of a value, a key or a header, whose size is drawn log-uniformly
SCORE_BYTES_MAX = (64 * 1024, MIB, 4 * MIB)
_SCHEMA_ID_MAX = 2**31 - 10
# Known in every project, and not of its events.
ENGINE_IDS = tuple(version.id for versions in engine_schemas().versions.values() for version in versions)
# With these a worker may hold little beside what any worker needs, and decodes the records of its backlog.
_SMALL: dict[str, Any] = {
    "dead_letters.value_bytes_max": 2 * MIB,
    "worker.batch_kilobytes_max": 256,
    "worker.buffered_kilobytes_max": 64,
    "worker.fetch_buffer_kilobytes": 64,
    "state.memory_mib": 8,
}
_IMPORTS = (
    "from surgetank import Category, DayOfWeek, Elapsed, Events, Field, HourOfDay, Month, Pipeline, Scores, Table\n"
    "from surgetank import days, hours, minutes\n"
)


@dataclass(frozen=True, slots=True)
class OddPipeline:
    """A pipeline as values. ``number`` and the seed of the drill reproduce it.

    ``source`` is the file that declares it; ``settings`` are those of its worker, ``configs`` those of its topics.
    ``backlog_bytes`` are those of the large records that are sent beside the others, ``size_max`` is the largest size
    that is drawn.
    """

    number: int
    name: str
    partitions: int
    events: OddSchema
    facts: OddSchema | None
    features: tuple[OddFeature, ...]
    model_kind: ModelKind
    source: str
    settings: dict[str, Any]
    event_bytes_max: int
    score_bytes_max: int
    key: str | None
    predictions: bool | None
    ttl_days: dict[str, int | None]
    backlog_bytes: int
    size_max: int

    @property
    def keeps_state(self) -> bool:
        """Whether the pipeline has changelogs: tables of its features, or the table of last scores."""
        return self.predictions is True or any(feature.value is None for feature in self.features)

    @property
    def model(self) -> OddModel:
        """The model of the features; it reads those without state."""
        used = [place for place, feature in enumerate(self.features) if feature.value is not None]
        category = [self.features[place].source.startswith("Category") for place in used]
        return odd_model(self.model_kind, len(self.features), used, category.index(True) if any(category) else None)

    @property
    def events_topic(self) -> str:
        """The topic of the events."""
        return f"{self.name}.events"

    @property
    def facts_topic(self) -> str:
        """The topic of the facts, if there are any."""
        return f"{self.name}.facts"

    @property
    def sources(self) -> tuple[str, ...]:
        """The topics that the worker reads."""
        return (self.events_topic, *((self.facts_topic,) if self.facts else ()))

    @property
    def value_bytes_max(self) -> int:
        """The largest value that is decoded."""
        return int(self.settings["dead_letters.value_bytes_max"])


def odd_pipeline(seed: int, number: int, prefix: str = "odd") -> OddPipeline:
    """Return the pipeline of a number. Pure: the same for the same arguments."""
    random = Random(f"{seed}/{number}")
    first_id = max(ENGINE_IDS) + random.choice((random.randrange(1, 100), random.randrange(1, _SCHEMA_ID_MAX)))
    events = odd_schema(random, "event", first_id)
    features = list(_features(random, events))
    facts = None
    if random.random() < STATE_SHARE:
        facts = odd_schema(random, "fact", first_id + 2) if random.random() < 0.6 else None
        features += _aggregates(random, events, facts)
        random.shuffle(features)
        if not any(feature.of_facts for feature in features):
            facts = None
    partitions = random.choice((1, 2, 3))
    name = f"{prefix}-{number}"
    key = events.key if any(each.value is None for each in features) or random.random() < 0.8 else None
    predictions = random.choice((None, True, False)) if key is not None else None
    # Some tables forget too early for a window of 30 days, which is refused.
    backlog = Random(f"backlog/{seed}/{number}").random() < BACKLOG_SHARE
    ttl_days = {table: random.choice((30, 400, 400, None, None)) for table in ("own", "past")}
    return OddPipeline(
        number=number,
        name=name,
        partitions=partitions,
        events=events,
        facts=facts,
        features=tuple(features),
        model_kind=draw_kind(random, with_category=any(each.source.startswith("Category") for each in features)),
        source=_source(name, partitions, (events, key), facts, features, predictions, ttl_days),
        settings=_settings(random) | (_SMALL if backlog else {}),
        event_bytes_max=random.choice(EVENT_BYTES_MAX),
        score_bytes_max=random.choice(SCORE_BYTES_MAX),
        key=key,
        predictions=predictions,
        ttl_days=ttl_days,
        backlog_bytes=BACKLOG_BYTES if backlog else 0,
        size_max=MIB if backlog else SIZE_MAX,
    )


def _features(random: Random, schema: OddSchema) -> list[OddFeature]:
    """Return distinct features of the fields of a schema, at least one."""
    types = {name: schema.type_of(name) for name in schema.fields}
    numbers = [name for name in types if fits(Need.NUMBER, types[name])]
    texts = [name for name in types if fits(Need.TEXT, types[name])]
    times = [name for name in types if fits(Need.TIMESTAMP, types[name])]
    found = [number_feature(name, types[name]) for name in numbers[: random.randrange(1, 5)]]
    found += [category_feature(name) for name in texts[: random.randrange(3)]]
    found += [calendar_feature(random, name, per_second(types[name])) for name in times[: random.randrange(3)]]
    if len(times) > 1 and random.random() < 0.5:
        start, end = random.sample(times, 2)
        found.append(elapsed_feature(random, (start, per_second(types[start])), (end, per_second(types[end]))))
    if random.random() < UNFIT_SHARE:
        taken = {name for feature in found for name, need in feature.reads if need is Need.TEXT}
        unfit = random.choice([name for name in types if name not in {*numbers, *taken}])
        found.append(number_feature(unfit, types[unfit]))
    return found


def _aggregates(random: Random, events: OddSchema, facts: OddSchema | None) -> list[OddFeature]:
    """Return distinct aggregates of the events, or of the facts."""
    found: dict[str, OddFeature] = {}
    for _ in range(random.randrange(1, 6)):
        of_facts = facts is not None and random.random() < 0.6
        schema = facts if of_facts and facts is not None else events
        table = "past" if of_facts else "own"
        field = random.choice([name for name in schema.fields if fits(Need.NUMBER, schema.type_of(name))])
        span, window_days = random.choice((("minutes(10)", 1 / 144), ("hours(6)", 0.25), ("days(30)", 30.0)))
        source, reads = random.choice(
            (
                (f"{table}.count(window={span})", ()),
                (f"{table}.sum({field!r}, window={span})", ((field, Need.NUMBER),)),
                (f"{table}.mean({field!r}, window={span})", ((field, Need.NUMBER),)),
                (f"{table}.std({field!r}, window={span}, buckets=5)", ((field, Need.NUMBER),)),
                (f"{table}.max({field!r}, window={span})", ((field, Need.NUMBER),)),
                (f"{table}.last({field!r})", ((field, Need.NUMBER),)),
                (f"{table}.seconds_since_last()", ()),
            )
        )
        windowed = window_days if "window=" in source else 0.0
        found[source] = OddFeature(source, reads, of_facts=of_facts, window_days=windowed)
    return list(found.values())


def _source(
    name: str,
    partitions: int,
    events: tuple[OddSchema, str | None],
    facts: OddSchema | None,
    features: list[OddFeature],
    predictions: bool | None,
    ttl_days: dict[str, int | None],
) -> str:
    """Return the file that declares a pipeline of ``events``, a schema and the key."""
    lines = [_IMPORTS, "", _events("events", f"{name}.events", *events, partitions)]
    if facts is not None:
        lines.append(_events("facts", f"{name}.facts", facts, facts.key, partitions))
        lines.append(f"past = Table('past', facts=facts, ttl={_duration(ttl_days['past'])})")
    if any(feature.value is None and not feature.of_facts for feature in features):
        lines.append(f"own = Table('own', ttl={_duration(ttl_days['own'])})")
    lines += [
        "",
        "pipeline = Pipeline(",
        f"    name={name!r},",
        "    events=events,",
        "    features=(",
        *(f"        {feature.source}," for feature in features),
        "    ),",
        "    model='odd',",
        f"    scores=Scores('{name}.scores'),",
        f"    predictions={predictions},",
        ")",
    ]
    return "\n".join(lines) + "\n"


def _duration(days: int | None) -> str:
    return "None" if days is None else f"days({days})"


def _events(variable: str, topic: str, schema: OddSchema, key: str | None, partitions: int) -> str:
    roles = f"key={key!r}, id={schema.id!r}, time={schema.time!r}"
    return f"{variable} = Events({topic!r}, schema={schema.name!r}, {roles}, partitions={partitions})"


def _settings(random: Random) -> dict[str, Any]:
    """Return the settings of a worker, by dotted name: the dead-letter limit is off, most bounds are odd."""
    return {
        "dead_letters.share_max": 1,
        "dead_letters.value_bytes_max": random.choice((1_000, 20_000, 262_144, 2 * MIB, 32 * MIB)),
        "worker.batch_rows_max": random.choice((7, 100, 8_192)),
        "worker.batch_kilobytes_max": random.choice((1, 256, 32_768)),
        "worker.buffered_rows_max": random.choice((50, 40_000)),
        "worker.buffered_kilobytes_max": random.choice((64, 65_536)),
        "worker.fetch_buffer_kilobytes": random.choice((64, 32_768)),
        "worker.commit_interval_seconds": random.choice((0.02, 0.1, 0.5)),
        "features.record": random.random() < 0.3,
        "state.memory_mib": random.choice((8, 64, 256)),
        "state.forget_rows": random.choice((0, 16, 512)),
    }
