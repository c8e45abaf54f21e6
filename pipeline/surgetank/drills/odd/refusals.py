"""Which pipelines a worker must refuse at its start, and with which words: rules on the declaration, and faults put in.

A worker that refuses another pipeline, or runs one of these, is wrong.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from surgetank.drills.odd.avro_types import Json
from surgetank.drills.odd.declaration import OddPipeline
from surgetank.drills.odd.features import Need, fits, meaning
from surgetank.drills.odd.models import ModelKind, odd_model
from surgetank.drills.odd.project import project_files

FAULT_SHARE = 0.12
_SCHEMA, _IDS, _SOURCE = "schemas/event.avsc", "schemas/ids.json", "topology/odd.py"
_MODEL = "topology/models/odd/1"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a worker must end with status 2. Its message matches the regular expression ``message``."""

    kind: str
    message: str

    def matches(self, text: str) -> bool:
        """Return whether a log has the message."""
        return re.search(self.message, text, re.DOTALL) is not None


@dataclass(slots=True)
class OddProject:
    """What is set up for a pipeline: ``files`` before the model is written, ``late_files`` after it.

    ``configs`` are those of topics, ``missing`` the topics that are not made.
    """

    files: dict[str, str]
    model: bytes
    settings: dict[str, Any]
    configs: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    late_files: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Fault:
    """A fault of a project that must be refused; ``fits`` says in which pipelines it is one."""

    refusal: Refusal
    put: Callable[[OddPipeline, OddProject], None]
    fits: Callable[[OddPipeline], bool] = lambda _: True


def set_up(odd: OddPipeline, seed: int) -> tuple[OddProject, tuple[Refusal, ...]]:
    """Return the project of a pipeline and the refusals of which its worker must give one; none: it must run."""
    project = OddProject(project_files(odd), odd.model.content, dict(odd.settings))
    refusals = list(_by_declaration(odd))
    random = Random(f"faults/{seed}/{odd.number}")
    if random.random() < FAULT_SHARE:
        fault = random.choice([each for each in _FAULTS if each.fits(odd)])
        fault.put(odd, project)
        refusals.append(fault.refusal)
    return project, tuple(refusals)


def _by_declaration(odd: OddPipeline) -> Iterator[Refusal]:
    """Yield the refusals for types of fields that cannot have their role, and for tables that forget too early."""
    events = odd.events
    for role, name in (("id", events.id), ("key", odd.key)):
        if name is not None and meaning(events.type_of(name)) in {"record", "array", "map"}:
            message = rf"events\.{role} names field '{name}', which is .*name a field of another type"
            yield Refusal(f"the {role} is a record, array or map", message)
    if not fits(Need.TIMESTAMP, events.type_of(events.time)):
        yield Refusal(
            "the time is no timestamp", rf"events\.time names field '{events.time}', which is not a timestamp"
        )
    facts = odd.facts
    if facts is not None and not fits(Need.TIMESTAMP, facts.type_of(facts.time)):
        yield Refusal(
            "the time of facts is no timestamp", rf"facts\.time names field '{facts.time}', which is not a timestamp"
        )
    for table, days in odd.ttl_days.items():
        windows = [each.window_days for each in odd.features if each.source.startswith(f"{table}.")]
        if days is not None and days < 2 * max(windows, default=0):
            yield Refusal(
                "a time to live below two windows",
                rf"table '{table}': ttl is 30d, less than 2 x .*; set it to 60d or more",
            )
    for feature in odd.features:
        schema = facts if feature.of_facts and facts is not None else events
        for name, need in feature.reads:
            if not fits(need, schema.type_of(name)):
                message = rf"(feature|aggregate) '.*' reads column '{name}'.* must be {need.value}"
                yield Refusal("a feature reads a field of another type", message)


def _in_source(old: str, new: str) -> Callable[[OddPipeline, OddProject], None]:
    """Return a function that replaces the first match of a regular expression in the declaration."""

    def put(_: OddPipeline, project: OddProject) -> None:
        project.files[_SOURCE] = re.sub(old, new, project.files[_SOURCE], count=1, flags=re.DOTALL)

    return put


