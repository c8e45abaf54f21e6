"""A consumer of another application with the id of the pipeline's group."""

from collections.abc import Callable

from surgetank.kafka import clients
from tests.support.live_pipeline import Stage

StageFactory = Callable[..., Stage]

EVENTS = 4_000
MORE = 400


def test_another_consumer_has_the_id_of_the_group(stage: StageFactory) -> None:
    """It takes partitions and commits their events: once they come back, that is said, with the number of events."""
    under = stage()
    under.send(EVENTS)
    worker = under.worker()
    under.until(lambda: under.scores() == EVENTS, 60, "all events are scored")
    other = clients.member(under.kafka, group=under.pipeline.group, client_id="other", protocol="consumer")
    other.subscribe([under.pipeline.events.topic])
    under.until(lambda: other.poll(0.1) is None and len(other.assignment()) == 2, 60, "it has taken two partitions")
    under.until(lambda: worker.partitions == 2, 30, "the worker has released them")

    under.send(MORE)
    taken = 0
    while (message := other.poll(5)) is not None:
        assert message.error() is None
        other.commit(message, asynchronous=False)
        taken += 1
    other.close()

    assert taken
    under.until(lambda: worker.partitions == under.pipeline.events.partitions, 60, "the worker runs all tasks again")
    under.until(lambda: under.scores() == EVENTS + MORE - taken, 30, "the events of the others are scored")
    assert worker.total("surgetank_events_skipped_total") == taken
    assert worker.total("surgetank_foreign_offsets_total") == 2
    assert "was not committed by a worker of this pipeline" in worker.log.read_text()
