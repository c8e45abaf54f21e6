"""The address that a worker commits with its offsets, at which other workers and commands call it."""

from collections.abc import Callable

from surgetank.kafka.group_client import GroupClient
from surgetank.records import TopicPartition
from tests.support.live_pipeline import Stage

StageFactory = Callable[..., Stage]


def test_a_worker_commits_the_address_that_is_set_for_it(stage: StageFactory) -> None:
    """Other workers call it there, wherever its server listens."""
    under = stage()
    address = "http://worker-1.example:9101"
    worker = under.worker(environment={"SURGETANK_TELEMETRY__ADDRESS": address})
    under.until(lambda: worker.partitions == under.pipeline.events.partitions, 30, "all tasks run")

    sources = [TopicPartition(under.pipeline.events.topic, number) for number in range(4)]

    assert GroupClient(under.kafka, under.pipeline.group).addresses(sources, 10) == {address}
