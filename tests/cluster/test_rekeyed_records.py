"""Records with the wrong key, on a real Kafka: each is sent again once and scored once, whoever is killed meanwhile."""

from collections.abc import Callable
from pathlib import Path

from surgetank.declaration import Pipeline
from surgetank.drills.fleet import Member
from surgetank.kafka import clients
from surgetank.kafka.topic_reader import TopicReader
from surgetank.processing.rekeying import rekeyed_from
from tests.support.event_bytes import real
from tests.support.stateful_pipeline import Remembered
from tests.support.topologies.stateful_flights import CHANGE, REKEY, publish, remembering

RIGHT, WRONG = 4_000, 6_000


class Rekeyed(Remembered):
    """A pipeline with state that re-keys events and facts."""

    def declared(self, partitions: int) -> tuple[Pipeline, Path]:
        """Return the pipeline, with a newly built model."""
        pipeline, models = remembering(self.prefix, partitions, REKEY), self.folder / "models"
        publish(models, pipeline)
        return pipeline, models

    def worker(self, *, ready: bool = True, environment: dict[str, str] | None = None, name: str = "") -> Member:
        """Start a worker of this pipeline."""
        return super().worker(ready=ready, environment={CHANGE: REKEY} | (environment or {}), name=name)


def put_with_wrong_keys(under: Rekeyed) -> None:
    """Send events to the partitions in turn: without a key, and with the keys of other aircraft."""
    producer, failed = clients.producer(under.kafka), list[object]()
    keyed = [event for event in real(2 * WRONG) if event.key is not None]  # a null field has no right key
    for row, event in enumerate(keyed[:WRONG]):
        key = None if row % 3 == 0 else f"other {row % 7}".encode()
        producer.produce(
            under.pipeline.events.topic,
            event.value,
            key,
            row % under.pipeline.events.partitions,
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    assert not failed


def copies(under: Rekeyed) -> tuple[int, int]:
    """Return the number of copies of re-keyed events, and of the events that they are copies of."""
    found = []
    with TopicReader(under.kafka, [under.pipeline.events.topic]) as reader:
        for records in reader.catch_up():
            found += [each for row in range(len(records)) if (each := rekeyed_from(records.headers_of(row)))]
    return len(found), len(set(found))


def test_a_worker_is_killed_while_it_re_keys_events(remembered: Callable[..., Rekeyed]) -> None:
    """SIGKILL in mid-stream: each wrong event has one copy, each copy one score, and each key its state."""
    under = remembered(Rekeyed, **{"worker.batch_rows_max": 40, "worker.commit_interval_seconds": 0.05})
    under.send(RIGHT)
    put_with_wrong_keys(under)
    first = under.worker()
    under.until(lambda: first.total("surgetank_events_rekeyed_total") > 0, 30, "it re-keys")

    under.fleet.kill(first)

    before, _ = copies(under)
    assert 0 < before < WRONG, "it was not in the middle"
    under.worker()
    found = under.audit()
    assert found.ok, (found, under.logs())
    assert (found.rekeyed, found.scores, found.dead_letters) == (WRONG, found.events - WRONG, 0)
    assert copies(under) == (WRONG, WRONG)
    under.check_states()
