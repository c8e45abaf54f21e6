"""surgetank.declaration: what a pipeline with memory says of topics, and what it refuses."""

from dataclasses import replace
from typing import Any, get_args

import pyarrow as pa
import pytest

from surgetank import Events, Field, Pipeline, Scores, Table, hours, seconds
from surgetank.declaration import PartitionerName
from surgetank.errors import TopologyError
from surgetank.features.spec import Input
from surgetank.kafka.provisioning import needed, problems
from surgetank.migration.partitioners import PARTITIONERS

EVENTS = Events("payments", schema="payment", key="card", time="at")
BLOCKS = Events("blocks", schema="block", key="card", time="at")
CARDS = Table("cards")
BLOCKED = Table("blocked", facts=BLOCKS)
HAVE = {"payments": 8, "blocks": 8, "scores": 8, "p.dead-letters": 8, "p.cards.changelog": 8} | {
    "p.blocked.changelog": 8,
    "p.predictions.changelog": 8,
    "p.shadow-scores": 8,
    "p.timeline": 1,
    "p.rollout": 1,
}


def pipeline(*features: Input, events: Events = EVENTS, predictions: bool | None = None) -> Pipeline:
    """Return a pipeline with these features beside one without memory."""
    return Pipeline(
        name="p",
        events=events,
        features=(Field("amount"), *features),
        model="m",
        scores=Scores("scores"),
        predictions=predictions,
    )


MEMORY = (CARDS.count(window=hours(1)), BLOCKED.seconds_since_last(), CARDS.last("amount"))


def test_a_pipeline_without_memory_keeps_nothing() -> None:
    """No tables: no changelogs, no last scores, no source beside the events."""
    plain = pipeline()

    assert plain.changelogs == {}
    assert plain.sources == ("payments",)
    assert not plain.keeps_predictions


def test_each_table_has_a_changelog_and_its_facts_are_sources() -> None:
    """Tables in the order of first use, then the last scores; facts that feed need not be declared twice."""
    with_memory = pipeline(*MEMORY)

    assert list(with_memory.changelogs.items()) == [
        ("cards", "p.cards.changelog"),
        ("blocked", "p.blocked.changelog"),
        ("predictions", "p.predictions.changelog"),
    ]
    assert with_memory.sources == ("payments", "blocks")
    assert with_memory.facts == (BLOCKS,)


def test_last_scores_are_kept_where_one_says_so() -> None:
    """With tables they are kept unless told otherwise; without, only if asked for."""
    assert "predictions" not in pipeline(*MEMORY, predictions=False).changelogs
    assert list(pipeline(predictions=True).changelogs) == ["predictions"]


def test_changelogs_are_compacted_and_lie_as_the_events_do() -> None:
    """``topics apply`` makes them with as many partitions, and with nothing that is ever deleted."""
    specs = {spec.name: spec for spec in needed(pipeline(*MEMORY))}

    assert set(specs) == set(HAVE)
    for name in ("p.cards.changelog", "p.blocked.changelog", "p.predictions.changelog"):
        assert specs[name].partitions == 8
        assert specs[name].config["cleanup.policy"] == "compact"


@pytest.mark.parametrize("topic", ["blocks", "p.cards.changelog"])
@pytest.mark.parametrize("partitions", [7, 9])
def test_a_key_must_lie_in_the_same_partition_everywhere(topic: str, partitions: int) -> None:
    """Facts that feed and changelogs must have exactly the partitions of the events: more is as wrong as less."""
    assert problems(pipeline(*MEMORY), HAVE) == []

    (problem,) = problems(pipeline(*MEMORY), HAVE | {topic: partitions})

    assert topic in problem
    assert f"has {partitions} partitions, but 'payments' has 8" in problem