def _in_schema(kind: Json) -> Callable[[OddPipeline, OddProject], None]:
    """Return a function that adds a field of this type to the schema of the events."""

    def put(_: OddPipeline, project: OddProject) -> None:
        schema = json.loads(project.files[_SCHEMA])
        schema["fields"].append({"name": "odd_field", "type": kind})
        project.files[_SCHEMA] = json.dumps(schema)

    return put


def _in_files(name: str, text: str) -> Callable[[OddPipeline, OddProject], None]:
    return lambda _, project: project.files.__setitem__(name, text)


def _late(name: str, text: str | None) -> Callable[[OddPipeline, OddProject], None]:
    return lambda _, project: project.late_files.__setitem__(name, text)


def _in_settings(**changed: Any) -> Callable[[OddPipeline, OddProject], None]:
    return lambda _, project: project.settings.update({name.replace("__", "."): v for name, v in changed.items()})


def _without_ids(_: OddPipeline, project: OddProject) -> None:
    ids = json.loads(project.files[_IDS])
    project.files[_IDS] = json.dumps({id_: of for id_, of in ids.items() if of["schema"] != "event"})


def _model_of(kind: ModelKind) -> Callable[[OddPipeline, OddProject], None]:
    def put(odd: OddPipeline, project: OddProject) -> None:
        used = [place for place, feature in enumerate(odd.features) if feature.value is not None]
        project.model = odd_model(kind, len(odd.features), used).content

    return put


def _model_of_other_features(_: OddPipeline, project: OddProject) -> None:
    source = project.files[_SOURCE]
    project.late_files[_SOURCE] = source.replace("    ),\n    model=", "        Field('never'),\n    ),\n    model=")


def _without_topic(suffix: str) -> Callable[[OddPipeline, OddProject], None]:
    return lambda odd, project: project.missing.add(f"{odd.name}.{suffix}")


def _small_dead_letters(odd: OddPipeline, project: OddProject) -> None:
    project.configs[f"{odd.name}.dead-letters"] = {"max.message.bytes": str(odd.event_bytes_max)}


def _deleting_changelog(odd: OddPipeline, project: OddProject) -> None:
    table = "past" if odd.facts is not None else "own"
    project.configs[f"{odd.name}.{table}.changelog"] = {"cleanup.policy": "delete"}


def _has_table(odd: OddPipeline) -> bool:
    return any(feature.value is None for feature in odd.features)


def _has_own_table(odd: OddPipeline) -> bool:
    return any(feature.value is None and not feature.of_facts for feature in odd.features)


def _has_facts(odd: OddPipeline) -> bool:
    return odd.facts is not None


def _deep(levels: int) -> Json:
    kind: Json = "int"
    for _ in range(levels):
        kind = {"type": "array", "items": kind}
    return kind


_ITSELF = {"type": "record", "name": "Itself", "fields": [{"name": "next", "type": ["null", "Itself"]}]}
_NOTHING = {"type": "record", "name": "Nothing", "fields": []}
_LONG_DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 77, "scale": 0}

