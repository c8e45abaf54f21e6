"""What `surgetank doctor` makes of what it sees."""

from dataclasses import replace

import pytest

from surgetank.codec.schema_plan import PlannedSubject, SubjectStatus, TopicSchema
from surgetank.doctor import cluster, machine, registry
from surgetank.doctor.checkup import required_rights
from surgetank.doctor.finding import CheckFinding, CheckSeverity
from topology.flights import flights

GIB = 2**30
WORKER = required_rights(flights, recording=True)
ALL: dict[str, set[str] | None] = {
    resource: {"READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS", "CREATE"} for resource in WORKER
}
NO_CONFIGS = {resource: {"READ", "WRITE", "DESCRIBE", "CREATE"} for resource in WORKER}


def planned(status: SubjectStatus) -> list[PlannedSubject]:
    """Return what a registry has of two schemas: one that is registered, and one with this status."""
    schemas = [TopicSchema("events", "event", "{}"), TopicSchema("scores", "score", "{}")]
    statuses = [SubjectStatus.REGISTERED, status]
    return [PlannedSubject(*each, 1, 1, None, "FULL") for each in zip(schemas, statuses, strict=True)]


@pytest.mark.parametrize(
    ("finding", "severity"),
    [
        (machine.python((3, 10)), CheckSeverity.PROBLEM),
        (machine.python((3, 11)), CheckSeverity.OK),
        (machine.python((3, 13)), CheckSeverity.OK),
        (machine.python((3, 14)), CheckSeverity.WARNING),
        (machine.java("21.0.1", ""), CheckSeverity.OK),
        (machine.java(None, "no java on PATH"), CheckSeverity.WARNING),
        (machine.kafka_jars(""), CheckSeverity.OK),
        (machine.kafka_jars("https://mirror.test/m"), CheckSeverity.OK),
        (machine.kafka_jars("", "no address to download from"), CheckSeverity.WARNING),
        (machine.port("127.0.0.1", 0, None), CheckSeverity.OK),
        (machine.port("127.0.0.1", 9100, None), CheckSeverity.OK),
        (machine.port("127.0.0.1", 9100, "Address already in use"), CheckSeverity.WARNING),
        (machine.disk("/state", 6 * GIB, writable=True), CheckSeverity.OK),
        (machine.disk("/state", 4 * GIB, writable=True), CheckSeverity.WARNING),
        (machine.disk("/state", GIB // 2, writable=True), CheckSeverity.PROBLEM),
        (machine.disk("/state", 6 * GIB, writable=False), CheckSeverity.PROBLEM),
        (machine.clock(None), CheckSeverity.SKIPPED),
        (machine.clock(-9.0), CheckSeverity.OK),
        (machine.clock(-11.0), CheckSeverity.WARNING),
        (machine.clock(3600.0), CheckSeverity.WARNING),
        (cluster.kafka("k:9092", 3, None), CheckSeverity.OK),
        (cluster.kafka("k:9092", 3, {}), CheckSeverity.OK),
        (cluster.kafka("k:9092", 1, {cluster.PROTOCOL_VERSION: "3.9-IV0"}), CheckSeverity.OK),
        (cluster.kafka("k:9092", 1, {cluster.PROTOCOL_VERSION: "3.6-IV2"}), CheckSeverity.WARNING),
        (cluster.topics("flights", []), CheckSeverity.OK),
        (cluster.topics("flights", ["topic 'a' is missing"]), CheckSeverity.PROBLEM),
        (cluster.rights(WORKER, ALL), CheckSeverity.OK),
        (cluster.rights(WORKER, ALL | {"topic flights.scores": {"READ", "DESCRIBE"}}), CheckSeverity.PROBLEM),
        (cluster.rights(WORKER, NO_CONFIGS), CheckSeverity.PROBLEM),
        (cluster.rights(WORKER, ALL | {"group flights": None}), CheckSeverity.SKIPPED),
        (registry.unavailable("http://r", "refused"), CheckSeverity.PROBLEM),
        (registry.subjects("flights", "http://r", planned(SubjectStatus.REGISTERED)), CheckSeverity.OK),
        (registry.subjects("flights", "http://r", planned(SubjectStatus.NEW_SUBJECT)), CheckSeverity.WARNING),
        (registry.subjects("flights", "http://r", planned(SubjectStatus.NEW_VERSION)), CheckSeverity.WARNING),
        (registry.subjects("flights", "http://r", planned(SubjectStatus.REFUSED)), CheckSeverity.WARNING),
    ],
)
def test_findings_say_what_to_do(finding: CheckFinding, severity: CheckSeverity) -> None:
    """Only a problem ends the command with status 1; what is neither good nor unknown has advice."""
    assert finding.severity is severity
    assert finding.found
    assert bool(finding.advice) is (severity in (CheckSeverity.WARNING, CheckSeverity.PROBLEM))


def test_subjects_that_the_registry_lacks_are_named() -> None:
    """Only these, with the command that registers them."""
    found = registry.subjects("flights", "http://r", planned(SubjectStatus.NEW_SUBJECT))
    assert "scores-value" in found.found
    assert "events-value" not in found.found
    assert "surgetank schemas apply flights" in found.advice


def test_the_side_of_a_wrong_clock_is_named() -> None:
    """Ahead and behind are mended on different machines."""
    assert "3,600 s ahead" in machine.clock(3600.0).found
    assert "3,600 s behind" in machine.clock(-3600.0).found


@pytest.mark.parametrize(
    ("sent", "appended", "received", "ahead"),
    [(10.0, 10.5, 11.0, 0.0), (10.0, 4.0, 11.0, 6.0), (10.0, 20.0, 11.0, -9.0), (10.0, 10.0, 10.0, 0.0)],
)
def test_a_clock_differs_by_no_less(sent: float, appended: float, received: float, ahead: float) -> None:
    """The time that the record was under way counts for neither side."""
    assert machine.clock_difference(sent, appended, received) == ahead


def test_the_release_of_brokers_before_4_0_is_named() -> None:
    """It is the default of a setting that later brokers do not have."""
    assert "Kafka 3.9" in cluster.kafka("k:9092", 1, {cluster.PROTOCOL_VERSION: "3.9-IV0"}).found
    assert "4.0 or later" in cluster.kafka("k:9092", 1, {"log.dirs": "data"}).found


def test_the_rights_of_a_worker() -> None:
    """It reads events and state, and writes state and outputs; what is missing is named, as `topics acls` names it."""
    settings = {"DESCRIBE", "DESCRIBE_CONFIGS"}
    assert WORKER["topic flights.boarding"] == WORKER["topic flights.departures"] == {"READ", *settings}
    assert WORKER["topic flights.timeline"] == {"WRITE", *settings}
    assert WORKER["topic flights.rollout"] == {"READ", "DESCRIBE"}
    assert WORKER["topic flights.scores"] == WORKER["topic flights.aircraft.changelog"] == {"READ", "WRITE", *settings}
    assert WORKER["topic flights.features"] == {"READ", "WRITE", *settings}
    assert "topic flights.features" not in required_rights(flights, recording=False)
    assert WORKER["topic flights.upkeep"] == {"DESCRIBE"}
    assert WORKER["group flights"] == {"READ", "DESCRIBE"}
    lacking = cluster.rights(WORKER, ALL | {"topic flights.scores": {"DESCRIBE"}})
    assert (
        "DescribeConfigs on topic flights.scores, Read on topic flights.scores, Write on topic flights.scores"
        in lacking.found
    )


def test_a_source_is_written_only_if_its_records_are_re_keyed() -> None:
    """The right is asked for before the first record is refused."""
    topic = f"topic {flights.events.topic}"
    rekeying = replace(flights, events=replace(flights.events, differing_keys="rekey"))
    read = {"READ", "DESCRIBE", "DESCRIBE_CONFIGS"}
    assert required_rights(flights, recording=False)[topic] == read
    assert required_rights(rekeying, recording=False)[topic] == {*read, "WRITE"}
