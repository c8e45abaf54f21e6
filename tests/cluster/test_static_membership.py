"""Static membership: a worker that restarts finds its partitions as it left them, and a name is one worker's only."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from surgetank.errors import LostIdentity
from surgetank.kafka import clients
from tests.support.live_pipeline import Stage
from tests.support.stateful_pipeline import Remembered

EVENTS = 60_000
SESSION_SECONDS = 30  # more than a worker takes to start on a machine that is busy

RememberedFactory = Callable[..., Remembered]
StageFactory = Callable[..., Stage]


def static(protocol: str) -> dict[str, Any]:
    """Return the settings of workers with static membership."""
    return {
        "kafka.static_membership": True,
        "kafka.group_protocol": protocol,
        "kafka.session_timeout_seconds": SESSION_SECONDS,
        "worker.stuck_deadline_seconds": 40,
    }


def long_session(under: Stage) -> None:
    """Have the group wait for a silent worker. Of the classic protocol the workers say so themselves."""
    entry = ConfigEntry(
        "consumer.session.timeout.ms", str(SESSION_SECONDS * 1000), incremental_operation=AlterConfigOpType.SET
    )
    group = ConfigResource(ConfigResource.Type.GROUP, under.pipeline.group, incremental_configs=[entry])
    admin = clients.admin(under.kafka)
    admin.incremental_alter_configs([group])[group].result(10)


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_clean_restart_keeps_its_partitions(remembered: RememberedFactory, protocol: str) -> None:
    """It stops and starts again: its peer is never given what it had, and no event is lost and no state wrong."""
    under = remembered(**static(protocol))
    if protocol == "consumer":
        long_session(under)
    one, other = under.worker(name="one"), under.worker(name="other")
    under.until(lambda: one.partitions == other.partitions == 2, 30, "each has half")
    replay = under.sending(EVENTS, EVENTS / 10)
    gained = other.log.read_text().count("assigned partitions")

    assert under.fleet.stop(one) == 0
    one = under.worker(name="one")

    under.until(lambda: one.partitions == 2, 30, "it has its half again")
    under.until(lambda: replay.acknowledged == EVENTS, 60, "all was sent")
    found = under.audit()
    assert found.ok, found
    assert other.log.read_text().count("assigned partitions") == gained
    under.check_states()
    under.check_scores()


def test_after_a_kill_it_asks_until_its_session_has_ended(remembered: RememberedFactory) -> None:
    """The group does not give the name of a killed worker away at once; the next one waits for it, and goes on."""
    under = remembered(**static("consumer"))
    long_session(under)
    under.send(EVENTS // 2)
    worker = under.worker(name="one")
    under.fleet.kill(worker)
    under.send(EVENTS // 2)

    worker = under.worker(name="one", ready=False)

    under.until(lambda: worker.partitions == 4, SESSION_SECONDS + 30, "it has all partitions")
    assert "still waits for the last worker" in worker.log.read_text()
    found = under.audit()
    assert found.ok, found
    under.check_states()
    under.check_scores()


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_of_two_workers_of_one_name_one_ends(stage: StageFactory, protocol: str) -> None:
    """It says whose name it has, with a status of its own; the other one goes on and nothing is lost."""
    twins = {"worker.name": "twin", "worker.stuck_deadline_seconds": 12, "model.call_deadline_seconds": 5}
    under = stage(**(static(protocol) | twins))
    long_session(under)
    replay = under.sending(EVENTS, EVENTS / 20)
    first = under.worker()
    second = under.worker(ready=False)

    under.until(lambda: not (first.running and second.running), 60, "one of them ended")

    ended, stays = (first, second) if second.running else (second, first)
    assert ended.process.returncode == LostIdentity.exit_code, under.logs()
    assert "another live worker is named" in ended.log.read_text()
    under.until(lambda: replay.acknowledged == EVENTS, 60, "all was sent")
    found = under.audit()
    assert found.ok, found
    assert stays.running, under.logs()
