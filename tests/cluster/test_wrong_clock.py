"""A worker whose clock differs from those of the events: latency is right, and the difference is told."""

from collections.abc import Callable

import pytest

from pipeline.kafka import clients
from tests.support.event_bytes import real
from tests.support.live_pipeline import Stage

StageFactory = Callable[..., Stage]

EVENTS = 200
DAY = 86_400.0


@pytest.mark.parametrize("ahead", [DAY, -1_800.0])  # brokers take events up to an hour from the future
def test_latency_is_shown_without_the_difference_of_clocks(stage: StageFactory, ahead: float) -> None:
    """Events that are stamped as by clocks that differ from the worker's: neither the difference is shown, nor 0."""
    under = stage()
    worker = under.worker()
    producer = clients.producer(under.kafka)
    for row, event in enumerate(real(EVENTS)):
        now_ms = round((under.clock.now() - ahead) * 1000)
        producer.produce(under.pipeline.events.topic, event.value, event.key, row % 4, timestamp=now_ms)
        producer.flush(10)

    under.until(lambda: worker.total("surgetank_end_to_end_seconds_count") == EVENTS, 60, "all are scored")

    assert 0 < worker.total("surgetank_end_to_end_seconds_sum") < 10 * EVENTS
    assert abs(worker.total("surgetank_clock_difference_seconds") - ahead) < 60
    assert f"s {'ahead of' if ahead > 0 else 'behind'} the timestamps of the events" in worker.log.read_text()
