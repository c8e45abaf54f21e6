"""Every event ends exactly once, whatever happens to the workers. Real brokers, real processes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from surgetank.kafka.local.cluster import LocalCluster
from surgetank.settings import KafkaSettings
from surgetank.telemetry.exposition_parser import sample_total
from tests.support.broker_log import markers_left_out
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import IN_PLAY, Stage

StageFactory = Callable[..., Stage]


@pytest.mark.kafka_versions
def test_a_backlog_is_scored_exactly_once_and_a_clean_stop_leaves_nothing(stage: StageFactory) -> None:
    """One worker, a hundred thousand events, SIGTERM: every event has its score, nothing is left to be redone."""
    under = stage(**IN_PLAY)
    under.send(100_000)
    worker = under.worker()

    found = under.audit()

    assert found.ok, found
    assert found.scores == found.events == 100_000
    assert under.fleet.stop(worker) == 0
    assert under.lag() == 0


def test_workers_that_join_and_leave_in_mid_stream_change_nothing(stage: StageFactory) -> None:
    """A second worker joins, the first one is stopped by SIGTERM while events flow: no loss, no double, in order."""
    under = stage(**IN_PLAY)
    under.send(100_000)
    first = under.worker()
    replay = under.sending(60_000, 6_000)
    second = under.worker()
    under.until(lambda: second.partitions > 0, 30, "the second worker has partitions")

    assert under.fleet.stop(first) == 0

    under.until(lambda: replay.acknowledged == 60_000, 60, "all was sent")
    found = under.audit()
    assert found.ok, found
    assert found.scores == 160_000
    assert under.fleet.stop(second) == 0
    assert under.lag() == 0


@pytest.mark.kafka_versions
@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_killed_worker_is_replaced_by_its_peer(stage: StageFactory, protocol: str) -> None:
    """SIGKILL in the middle of a backlog: its peer fences it and goes on where it was committed."""
    under = stage(**IN_PLAY, **{"kafka.group_protocol": protocol})
    first, second = under.worker(), under.worker()
    under.until(lambda: first.partitions == second.partitions == 2, 30, "each has half")
    replay = under.sending(100_000, 20_000)
    under.until(lambda: replay.acknowledged > 40_000, 30, "events flow")

    under.fleet.kill(first)

    under.until(lambda: replay.acknowledged == 100_000, 60, "all was sent")
    found = under.audit()
    assert found.ok, found
    assert found.scores == 100_000


@pytest.mark.kafka_versions
@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_zombie_is_fenced(stage: StageFactory, protocol: str) -> None:
    """SIGSTOP past the session and SIGCONT: what the zombie had open is refused, and it takes part again."""
    under = stage(**IN_PLAY, **{"kafka.group_protocol": protocol})
    zombie, peer = under.worker(), under.worker()
    under.until(lambda: zombie.partitions == peer.partitions == 2, 30, "each has half")
    under.sending(120_000, 8_000)
    under.until(lambda: under.lag() > 1_000 or under.scores() > 5_000, 30, "events flow")

    under.fleet.pause(zombie)
    under.until(lambda: peer.partitions == 4, 30, "the peer took over")
    under.fleet.resume(zombie)

    under.until(lambda: zombie.partitions > 0, 40, "the zombie takes part again")
    found = under.audit()
    assert found.ok, found
    assert zombie.running


def test_the_open_transaction_of_a_killed_worker_does_not_hold_readers_back(stage: StageFactory) -> None:
    """Its successor aborts it: all scores are readable long before the transaction's own timeout.

    The timeout is set to 100 s here, so the audit, which waits 30 s at most without news, passes only if the
    successor fenced its predecessor.
    """
    under = stage(**(IN_PLAY | {"kafka.transaction_timeout_seconds": 100, "worker.commit_interval_seconds": 5}))
    under.send(150_000)
    worker = under.worker()
    under.until(
        lambda: _received(worker.ask("/metrics")) > 10_000,
        30,
        "the worker has a transaction open",
    )
    under.fleet.kill(worker)

    under.worker()

    found = under.audit()
    assert found.ok, found
    assert found.scores == 150_000


@pytest.mark.parametrize("fate", ["the workers live on", "the workers die too"])
def test_the_only_broker_goes_away_for_twenty_seconds(
    local_cluster: Callable[..., LocalCluster], tmp_path: Path, fate: str
) -> None:
    """Workers, or their successors, survive the outage of the whole cluster by themselves: nothing lost or doubled.

    Commits follow one another without a pause: a broker that is stopped in the middle of one may leave it without an
    end in some partitions for good (ops/decisions/0002).
    """
    cluster = local_cluster()
    cluster.up()
    kafka = KafkaSettings(bootstrap=cluster.bootstrap)
    with Stage(kafka, tmp_path, settings=IN_PLAY | {"worker.commit_interval_seconds": 0.02}) as under:
        under.apply_topics()
        workers = [under.worker(), under.worker()]
        under.send(100_000)
        replay = under.sending(40_000, 2_000)
        under.until(lambda: replay.acknowledged > 4_000, 30, "events flow")

        cluster.stop(1)
        under.until(_passed(under, 20), 30, "twenty seconds")
        if fate == "the workers die too":
            for worker in workers:
                under.fleet.kill(worker)
        cluster.start(1)
        cluster.wait()
        if fate == "the workers die too":
            workers = [under.worker(ready=False), under.worker(ready=False)]

        under.until(lambda: replay.acknowledged == 40_000, 120, "all was sent")
        found = under.audit(wait=60)
        print(f"{fate}: markers the broker left out: {markers_left_out(cluster)}")
        assert found.ok, (found, under.logs())
        assert all(worker.running for worker in workers), under.logs()


def test_any_one_of_three_brokers_may_die(kafka3: KafkaUnderTest, tmp_path: Path) -> None:
    """Each broker is killed in turn and comes back: the same workers go on, with nothing lost or doubled."""
    assert kafka3.cluster is not None
    with Stage(kafka3.settings, tmp_path, settings=IN_PLAY) as under:
        under.apply_topics()
        under.send(60_000)
        workers = [under.worker(), under.worker()]
        replay = under.sending(10**6, 2_000)
        for broker in kafka3.cluster.ids:
            kafka3.cluster.kill(broker)
            enough = replay.acknowledged + 8_000
            under.until(partial(lambda least: replay.acknowledged > least, enough), 60, "sending goes on")
            kafka3.cluster.start(broker)
            kafka3.cluster.wait()
            kafka3.cluster.wait_in_sync()
        replay.stop()

        found = under.audit(wait=60)

        assert found.ok, (found, under.logs())
        assert all(worker.running for worker in workers), under.logs()


def _received(page: str | None) -> float:
    return sample_total(page or "", "surgetank_events_received_total")


def _passed(under: Stage, seconds: float) -> Callable[[], bool]:
    started = under.clock.monotonic()
    return lambda: under.clock.monotonic() - started > seconds
