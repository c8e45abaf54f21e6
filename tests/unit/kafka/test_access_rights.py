"""The rights of tools: what is in them, and how ``surgetank topics acls`` shows them."""

import json
from dataclasses import replace

import pytest
from confluent_kafka.admin import AclOperation, ResourcePatternType, ResourceType
from typer.testing import CliRunner

from surgetank.cli import app
from surgetank.errors import SettingsError
from surgetank.kafka.access_rights import TOOLS, Operation, Resource, Right, bindings, kafka_acls, rights
from topology.flights import flights

WRITES = {"worker", "topics", "replay", "timeline-receive", "dead-letters-replay", "models"}


def test_only_tools_that_write_have_a_right_to_change_something() -> None:
    """A reader of scores, lag or letters can change nothing, also by mistake."""
    changing = {Operation.WRITE, Operation.CREATE, Operation.ALTER}
    found = {tool for tool in TOOLS if any(changing & set(right.operations) for right in rights(flights, tool))}
    assert found == WRITES


def test_a_resource_is_listed_once() -> None:
    """With all of its operations, in one order."""
    for tool in TOOLS:
        places = [(right.resource, right.name, right.prefix) for right in rights(flights, tool, recording=True)]
        assert len(places) == len(set(places)), tool


def test_the_worker_needs_the_topic_of_features_only_if_it_records_them() -> None:
    """And the transactional ids of every worker of this pipeline, of no other."""
    without, recording = (rights(flights, "worker", recording=each) for each in (False, True))
    (more,) = set(recording) - set(without)
    assert (more.resource, more.name) == (Resource.TOPIC, flights.recorded)
    assert Right(Resource.TRANSACTIONAL_ID, "flights-", (Operation.WRITE,), prefix=True) in without


def test_a_worker_writes_the_topics_whose_records_it_re_keys() -> None:
    """And no other source."""
    rekeying = replace(flights, events=replace(flights.events, differing_keys="rekey"))
    (more,) = set(rights(rekeying, "worker")) - set(rights(flights, "worker"))
    assert more == Right(
        Resource.TOPIC, flights.events.topic, (Operation.READ, Operation.WRITE, Operation.DESCRIBE_CONFIGS)
    )


def test_rights_become_rules_of_the_brokers() -> None:
    """One for each operation."""
    right = Right(Resource.TRANSACTIONAL_ID, "flights-", (Operation.WRITE, Operation.DESCRIBE_CONFIGS), prefix=True)
    first, second = bindings("User:alice", [right])
    assert (first.restype, first.name) == (ResourceType.TRANSACTIONAL_ID, "flights-")
    assert (first.resource_pattern_type, first.principal) == (ResourcePatternType.PREFIXED, "User:alice")
    assert (first.operation, second.operation) == (AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS)


def test_the_command_of_kafka_for_a_right() -> None:
    """As its documentation writes it."""
    right = Right(Resource.TRANSACTIONAL_ID, "flights-", (Operation.WRITE,), prefix=True)
    assert kafka_acls("a:1", "User:alice", right).replace("\\\n  ", "") == (
        "kafka-acls --bootstrap-server a:1 --add --allow-principal 'User:alice' "
        "--transactional-id 'flights-' --resource-pattern-type prefixed --operation Write"
    )
    whole = replace(flights, name="a-name-of-thirty-characters-xx")
    for tool in TOOLS:
        for each in rights(whole, tool, recording=True):
            assert max(map(len, kafka_acls("127.0.0.1:9092", "User:x", each).splitlines())) <= 80


def run(*arguments: str) -> str:
    """Return the output of ``topics acls flights`` in a terminal of 80 columns."""
    result = CliRunner().invoke(app, ["topics", "acls", "flights", *arguments], env={"COLUMNS": "80"})
    if result.exception is not None:
        raise result.exception
    return result.output


def test_the_table_fits_a_terminal() -> None:
    """Every tool, and each name in full."""
    shown = run("--features")
    assert max(map(len, shown.splitlines())) <= 80
    for name in (*TOOLS, flights.recorded, flights.dead_letters, *flights.changelogs.values()):
        assert name in shown


def test_json_lists_the_rights_by_tool() -> None:
    """Only those of the chosen ones."""
    assert json.loads(run("--tool", "lag", "--json")) == {
        "lag": [
            {"resource": "topic", "name": "flights.boarding", "operations": ["Read"], "prefix": False},
            {"resource": "group", "name": "flights", "operations": ["Describe"], "prefix": False},
        ]
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--tool", "nothing"], "--tool nothing: it is one of worker, "), (["--apply"], "--apply needs --principal")],
)
def test_a_wrong_option_is_named(arguments: list[str], says: str) -> None:
    """Before anything is asked of Kafka."""
    with pytest.raises(SettingsError, match=says):
        run(*arguments)
