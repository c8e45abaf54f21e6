"""Records with the wrong key, on a real Kafka: each is sent again once and scored once, whoever is killed meanwhile."""

from collections.abc import Callable
from pathlib import Path

from surgetank.declaration import Pipeline
from surgetank.drills.fleet import Member
from surgetank.kafka import clients
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.kafka.retry import wait_until
from surgetank.kafka.topic_reader import TopicReader
from surgetank.processing.rekeying import REKEYED, RekeyedFrom, rekeyed_from
from surgetank.settings import KafkaSettings
from tests.support.broker_log import markers_left_out
from tests.support.event_bytes import real
from tests.support.stateful_pipeline import Remembered
from tests.support.topologies.stateful_flights import CHANGE, REKEY, publish, remembering

RIGHT, WRONG, FEW = 4_000, 10_000, 600


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


def put_with_wrong_keys(under: Rekeyed, count: int = WRONG) -> None:
    """Send ``count`` events to the partitions in turn: without a key, and with the keys of other aircraft."""
    producer, failed = clients.producer(under.kafka), list[object]()
    keyed = [event for event in real(2 * count) if event.key is not None]  # a null field has no right key
    for row, event in enumerate(keyed[:count]):
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
    first = under.worker()
    put_with_wrong_keys(under)
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


def leave_aborted_copies(under: Rekeyed, cluster: LocalCluster, worker: str) -> None:
    """Abort a transaction of this worker with a copy in each partition, so that the broker writes no marker there.

    The broker is killed directly after the answer, and starts again without the leaders that a marker needs.
    """
    event = next(event for event in real(10) if event.key is not None)
    for _ in range(5):
        producer = clients.transactional(under.kafka, transactional_id=f"{under.pipeline.name}-{worker}")
        producer.init_transactions(30)
        producer.begin_transaction()
        for partition in range(under.pipeline.events.partitions):
            original = RekeyedFrom(under.pipeline.name, partition, 0).dump()
            headers: list[tuple[str, str | bytes | None]] = [(REKEYED, original)]
            producer.produce(under.pipeline.events.topic, event.value, event.key, partition, headers=headers)
        assert producer.flush(30) == 0
        producer.abort_transaction(30)
        cluster.kill(1)
        cluster.start(1)
        cluster.wait()
        if wait_until(lambda: markers_left_out(cluster) > 0, 5.0, 0.1):
            return
    raise AssertionError("the broker wrote every marker")


def test_an_aborted_copy_without_a_marker_stays_aborted(
    local_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    """A worker ends hanging transactions also where only copies are written, before its next commit covers them."""
    cluster = local_cluster()
    cluster.up()
    with Rekeyed(KafkaSettings(bootstrap=cluster.bootstrap), tmp_path) as under:
        under.apply_topics()
        under.send(200)
        worker = under.worker(name="one")
        under.until(lambda: under.lag() == 0, 60, "the events are scored")
        under.fleet.stop(worker)
        leave_aborted_copies(under, cluster, "one")

        under.worker(name="one")
        put_with_wrong_keys(under, FEW)

        found = under.audit()
        assert found.ok, (found, under.logs())
        assert (found.rekeyed, found.dead_letters) == (FEW, 0)
        assert copies(under) == (FEW, FEW)
