"""surgetank.worker.copartitioning_check: advice, which refuses a start for a mismatch and for nothing else."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from surgetank.declaration import PartitionerName
from surgetank.errors import BrokerError, TopicsError
from surgetank.kafka import provisioning
from surgetank.migration.copartitioning import Copartitioning
from surgetank.migration.partitioners import Partitioner, crc32, murmur2
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings, Settings
from surgetank.telemetry.metrics import Metrics
from surgetank.worker import copartitioning_check
from surgetank.worker.copartitioning_check import PARTITIONS_MAX, CopartitioningCheck
from tests.support.topologies.stateful_flights import remembering

PIPELINE = remembering("advice")
EVENTS, (FACTS,) = PIPELINE.events.topic, [facts.topic for facts in PIPELINE.table_facts]
Keys = Callable[[KafkaSettings, Sequence[TopicPartition], int], list[tuple[bytes, int]]]


def partitioned(of: dict[str, Partitioner | None], partitions: int = 4) -> Keys:
    """Return a replacement of ``newest_keys``; topics with None are not returned by the brokers."""

    def newest(_: KafkaSettings, sources: Sequence[TopicPartition], __: int) -> list[tuple[bytes, int]]:
        assert len(sources) <= PARTITIONS_MAX
        partitioner = of[sources[0].topic]
        if partitioner is None:
            raise BrokerError("no broker answers")
        keys = [f"N{number}".encode() for number in range(200)]
        numbers = {source.partition for source in sources}
        return [(key, found) for key in keys if (found := partitioner(key, partitions)) in numbers]

    return newest


@pytest.fixture
def repeated(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the topics whose check is repeated in a thread."""
    found: list[list[str]] = []
    monkeypatch.setattr(CopartitioningCheck, "_repeat", lambda _, topics: found.append(topics))
    monkeypatch.setattr(provisioning, "existing", lambda _: {EVENTS: 4, FACTS: 4})
    return found


@pytest.mark.parametrize("away", [EVENTS, FACTS, "all"])
def test_the_brokers_do_not_return_keys_for_the_partitioner(
    away: str, repeated: list[list[str]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker starts with a warning, and the check is repeated."""
    of: dict[str, Partitioner | None] = {topic: None if topic == away else crc32 for topic in (EVENTS, FACTS)}
    monkeypatch.setattr(copartitioning_check, "newest_keys", partitioned(of))
    if away == "all":
        monkeypatch.setattr(provisioning, "existing", unavailable)
    metrics = Metrics()

    with caplog.at_level(logging.WARNING):
        CopartitioningCheck(Settings().kafka, PIPELINE, metrics).at_start()

    assert repeated == [[FACTS]]
    assert "is not known: no broker answers" in caplog.text
    assert f'surgetank_copartitioning{{topic="{FACTS}"}} {Copartitioning.UNKNOWN:.1f}' in metrics.expose()[0].decode()


def unavailable(_: KafkaSettings) -> dict[str, int]:
    """Raise what the list of topics raises while no broker answers."""
    raise BrokerError("no broker answers")


def test_a_mismatch_still_refuses_the_start(repeated: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known, so it is no matter of availability."""
    monkeypatch.setattr(copartitioning_check, "newest_keys", partitioned({EVENTS: crc32, FACTS: murmur2}))

    with pytest.raises(TopicsError, match=r"by crc32 and .* by murmur2"):
        CopartitioningCheck(Settings().kafka, PIPELINE, Metrics()).at_start()

    assert repeated == []


def test_no_more_partitions_are_sampled_than_the_most(
    repeated: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """31 partitions are not 31 samples."""
    monkeypatch.setattr(provisioning, "existing", lambda _: {EVENTS: 31, FACTS: 31})
    monkeypatch.setattr(copartitioning_check, "newest_keys", partitioned({EVENTS: crc32, FACTS: crc32}, 31))

    CopartitioningCheck(Settings().kafka, PIPELINE, Metrics()).at_start()

    assert repeated == []


def test_re_keying_declares_another_partitioner_than_that_of_the_keys(
    repeated: list[list[str]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The start is refused; with the right one, or with keys that tell nothing, it is not."""

    def start(declared: PartitionerName, lie: Partitioner | None) -> None:
        events = replace(PIPELINE.events, differing_keys="rekey", partitioner=declared)
        monkeypatch.setattr(copartitioning_check, "newest_keys", partitioned({EVENTS: lie, FACTS: lie}))
        CopartitioningCheck(Settings().kafka, replace(PIPELINE, events=events), Metrics()).at_start()

    with pytest.raises(TopicsError, match=r"are partitioned by crc32, but .* declare partitioner='crc32'"):
        start("murmur2", crc32)
    with pytest.raises(TopicsError, match=r"declare partitioner='murmur2'"):
        start("crc32", murmur2)
    start("crc32", crc32)
    start("murmur2", lambda key, partitions: len(key) % partitions)
    start("murmur2", None)
    assert f"whether {EVENTS} is partitioned by murmur2 is not known: no broker answers" in caplog.text
