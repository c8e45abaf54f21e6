"""State that survives: whatever happens to workers and disks, every key is what its events make it. Real brokers."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from surgetank.errors import DiskFull, TopicsError
from surgetank.kafka import provisioning
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.lag.group_offsets import GroupOffsets
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings
from tests.support.consumer_group import Group
from tests.support.kafka_proxy import END_TXN, TXN_OFFSET_COMMIT, Proxy, cut, other_generation
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import IN_PLAY
from tests.support.stateful_pipeline import Remembered, changelog_records, restored
from tests.support.topologies import worker_faults

EVENTS = 100_000

RememberedFactory = Callable[..., Remembered]
Harm = Callable[[Path], None]


def deleted(file: Path) -> None:
    """Delete a file."""
    file.unlink()


def truncated(file: Path) -> None:
    """Cut a file in half."""
    os.truncate(file, file.stat().st_size // 2)


def overwritten(file: Path) -> None:
    """Change some bytes in the first half of a file, where the rows are."""
    with file.open("r+b") as damaged:
        damaged.seek(file.stat().st_size // 4)
        damaged.write(b"\xff" * 64)


@pytest.fixture
def proxy(kafka: KafkaUnderTest) -> Iterator[Proxy]:
    """Return a proxy before the broker; what connects to it loses what the test wants lost."""
    with Proxy(kafka.bootstrap) as proxy:
        yield proxy


def test_the_state_of_every_key_is_what_its_events_make_it(remembered: RememberedFactory) -> None:
    """One worker, boardings and departures: every event has its score, every key of every table its state.

    Files of the same events have the same scores, without Kafka.
    """
    under = remembered(**IN_PLAY)
    under.send(EVENTS)
    worker = under.worker()

    found = under.audit()

    assert found.ok, found
    under.check_states()
    under.check_scores()
    under.check_scores_of_files()
    assert under.fleet.stop(worker) == 0
    assert under.lag() == 0


@pytest.mark.kafka_versions
def test_a_killed_worker_is_followed_from_an_empty_disk(remembered: RememberedFactory) -> None:
    """SIGKILL in mid-stream: its peer, which has nothing of it, restores from the changelogs and goes on."""
    under = remembered(**IN_PLAY)
    first, second = under.worker(), under.worker()
    under.until(lambda: first.partitions == second.partitions == 2, 30, "each has half")
    replay = under.sending(EVENTS, 20_000)
    under.until(lambda: restored(first) == 0 and replay.acknowledged > 60_000 and under.scores() > 10_000, 30, "flow")

    under.fleet.kill(first)

    under.until(lambda: second.partitions == 4, 60, "the peer has all")
    under.until(lambda: replay.acknowledged == EVENTS, 60, "all was sent")
    found = under.audit()
    assert found.ok, found
    assert restored(second) > 0
    under.check_states()
    under.check_scores()


def test_a_worker_comes_back_to_its_own_disk(remembered: RememberedFactory) -> None:
    """SIGKILL, and a start under the same name: it takes only what its disk lacks."""
    under = remembered(**IN_PLAY)
    under.send(EVENTS)
    worker = under.worker(name="stays")
    under.audit()
    assert under.fleet.stop(worker) == 0
    under.send(EVENTS // 4)
    worker = under.worker(name="stays")
    under.until(lambda: under.lag() == 0, 60, "the rest is scored")
    under.fleet.kill(worker)
    under.send(EVENTS // 4)

    worker = under.worker(name="stays")

    found = under.audit()
    assert found.ok, found
    assert restored(worker) < changelog_records(under) / 2, "it read more than what its disk lacked"
    assert "dropped" not in worker.log.read_text()
    under.check_states()
    under.check_scores()


def test_workers_that_join_and_leave_take_the_state_along(remembered: RememberedFactory) -> None:
    """A second worker joins under load, the first one stops: state follows its partitions."""
    under = remembered(**IN_PLAY)
    under.send(EVENTS // 2)
    first = under.worker()
    replay = under.sending(EVENTS // 2, 6_000)
    second = under.worker()
    under.until(lambda: second.partitions > 0, 30, "the second worker has partitions")

    assert under.fleet.stop(first) == 0

    under.until(lambda: replay.acknowledged == EVENTS // 2, 60, "all was sent")
    found = under.audit()
    assert found.ok, found
    under.check_states()
    under.check_scores()


@pytest.mark.parametrize("fault", ["between commit and write:4", "in the write:9", "in a restore:3"])
def test_a_worker_that_dies_at_a_chosen_point_loses_nothing(remembered: RememberedFactory, fault: str) -> None:
    """SIGKILL between commit and write, in the write, in a restore; then a worker of the same name goes on."""
    under = remembered(**IN_PLAY)
    restoring = "restore" in fault
    if restoring:
        under.send(EVENTS // 2)
        first = under.worker()
        under.until(lambda: under.scores() > 10_000, 60, "scores are there")
        under.fleet.kill(first)
    worker = under.worker(ready=False, environment={worker_faults.ENVIRONMENT: fault}, name="dies")
    if not restoring:  # events flow once it owns all: a backlog may fit into fewer transactions than the fault needs
        under.until(lambda: worker.partitions == 4, 60, "it has all")
    replay = under.sending(EVENTS // 2, EVENTS / 20)
    under.until(lambda: not worker.running, 60, "it died")

    under.worker(name="dies")

    under.until(lambda: replay.acknowledged == EVENTS // 2, 60, "all was sent")
    found = under.audit()
    assert found.ok, found
    under.check_states()
    under.check_scores()


@pytest.mark.parametrize("fault", ["giving up:1", "gaining:1"])
def test_a_worker_that_dies_in_a_rebalance_loses_nothing(remembered: RememberedFactory, fault: str) -> None:
    """SIGKILL while it gives partitions up to a worker that joins, or when it joins and gains them; a third goes on."""
    under = remembered(**IN_PLAY)
    replay = under.sending(EVENTS, EVENTS / 10)
    dies, calm = {worker_faults.ENVIRONMENT: fault}, dict[str, str]()
    first = under.worker(environment=dies if "giving" in fault else calm)
    under.until(lambda: under.scores() > 1_000, 60, "events flow")
    second = under.worker(environment=dies if "gaining" in fault else calm, ready=False)
    under.until(lambda: not (first.running and second.running), 60, "it died")

    third = under.worker()

    under.until(lambda: third.partitions > 0, 60, "another has partitions")
    under.until(lambda: replay.acknowledged == EVENTS, 60, "all was sent")
    found = under.audit()
    assert found.ok, (found, under.logs())
    under.check_states()
    under.check_scores()


def test_offsets_of_facts_are_committed_again_before_brokers_forget_them(
    local_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    """No member subscribes to facts, and brokers drop such offsets; a worker that has nothing to do renews them."""
    cluster = local_cluster(
        settings={"offsets.retention.minutes": "1", "offsets.retention.check.interval.ms": "2000"},
    )
    cluster.up(timeout=120)
    with Remembered(KafkaSettings(bootstrap=cluster.bootstrap), tmp_path) as under:
        under.apply_topics()
        under.send(2_000)
        worker = under.worker(environment={worker_faults.ENVIRONMENT: f"{worker_faults.REFRESH}:10"})
        standing = GroupOffsets(under.kafka, under.pipeline.group, under.pipeline.sources)
        under.until(lambda: sum(each.lag for each in standing.now()) == 0, 60, "all is committed")
        bystander = Group(under.kafka, f"{under.prefix}-idle")  # commits once, and is forgotten
        facts = TopicPartition(under.pipeline.facts[0].topic, 0)
        bystander.commit({facts: 1})
        idle = GroupOffsets(under.kafka, bystander.name, [facts.topic])

        under.until(lambda: all(each.committed is None for each in idle.now()), 180, "brokers forget")

        assert all(each.committed is not None for each in standing.now() if each.end)
        bystander.close()
        assert under.fleet.stop(worker) == 0


def test_an_aborted_transaction_changes_no_state(remembered: RememberedFactory, proxy: Proxy) -> None:
    """The group refuses some commits, and the answers of others are lost: what is kept is what was committed."""
    under = remembered(**IN_PLAY, **{"kafka.bootstrap": proxy.bootstrap})
    proxy.on_request(TXN_OFFSET_COMMIT, other_generation, first=4, times=2)
    proxy.on_answer(END_TXN, cut, first=6, times=2)
    worker = under.worker()
    replay = under.sending(EVENTS, EVENTS / 5)
    under.until(lambda: replay.acknowledged == EVENTS, 60, "all was sent")

    found = under.audit()

    assert found.ok, found
    assert proxy.done[TXN_OFFSET_COMMIT] == 2
    assert proxy.done[END_TXN] == 2
    assert worker.running, under.logs()
    under.check_states()
    under.check_scores()


@pytest.mark.parametrize("harm", [deleted, truncated, overwritten], ids=lambda harm: harm.__name__)
def test_a_damaged_disk_is_noticed_and_restored(remembered: RememberedFactory, harm: Harm) -> None:
    """Files of a task are deleted, cut short or overwritten: the worker says so, restores, and nothing is wrong."""
    under = remembered(**IN_PLAY)
    under.send(EVENTS // 2)
    worker = under.worker(name="damaged")
    under.audit()
    assert under.fleet.stop(worker) == 0
    files = sorted((under.folder / "state").rglob("*.sst"))
    assert files
    for file in files:
        harm(file)
    under.send(EVENTS // 2)

    worker = under.worker(name="damaged")

    found = under.audit()
    assert found.ok, (found, under.logs())
    assert "restored from its changelogs" in worker.log.read_text()
    under.check_states()
    under.check_scores()


def test_any_worker_tells_the_last_score_of_a_key(remembered: RememberedFactory) -> None:
    """Asked at either of two workers, a key's last score is the one on the score topic; a strange key is not found."""
    under = remembered(**IN_PLAY)
    workers = [under.worker(), under.worker()]
    under.until(lambda: all(worker.partitions == 2 for worker in workers), 30, "each has half")
    under.send(EVENTS // 2)
    assert under.audit().ok
    name = under.pipeline.name
    last = under.last_scores()
    under.until(lambda: under.lag() == 0, 30, "all is committed")

    for worker in workers:
        for key, score in list(last.items())[:20]:
            told = worker.ask(f"/v1/{name}/predictions/{key}", timeout=10)
            assert told is not None, (key, under.logs())
            assert json.loads(told)["score"] == score
        assert worker.ask(f"/v1/{name}/predictions/nobody", timeout=10) is None
        features = json.loads(worker.ask(f"/v1/{name}/features/{next(iter(last))}", timeout=10) or "{}")
        assert "planes" in features["tables"]


def test_a_reset_begins_anew_on_every_disk(remembered: RememberedFactory) -> None:
    """Changelogs and folders are emptied; a disk that the reset did not reach is not believed, and nothing is lost."""
    under = remembered(**IN_PLAY)
    under.send(EVENTS // 4)
    worker = under.worker(name="reset")
    assert under.audit().ok
    under.until(lambda: under.lag() == 0, 30, "all is committed")
    kafka, changelogs = under.kafka, list(under.pipeline.changelogs.values())
    with pytest.raises(TopicsError, match="stop them before"):
        provisioning.renew(kafka, under.pipeline, changelogs)
    assert under.fleet.stop(worker) == 0
    provisioning.renew(kafka, under.pipeline, changelogs)

    again = under.worker(name="reset")

    assert "of another declaration" in again.log.read_text()
    assert changelog_records(under) == 0
    under.send(EVENTS // 4)
    assert under.audit().ok
    assert changelog_records(under) > 0


def test_a_full_disk_ends_the_worker_and_loses_nothing(remembered: RememberedFactory) -> None:
    """No room for state: the worker says so and ends with its own status; with room again, it goes on from there."""
    under = remembered(**IN_PLAY, **{"state.memory_mib": 16})
    under.send(EVENTS)
    worker = under.worker(
        ready=False, environment={worker_faults.ENVIRONMENT: f"{worker_faults.NO_ROOM}:200000"}, name="full"
    )
    under.until(lambda: not worker.running, 90, "the worker ended")
    assert worker.process.returncode == DiskFull.exit_code, under.logs()
    assert "no space left for state" in worker.log.read_text()

    under.worker(name="full")

    found = under.audit()
    assert found.ok, found
    under.check_states()
    under.check_scores()
