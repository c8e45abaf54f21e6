"""surgetank.kafka.key_sample: the newest keys, bounded in number and time, whatever the consumer does."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from surgetank.errors import BrokerError
from surgetank.kafka import clients
from surgetank.kafka.key_sample import newest_keys
from surgetank.records import TopicPartition
from surgetank.settings import Settings
from tests.support.recorded_logs import Log, LogConsumer, Message, opening

A, B = TopicPartition("facts", 0), TopicPartition("facts", 1)
KAFKA = Settings().kafka


def log(source: TopicPartition, records: int, *, growing: int = 0, ends: bool = True) -> Log:
    """Return a partition with this many keys."""
    return Log([Message(source, n, f"N{n}".encode()) for n in range(records)], growing=growing, ends=ends)


def test_keys_of_a_partition_that_grows_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that come while it is read are not waited for, and take no memory."""
    consumer = LogConsumer({A: log(A, 30, growing=500, ends=False), B: log(B, 5)})
    monkeypatch.setattr(clients, "reader", opening(consumer))

    found = newest_keys(KAFKA, [A, B], 10)

    assert [key for key, number in found if number == 0] == [f"N{n}".encode() for n in range(20, 30)]
    assert len([key for key, number in found if number == 1]) == 5
    assert consumer.consumed <= 3


def test_a_consumer_that_cannot_be_made_is_a_broker_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose requests fail: callers know how to wait for it."""

    def refuse(*_: object, **__: object) -> None:
        raise KafkaException(KafkaError(KafkaError._CRIT_SYS_RESOURCE))

    monkeypatch.setattr(clients, "reader", refuse)

    with pytest.raises(BrokerError):
        newest_keys(KAFKA, [A], 10)