_FAULTS = (
    _Fault(
        Refusal(
            "a declared field is not in the schema", r"events\.time names field 'never', which schema 'event' does"
        ),
        _in_source(r"time='\w+'", "time='never'"),
        lambda odd: odd.facts is None,
    ),
    _Fault(
        Refusal("a feature is declared twice", r"two features are named .*; remove or rename one"),
        _in_source(r"features=\(\n(.*?\n)", r"features=(\n\1\1"),
    ),
    _Fault(
        Refusal("no feature is declared", r"the pipeline has no features; declare at least one"),
        _in_source(r"features=\(.*?\n    \)", "features=()"),
    ),
    _Fault(
        Refusal("a topic has two roles", r"uses topic .* twice; use separate topics"),
        _in_source(r"Scores\('.*?\.scores'\)", "Scores(events.topic)"),
    ),
    _Fault(
        Refusal("a name in capitals", r"pipeline name 'ODD': use lower-case letters"),
        _in_source(r"    name='.*?'", "    name='ODD'"),
    ),
    _Fault(
        Refusal("state without a key", r"has state by key, but its events have no key: set events\.key"),
        _in_source(r"schema='event', key='\w+'", "schema='event', key=None"),
        _has_table,
    ),
    _Fault(
        Refusal("facts without a key", r"its facts, .* have no key; set key="),
        _in_source(r"schema='fact', key='\w+'", "schema='fact', key=None"),
        _has_facts,
    ),
    _Fault(
        Refusal("facts with another number of partitions", r"use the same number of partitions"),
        _in_source(r"(schema='fact'.*?partitions=)\d", r"\g<1>9"),
        _has_facts,
    ),
    _Fault(
        Refusal("a table with a reserved name", r"table 'predictions': this name is reserved .*use another"),
        _in_source(r"Table\('own'", "Table('predictions'"),
        _has_own_table,
    ),
    _Fault(
        Refusal("a window that cannot be divided", r"choose buckets= as a divisor of the window"),
        _in_source(r"features=\(\n", "features=(\n        own.count(window=hours(1), buckets=7_001),\n"),
        _has_own_table,
    ),
    _Fault(Refusal("a schema without an id", r"has no id for schema 'event'; add"), _without_ids),
    _Fault(Refusal("ids that are not JSON", r"ids\.json is not JSON"), _in_files(_IDS, "{")),
    _Fault(Refusal("a schema that is not Avro", r"event\.avsc is no Avro schema"), _in_schema("strnig")),
    _Fault(
        Refusal("a union of three types", r"a union can be of null and one other type.*use a record"),
        _in_schema(["null", "int", "string"]),
    ),
    _Fault(Refusal("a record that contains itself", r"contains itself, which columns cannot"), _in_schema(_ITSELF)),
    _Fault(
        Refusal("an array of nothing", r"items of an array take no bytes.*use a count instead"),
        _in_schema({"type": "array", "items": "null"}),
    ),
    _Fault(
        Refusal("a decimal of 77 digits", r"a decimal of 77 digits; columns have 1 to 76"), _in_schema(_LONG_DECIMAL)
    ),
    _Fault(Refusal("types nested too deeply", r"nested more than 64 levels deep; flatten it"), _in_schema(_deep(70))),
    _Fault(Refusal("a record without fields", r"has no fields, so there is nothing"), _in_schema(_NOTHING)),
    _Fault(
        Refusal("a model of other features", r"the pipeline declares 'never', which it was not trained with"),
        _model_of_other_features,
    ),
    _Fault(
        Refusal("a model of two targets", r"two columns that are not the probabilities.*name an output with one"),
        _model_of(ModelKind.TWO_TARGETS),
    ),
    _Fault(
        Refusal("a score that depends on its batch", r"depends on the rest of its batch.*Export the model"),
        _model_of(ModelKind.OVER_ROWS),
    ),
    _Fault(
        Refusal("a model that was exchanged", r"has not the checksum of its manifest.*restore the bundle"),
        _late(f"{_MODEL}/model.onnx", "another"),
    ),
    _Fault(Refusal("a model that is missing", r"model file .*model\.onnx: "), _late(f"{_MODEL}/model.onnx", None)),
    _Fault(
        Refusal("a manifest that is not JSON", r"model manifest .*: Invalid JSON"),
        _late(f"{_MODEL}/manifest.json", "{"),
    ),
    _Fault(
        Refusal("a topic is missing", r"topic '.*\.scores' \(scores\) is missing.*surgetank topics apply"),
        _without_topic("scores"),
    ),
    _Fault(
        Refusal(
            "dead letters that take less than events", r"dead-letters' takes records of .*: set its max\.message\.bytes"
        ),
        _small_dead_letters,
    ),
    _Fault(
        Refusal("a changelog that is deleted", r"is a changelog with cleanup\.policy=delete.*set it to compact"),
        _deleting_changelog,
        _has_table,
    ),
    _Fault(
        Refusal("a setting out of range", r"worker\.batch_rows_max.*greater than or equal to 1"),
        _in_settings(worker__batch_rows_max=0),
    ),
    _Fault(
        Refusal("an unknown setting", r"worker\.batch_row_max.*batch_rows_max"),
        _in_settings(worker__batch_row_max=5),
    ),
    _Fault(
        Refusal("settings that contradict each other", r"commit_interval_seconds \(5\) must be below"),
        _in_settings(worker__commit_interval_seconds=5, kafka__transaction_timeout_seconds=2),
    ),
)
