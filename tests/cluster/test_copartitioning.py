"""Facts and events whose producers use different partitioners: refused at start, told later where it was not known."""

import logging
from collections.abc import Callable

import pytest

from surgetank.kafka import clients
from surgetank.migration.copartitioning import Copartitioning
from surgetank.migration.partitioners import Partitioner, crc32, murmur2
from surgetank.telemetry.metrics import Metrics
from surgetank.worker.copartitioning_check import CopartitioningCheck
from tests.support.stateful_pipeline import Remembered

RememberedFactory = Callable[..., Remembered]


def put(under: Remembered, topic: str, partitioner: Partitioner) -> None:
    """Send 200 records whose keys a partitioner has put into partitions, in a transaction, as many producers do."""
    producer = clients.transactional(under.kafka, transactional_id=f"{topic}-producer")
    producer.init_transactions(10)
    producer.begin_transaction()
    for number in range(200):
        key = f"N{number}".encode()
        producer.produce(topic, b"anything", key, partitioner(key, under.pipeline.events.partitions))
    producer.commit_transaction(10)


def test_a_worker_does_not_start_on_facts_that_it_would_not_find(remembered: RememberedFactory) -> None:
    """Exit status 2 and one line with both partitioners."""
    under = remembered()
    (facts,) = under.pipeline.facts
    put(under, under.pipeline.events.topic, crc32)
    put(under, facts.topic, murmur2)

    worker = under.worker(ready=False)

    under.until(lambda: not worker.running, 60, "the worker has ended")
    said = worker.log.read_text()
    assert worker.process.returncode == 2, said
    assert f"{under.pipeline.events.topic} is partitioned by crc32 and {facts.topic} by murmur2" in said


def test_a_mismatch_is_told_once_the_facts_have_come(
    remembered: RememberedFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """Empty topics tell nothing at the start, which is a warning; the next look finds the mismatch."""
    under, metrics = remembered(), Metrics()
    (facts,) = under.pipeline.facts
    check = CopartitioningCheck(under.kafka, under.pipeline, metrics)
    with caplog.at_level(logging.WARNING):
        check.at_start()
    assert "is not known" in caplog.text
    assert f'surgetank_copartitioning{{topic="{facts.topic}"}} 1.0' in metrics.expose()[0].decode()
    put(under, under.pipeline.events.topic, crc32)
    assert check.again([facts.topic]) == [facts.topic]
    put(under, facts.topic, murmur2)

    assert check.again([facts.topic]) == []

    assert "by murmur2" in caplog.text
    found = f'surgetank_copartitioning{{topic="{facts.topic}"}} {Copartitioning.DIFFERENT:.1f}'
    assert found in metrics.expose()[0].decode()
