"""What brokers refuse to take: a dead letter that is too large is cut; what stays refused ends the worker."""

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from surgetank.kafka import clients
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.kafka.topic_reader import TopicReader
from surgetank.processing import dead_letter
from surgetank.settings import KafkaSettings
from tests.support.event_bytes import real
from tests.support.live_pipeline import Stage

StageFactory = Callable[..., Stage]

EVENTS = 100
HUGE_BYTES = 20 * 1024 * 1024


def send(under: Stage, key: bytes, value: bytes) -> None:
    """Send real events and amid them one that is compressed well, all to partition 0."""
    events = [(event.key, event.value) for event in real(EVENTS)]
    events.insert(EVENTS // 2, (key, value))
    producer = clients.producer(under.kafka, message_max_bytes=100_000_000, compression_type="gzip")
    failed: list[object] = []
    for each_key, each_value in events:
        producer.produce(
            under.pipeline.events.topic,
            each_value,
            each_key,
            0,
            headers=[("trace", b"1")],
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
        producer.flush(30)
    assert not failed


def limit(under: Stage, topic: str, bytes_max: int) -> None:
    """Lower the largest batch that a topic takes."""
    entry = ConfigEntry("max.message.bytes", str(bytes_max), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = clients.admin(under.kafka)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(10)


def ended(under: Stage, status: int, timeout: float = 60) -> str:
    """Wait until the only worker has ended with this status; return the last error in its log without a traceback."""
    (worker,) = under.fleet.members.values()
    under.until(lambda: not worker.running, timeout, "the worker has ended")
    said = worker.log.read_text(errors="replace")
    assert worker.process.returncode == status, said
    assert "Traceback" not in said
    return [line for line in said.splitlines() if " ERROR " in line][-1]


def test_a_dead_letter_that_is_too_large_for_its_topic_is_cut_to_its_headers(stage: StageFactory) -> None:
    """A value of 20 MiB came gzip-compressed: its dead letter says where it lies, and the events around it score."""
    under = stage(**{"dead_letters.share_max": 1})
    send(under, b"N12345", bytes(HUGE_BYTES))

    under.worker()

    found = under.audit(wait=20)
    assert found.ok, (found, under.logs())
    assert (found.scores, found.dead_letters) == (EVENTS, 1)
    with TopicReader(under.kafka, [under.pipeline.dead_letters]) as reader:
        (records,) = list(reader.catch_up())
    headers = dict(records.headers_of(0))
    cause = dead_letter.parse_dead_letter(records.headers_of(0))
    assert (cause.source.topic, cause.source.partition, cause.offset) == (under.pipeline.events.topic, 0, EVENTS // 2)
    assert (records.keys[0].as_py(), records.values[0].as_py()) == (b"N12345", None)
    assert headers[dead_letter.OVERSIZE] == str(HUGE_BYTES).encode()
    assert headers["trace"] == b"1"


def test_an_output_that_stays_refused_ends_the_worker_with_the_brokers_words(stage: StageFactory) -> None:
    """A limit that was lowered under a running worker: nothing can be committed, and trying again does not help."""
    under = stage(**{"dead_letters.share_max": 1})
    worker = under.worker()
    limit(under, under.pipeline.dead_letters, 2000)

    send(under, b"N12345", bytes(10_000))

    under.until(lambda: not worker.running, 60, "the worker has ended")
    said = worker.log.read_text(errors="replace")
    assert worker.process.returncode == 7, said
    assert "Message size too large" in said
    assert f"{under.pipeline.events.topic}[0] from " in said
    assert "Traceback" not in said


def test_the_score_topic_takes_only_smaller_scores(stage: StageFactory) -> None:
    """Its limit was lowered under a running worker: the worker ends, and names the topic and the brokers' reason."""
    under = stage()
    under.worker()
    limit(under, under.pipeline.scores.topic, 100)

    under.send(EVENTS)

    said = ended(under, 7)
    assert "Message size too large" in said
    assert f"{under.pipeline.events.topic}[" in said
    assert f"{under.pipeline.scores.topic} takes 100 bytes" in said


def test_the_score_topic_takes_less_than_a_batch_of_the_client(stage: StageFactory) -> None:
    """A limit of 8 KiB suffices for each score, and for no batch of a thousand: batches are made smaller."""
    under = stage()
    limit(under, under.pipeline.scores.topic, 8_192)
    under.send(20_000)

    worker = under.worker()

    found = under.audit()
    assert found.ok, (found, under.logs())
    assert found.scores == 20_000
    assert worker.running
    assert "aborted" not in worker.log.read_text(errors="replace")


@pytest.fixture
def guarded(local_cluster: Callable[..., LocalCluster], tmp_path: Path) -> Stage:
    """Return a stage on brokers that check rights; what no rule forbids is allowed."""
    cluster = local_cluster(
        settings={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
        }
    )
    cluster.up(timeout=120)
    return Stage(KafkaSettings(bootstrap=cluster.bootstrap), tmp_path)


def test_the_right_to_write_a_topic_is_missing(guarded: Stage) -> None:
    """The worker ends, names the topic and the right, and commits nothing."""
    with guarded as under:
        under.apply_topics()
        under.worker()
        topic = under.pipeline.scores.topic
        denied = AclBinding(
            ResourceType.TOPIC,
            topic,
            ResourcePatternType.LITERAL,
            "User:ANONYMOUS",
            "*",
            AclOperation.WRITE,
            AclPermissionType.DENY,
        )
        admin = clients.admin(under.kafka)
        for future in admin.create_acls([denied]).values():
            future.result(10)

        under.send(EVENTS)

        said = ended(under, 7)
        assert f"the right Write of topic {topic}" in said
        assert under.lag() == EVENTS
