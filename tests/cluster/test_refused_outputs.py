"""What brokers refuse to take: a dead letter that is too large is cut; what stays refused ends the worker."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
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
from surgetank.records import Headers
from surgetank.settings import KafkaSettings
from tests.support.event_bytes import real
from tests.support.live_pipeline import Stage

StageFactory = Callable[..., Stage]

EVENTS = 100
HUGE_BYTES = 20 * 1024 * 1024


def send(under: Stage, key: bytes, *values: bytes, compression: str = "gzip") -> None:
    """Send real events and amid them others, which are compressed well, all to partition 0."""
    events = [(event.key, event.value) for event in real(EVENTS)]
    events[EVENTS // 2 : EVENTS // 2] = [(key, value) for value in values]
    producer = clients.producer(under.kafka, message_max_bytes=100_000_000, compression_type=compression)
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
    configure(under, topic, "max.message.bytes", str(bytes_max))


def configure(under: Stage, topic: str, name: str, value: str) -> None:
    """Set an option of a topic."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = clients.admin(under.kafka)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(10)


def dead_letters(under: Stage) -> list[tuple[bytes | None, bytes | None, Headers]]:
    """Return key, value and headers of each dead letter."""
    with TopicReader(under.kafka, [under.pipeline.dead_letters]) as reader:
        return [
            (records.keys[row].as_py(), records.values[row].as_py(), records.headers_of(row))
            for records in reader.catch_up()
            for row in range(len(records))
        ]


def ended(under: Stage, status: int, timeout: float = 60) -> str:
    """Wait until the only worker has ended with this status; return the last error in its log without a traceback."""
    (worker,) = under.fleet.members.values()
    under.until(lambda: not worker.running, timeout, "the worker has ended")
    said = worker.log.read_text(errors="replace")
    assert worker.process.returncode == status, said
    assert "Traceback" not in said
    return [line for line in said.splitlines() if " ERROR " in line][-1]


def test_a_large_event_that_came_compressed_becomes_a_dead_letter(stage: StageFactory) -> None:
    """A value of 20 MiB came gzip-compressed: its dead letter is whole, and the events around it score."""
    under = stage(**{"dead_letters.share_max": 1})
    text = b" ".join(event.value or b"" for event in real(100))
    values = (bytes(HUGE_BYTES), (text * 10_000)[:HUGE_BYTES])
    send(under, b"N12345", *values)

    worker = under.worker()

    found = under.audit(wait=20)
    assert found.ok, (found, under.logs())
    assert (found.scores, found.dead_letters) == (EVENTS, 2)
    letters = dead_letters(under)
    assert [letter[:2] for letter in letters] == [(b"N12345", value) for value in values]
    for row, (_, _, headers) in enumerate(letters):
        cause = dead_letter.parse_dead_letter(headers)
        assert (cause.source, cause.offset) == ((under.pipeline.events.topic, 0), EVENTS // 2 + row)
        assert headers[0] == ("trace", b"1")
        assert dead_letter.OVERSIZE not in dict(headers)
    assert "aborted" not in worker.log.read_text(errors="replace")


def test_a_dead_letter_that_is_too_large_for_its_topic_is_cut_to_its_headers(stage: StageFactory) -> None:
    """A value that came better compressed than dead letters are: its dead letter says where it is; a whole one follows.

    It is random bytes, again and again at a distance at which only higher levels of zstd see the repetition.
    """
    under = stage(**{"dead_letters.share_max": 1})
    repeated = np.random.default_rng(0).bytes(700_000) * (HUGE_BYTES // 700_000)
    send(under, b"N12345", repeated, bytes(HUGE_BYTES), compression="zstd")

    worker = under.worker()

    found = under.audit(wait=20)
    assert found.ok, (found, under.logs())
    assert (found.scores, found.dead_letters) == (EVENTS, 2)
    letters = dead_letters(under)
    headers = dict(letters[0][2])
    cause = dead_letter.parse_dead_letter(letters[0][2])
    assert (cause.source.topic, cause.source.partition, cause.offset) == (under.pipeline.events.topic, 0, EVENTS // 2)
    assert [letter[:2] for letter in letters] == [(b"N12345", None), (b"N12345", bytes(HUGE_BYTES))]
    assert headers[dead_letter.OVERSIZE] == str(len(repeated)).encode()
    assert headers["trace"] == b"1"
    assert "aborted" not in worker.log.read_text(errors="replace")


def test_the_brokers_store_dead_letters_with_another_compression(stage: StageFactory) -> None:
    """They compress them anew and measure the result: a large one is cut, and the worker goes on."""
    under = stage(**{"dead_letters.share_max": 1})
    configure(under, under.pipeline.dead_letters, "compression.type", "uncompressed")
    send(under, b"N12345", bytes(HUGE_BYTES))

    worker = under.worker()

    found = under.audit(wait=20)
    assert found.ok, (found, under.logs())
    assert (found.scores, found.dead_letters) == (EVENTS, 1)
    ((_, value, headers),) = dead_letters(under)
    assert value is None
    assert dict(headers)[dead_letter.OVERSIZE] == str(HUGE_BYTES).encode()
    assert "aborted" not in worker.log.read_text(errors="replace")


def test_an_output_that_stays_refused_ends_the_worker_with_the_brokers_words(stage: StageFactory) -> None:
    """A limit that was lowered under a running worker: nothing can be committed, and trying again does not help."""
    under = stage(**{"dead_letters.share_max": 1})
    worker = under.worker()
    limit(under, under.pipeline.dead_letters, 2000)

    send(under, b"N12345", np.random.default_rng(0).bytes(10_000))

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
