"""pipeline.runtime.fetcher: what becomes of what a consumer gives."""

from confluent_kafka import KafkaError, Message

from pipeline.runtime.fetcher import Fetcher
from pipeline.runtime.record_queues import RecordQueues
from pipeline.settings import KafkaSettings, WorkerSettings


def test_an_error_that_is_of_no_partition_ends_nobody() -> None:
    """As where the group of a client is refused, which it never joins: it is nobody's record, and no trouble."""
    fetcher = Fetcher(
        KafkaSettings(),
        WorkerSettings(),
        group="g",
        client_id="w",
        inbox=RecordQueues(10),
        on_trouble=lambda *_: None,
    )
    error = Message(error=KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))
    record = Message(topic="events", partition=3, offset=5, key=b"a")

    assert list(fetcher._runs([error, record, error])) == []