@pytest.mark.parametrize(
    ("declare", "why"),
    [
        (lambda: pipeline(*MEMORY, events=replace(EVENTS, key=None)), "its events have no key: set events.key"),
        (lambda: pipeline(*MEMORY, events=replace(EVENTS, partitions=4)), "'blocks' have 8 partitions"),
        (lambda: pipeline(Table("predictions").count(window=hours(1))), "reserved for the table of last scores"),
        (
            lambda: pipeline(Table("t", facts=replace(BLOCKS, topic="scores")).seconds_since_last()),
            "topic 'scores' twice",
        ),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(declare: object, why: str) -> None:
    """At import, with what is wrong and what to do."""
    with pytest.raises(TopologyError, match=why):
        declare()  # type: ignore[operator]


def test_the_format_of_events_is_no_part_of_the_features() -> None:
    """State and models stay valid when producers change from Avro to JSON."""
    avro, json = pipeline(*MEMORY), pipeline(*MEMORY, events=replace(EVENTS, format="json"))
    assert json.spec.fingerprint() == avro.spec.fingerprint()
    assert [each.table for each in json.table_states] == [each.table for each in avro.table_states]


def test_a_format_that_does_not_exist_is_refused() -> None:
    """The message names those that do."""
    with pytest.raises(TopologyError, match="format is 'xml'; it must be 'avro' or 'json'"):
        replace(EVENTS, format="xml")  # type: ignore[arg-type]


def test_the_version_of_a_model_is_a_text() -> None:
    """A number would be the name of no folder."""
    number: Any = 2
    with pytest.raises(TopologyError, match="model_version is 2; write the version as a text"):
        replace(pipeline(), model_version=number)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"differing_keys": "drop"}, "differing_keys is 'drop'; it must be one of count, refuse, rekey"),
        ({"partitioner": "sticky"}, "partitioner is 'sticky'; it must be one of murmur2, crc32"),
        ({"differing_keys": "refuse", "key": None}, "differing_keys is 'refuse', but they have no key"),
    ],
)
def test_a_rule_for_keys_that_cannot_be_is_refused(wrong: dict[str, Any], why: str) -> None:
    """At import, with the topic."""
    with pytest.raises(TopologyError, match=f"'e': {why}"):
        Events("e", schema="s", time="t", **({"key": "k"} | wrong))


def test_the_declared_partitioners_are_those_that_are_known() -> None:
    """By the same names."""
    assert set(get_args(PartitionerName)) == set(PARTITIONERS)


def test_topics_with_re_keyed_records_are_sources_and_no_outputs() -> None:
    """Events and facts each by their own declaration."""
    facts = Events("facts", schema="s", time="t", key="k", differing_keys="rekey")
    events = Events("e", schema="s", time="t", key="k")
    table = Table("cards", facts=facts, ttl=seconds(1))
    pipeline = Pipeline("p", events, (table.last("a"),), "m", Scores("s"))
    assert pipeline.rekeyed == ("facts",)
    assert "facts" not in pipeline.outputs(recording=True)


ROW = pa.struct([("id", pa.int64()), ("card", pa.string()), ("at", pa.int64()), ("amount", pa.decimal128(9, 2))])
CHANGES = Events(
    "changes",
    schema="change",
    id="after.id",
    key="after.card",
    time="after.at",
)
NESTED = pa.schema([pa.field("after", ROW), pa.field("op", pa.string())])


def test_fields_of_records_can_have_every_role() -> None:
    """The schema of the decoded events is checked with or without their columns."""
    timed = replace(CHANGES, time_units={"after.at": "us"})
    told = Table("told", facts=replace(timed, topic="told"))
    declared = Pipeline(
        "p", timed, (Field("after.amount"), told.sum("after.amount", window=hours(1))), model="m", scores=Scores("s")
    )
    for schema in (NESTED, timed.columns(NESTED).schema):
        declared.check(schema)
        declared.check_facts({"told": schema})
    with pytest.raises(
        TopologyError, match=r"reads column 'after\.amout', which the events do not have; .*after\.amount"
    ):
        replace(declared, features=(Field("after.amout"),)).check(NESTED)
    with pytest.raises(
        TopologyError, match=r"events\.key names field 'after', which is struct.*name a field of another"
    ):
        replace(declared, events=replace(timed, key="after")).check(NESTED)


def test_a_time_in_whole_numbers_needs_a_unit() -> None:
    """The message says what to declare, for events and for facts; it does not for a type that is no number."""
    declared = Pipeline("p", CHANGES, (Field("after.amount"),), model="m", scores=Scores("s"))
    hint = r"time names field 'after\.at', which is not a timestamp; if .* time_units=\{'after\.at': \.\.\.\}"
    with pytest.raises(TopologyError, match=rf"events\.{hint}"):
        declared.check(NESTED)
    fed = replace(declared, features=(Table("told", facts=replace(CHANGES, topic="told")).seconds_since_last(),))
    with pytest.raises(TopologyError, match=rf"facts\.{hint}"):
        fed.check_facts({"told": NESTED})
    with pytest.raises(TopologyError, match=r"'op', which is not a timestamp$"):
        replace(declared, events=replace(CHANGES, time="op")).check(NESTED)


def test_a_key_of_facts_that_has_no_text_is_refused() -> None:
    """Records could not be compared with it."""
    schema = pa.schema([("k", pa.list_(pa.string())), ("t", pa.timestamp("ms", "UTC")), ("a", pa.float64())])
    facts = Events("facts", schema="s", time="t", key="k")
    declared = Pipeline(
        "p",
        Events("e", schema="s", time="t", key="k"),
        (Table("t", facts=facts, ttl=hours(1)).last("a"),),
        "m",
        Scores("s"),
    )
    with pytest.raises(TopologyError, match=r"facts 'facts': key names field 'k', which is list<.*; name a field of"):
        declared.check_facts({"facts": schema})
