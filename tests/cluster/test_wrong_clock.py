"""A worker whose clock differs from those of the events: latency is right, and the difference is told."""

from collections.abc import Callable
from itertools import cycle

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from surgetank.kafka import clients
from tests.support.event_bytes import real
from tests.support.live_pipeline import Stage

StageFactory = Callable[..., Stage]

EVENTS = 200
DAY = 86_400.0


@pytest.mark.parametrize("ahead", [DAY, -1_800.0])  # brokers take events up to an hour from the future
def test_latency_is_shown_without_the_difference_of_clocks(stage: StageFactory, ahead: float) -> None:
    """Events that are stamped as by clocks that differ from the worker's: neither the difference is shown, nor 0.

    The timeline has the time of producers, so that the worker does not know the time of the brokers.
    """
    under = stage()
    topic = ConfigResource(ConfigResource.Type.TOPIC, under.pipeline.timeline)
    entry = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    topic.add_incremental_config(entry)
    admin = clients.admin(under.kafka)
    admin.incremental_alter_configs([topic])[topic].result(30)
    worker = under.worker()
    producer = clients.producer(under.kafka)
    events = cycle(real(EVENTS))
    sent = 0

    def is_known() -> bool:
        """Send an event to each partition, since a read shows one of each; return whether the difference is shown."""
        nonlocal sent
        for partition in range(under.pipeline.events.partitions):
            event, now_ms = next(events), round((under.clock.now() - ahead) * 1000)
            producer.produce(under.pipeline.events.topic, event.value, event.key, partition, timestamp=now_ms)
            sent += 1
        assert producer.flush(10) == 0
        return abs(worker.total("surgetank_clock_difference_seconds") - ahead) < 60

    under.until(is_known, 60, "the difference is known")

    under.until(lambda: worker.total("surgetank_end_to_end_seconds_count") == sent, 60, "all are scored")
    assert 0 < worker.total("surgetank_end_to_end_seconds_sum") < 10 * sent
    assert f"s {'ahead of' if ahead > 0 else 'behind'} those of the brokers" in worker.log.read_text()
