"""The local Kafka, as it is: started, asked, killed, stopped, started again."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import NewTopic

from surgetank.errors import BrokerError, StartupError
from surgetank.kafka import broker_inspection, clients
from surgetank.kafka.local import cluster_layout
from surgetank.kafka.local.broker import free_ports
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.settings import KafkaSettings
from tests.support.kafka_under_test import KafkaUnderTest, discard, sweep

pytestmark = pytest.mark.cluster

MakeCluster = Callable[..., LocalCluster]
CLI = [sys.executable, "-c", "from surgetank.cli import main; main()", "kafka"]


def _settings(cluster: LocalCluster) -> KafkaSettings:
    return KafkaSettings(bootstrap=cluster.bootstrap)


def _create(cluster: LocalCluster, topic: str, partitions: int = 1) -> None:
    admin = clients.admin(_settings(cluster))
    admin.create_topics([NewTopic(topic, partitions)])[topic].result(30)


def _produce(cluster: LocalCluster, topic: str, values: list[bytes], partition: int = 0) -> None:
    """Send with acks=all and see every delivery report without an error."""
    failures: list[object] = []
    producer: Producer = clients.producer(_settings(cluster), delivery_timeout_ms=60_000)
    for value in values:
        producer.produce(
            topic,
            value,
            partition=partition,
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    assert producer.flush(60) == 0
    assert failures == []


def _consume(cluster: LocalCluster, topic: str, count: int, partition: int = 0) -> list[bytes]:
    consumer: Consumer = clients.reader(_settings(cluster))
    try:
        consumer.assign([KafkaTopicPartition(topic, partition, 0)])
        return [message.value() for message in consumer.consume(count, timeout=60)]
    finally:
        consumer.close()


@pytest.fixture(scope="module")
def shared(clusters: Path) -> Iterator[LocalCluster]:
    """Return a cluster of one broker that tests leave in any state: each begins with ``up``."""
    cluster = LocalCluster(clusters / "shared", 1, free_ports(2))
    yield cluster
    discard(cluster.data)


def _own(kafka: KafkaUnderTest) -> LocalCluster:
    assert kafka.cluster is not None, "this is about the Kafka that the project starts: run it without --bootstrap"
    return kafka.cluster


def _pids(cluster: LocalCluster) -> list[int | None]:
    return [one.pid for one in cluster.status()]


def _cli(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*CLI, *arguments], capture_output=True, text=True, check=False, timeout=180)


def test_up_serves_and_down_leaves_nothing_and_data_stay(local_cluster: MakeCluster) -> None:
    """A cluster, in a folder with a hard name, serves; is stopped by its own will; and has its data again."""
    cluster = local_cluster(folder="kafka, dätä=1")
    assert cluster.up() == (1,)
    _create(cluster, "kept")
    _produce(cluster, "kept", [b"a", b"b", b"c"])
    assert _consume(cluster, "kept", 3) == [b"a", b"b", b"c"]
    process = psutil.Process(_pids(cluster)[0])
    assert cluster.down() == ()
    assert not process.is_running()
    assert [one.state for one in cluster.status()] == ["down"]

    assert LocalCluster.found(cluster.data).up() == (1,)
    assert _consume(cluster, "kept", 3) == [b"a", b"b", b"c"]
    log = (cluster.data / "broker-1" / "server.log").read_text()
    assert log.count("Kafka Server started") == 2
    assert "shut down completed" in log

    assert cluster.up(fresh=True) == (1,)
    assert "kept" not in clients.admin(_settings(cluster)).list_topics(timeout=10).topics


def test_up_on_a_running_cluster_changes_nothing(shared: LocalCluster) -> None:
    """Twice up is one broker; other settings on a running cluster are refused, not ignored."""
    cluster = shared
    cluster.up()
    before = _pids(cluster)
    assert LocalCluster.found(cluster.data).up() == ()
    assert _pids(cluster) == before
    with pytest.raises(StartupError, match="runs with another heap_mb"):
        LocalCluster(cluster.data, 1, cluster.port, heap_mb=300).up()
    assert _pids(cluster) == before


def test_a_reused_pid_is_not_taken_for_a_broker(shared: LocalCluster) -> None:
    """The pid file names a living process that is no broker: up starts one, and down spares the stranger."""
    cluster = shared
    cluster.up()
    cluster.kill(1)
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        (cluster.data / "broker-1" / "pid").write_text(f"{stranger.pid} 1.0")
        assert [one.state for one in cluster.status()] == ["down"]
        assert cluster.down() == ()
        assert cluster.up() == (1,)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_taken_port_is_named_with_who_has_it(local_cluster: MakeCluster) -> None:
    """The message names the port and the process that listens there; nothing is left running."""
    cluster = local_cluster()
    taken = cluster.port + 1  # the controller's
    named = rf"port {taken} .* process {os.getpid()} listens"
    with socket.create_server(("127.0.0.1", taken)), pytest.raises(StartupError, match=named):
        cluster.up()
    assert [one.state for one in cluster.status()] == ["down"]
    assert cluster.up() == (1,)


def test_a_broker_that_dies_at_start_is_quoted(local_cluster: MakeCluster) -> None:
    """A setting that Kafka refuses ends the broker; up says so at once, with the end of its log."""
    good = local_cluster()
    bad = LocalCluster(good.data, 1, good.port, {"num.io.threads": "many"})
    with pytest.raises(BrokerError, match=r"cannot be formatted(?s:.*)num\.io\.threads"):
        bad.up()
    good.up()
    good.down()
    bad = LocalCluster(good.data, 1, good.port, {"broker.session.timeout.ms": "many"})
    with pytest.raises(BrokerError, match=r"broker 1 does not run.*server\.log ends(?s:.*)broker\.session"):
        bad.up()


def test_a_paused_broker_is_seen_resumed_and_stopped(shared: LocalCluster) -> None:
    """A paused broker is told as paused, wakes by up, and is stopped by down though it hears no SIGTERM."""
    cluster = shared
    cluster.up()
    cluster.pause(1)
    assert [one.state for one in cluster.status()] == ["paused"]
    assert cluster.up() == ()
    assert [one.state for one in cluster.status()] == ["running"]
    cluster.pause(1)
    assert cluster.down() == ()
    assert [one.state for one in cluster.status()] == ["down"]


def test_other_processes_find_and_stop_it_and_ctrl_c_does_not_reach_it(local_cluster: MakeCluster) -> None:
    """Through the command line: up, status, wait, up again, down; and their exit codes."""
    cluster = local_cluster()
    data = str(cluster.data)
    up = _cli("up", "--port", str(cluster.port), "--data", data, "--json")
    assert (up.returncode, json.loads(up.stdout)["started"]) == (0, [1]), up.stderr
    # Ctrl-C at a terminal is SIGINT to the foreground group of its session. The broker is in neither of ours.
    broker = _pids(cluster)[0]
    assert broker is not None
    assert os.getpgid(broker) == broker != os.getpgid(0)
    assert os.getsid(broker) == broker

    status = _cli("status", "--data", data, "--json")
    told = json.loads(status.stdout)
    assert (status.returncode, told["running"], told["brokers"][0]["pid"]) == (0, True, broker)
    expected = cluster_layout.settings(1)
    differing = {name: setting["value"] for name, setting in told["settings"].items()}
    assert differing.items() <= expected.items()
    assert "group.initial.rebalance.delay.ms" in differing
    table = _cli("status", "--data", data)
    assert "running" in table.stdout
    assert "group.initial.rebalance.delay.ms" in table.stdout
    assert _cli("wait", "--data", data).returncode == 0
    again = _cli("up", "--port", str(cluster.port), "--data", data)
    assert (again.returncode, "already running" in again.stdout) == (0, True)

    assert "stopped 1 of 1" in _cli("down", "--data", data).stdout
    assert not psutil.pid_exists(broker)
    down = _cli("status", "--data", data, "--json")
    assert (down.returncode, json.loads(down.stdout)["running"]) == (1, False)


@pytest.mark.parametrize("brokers", cluster_layout.BROKERS)
def test_the_broker_took_every_development_setting(request: pytest.FixtureRequest, brokers: int) -> None:
    """Kafka ignores names that it does not know: every broker is asked, and tells our value for each."""
    cluster = _own(request.getfixturevalue("kafka" if brokers == 1 else "kafka3"))
    admin = clients.admin(_settings(cluster))
    for broker in cluster.ids:
        told = broker_inspection.broker_settings(admin, broker)
        expected = cluster_layout.settings(brokers)
        assert {name: told[name].value for name in expected if name in told} == expected


def test_three_brokers_go_on_without_any_one_and_take_it_back(
    kafka3: KafkaUnderTest, topic: Callable[..., str]
) -> None:
    """With any one killed, acks=all still works; started again, it is back in sync. No record is lost."""
    cluster = _own(kafka3)
    name = topic(partitions=3)
    sent: list[bytes] = []
    for broker in cluster.ids:
        cluster.kill(broker)
        values = [f"without {broker}: {number}".encode() for number in range(100)]
        for partition in range(3):
            _produce(cluster, name, values, partition)
        sent += values
        with pytest.raises(BrokerError, match=f"broker {broker} does not run"):
            cluster.wait()
        cluster.start(broker)
        cluster.wait()
        cluster.wait_in_sync()
        for partition in range(3):
            assert _consume(cluster, name, len(sent), partition) == sent


def test_a_write_that_only_one_broker_would_hold_is_refused(kafka3: KafkaUnderTest) -> None:
    """min.insync.replicas is real: with one of two copies gone, acks=all fails, until the copy is back."""
    cluster = _own(kafka3)
    name = f"test.two-copies.{uuid.uuid4().hex[:8]}"
    admin = clients.admin(kafka3.settings)
    admin.create_topics([NewTopic(name, 1, replication_factor=2)])[name].result(30)
    while 0 not in (known := admin.list_topics(name, timeout=10).topics[name].partitions):
        assert len(_pids(cluster)) == 3  # the broker that answers may not have heard of the new topic yet
    partition = known[0]
    (follower,) = set(partition.replicas) - {partition.leader}
    cluster.stop(follower)
    errors: list[KafkaError | None] = []
    producer = clients.producer(kafka3.settings, enable_idempotence=False, retries=0)
    while admin.list_topics(name, timeout=10).topics[name].partitions[0].isrs != [partition.leader]:
        assert len(_pids(cluster)) == 3
    producer.produce(name, b"alone", on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(60) == 0
    assert [error and error.code() for error in errors] == [KafkaError.NOT_ENOUGH_REPLICAS]
    cluster.start(follower)
    cluster.wait()
    cluster.wait_in_sync()
    _produce(cluster, name, [b"together"])
    assert _consume(cluster, name, 1) == [b"together"]


def test_what_a_crashed_test_session_left_is_swept(tmp_path: Path) -> None:
    """A broker of a session that is gone is stopped and its folder removed; living sessions are spared."""
    me = psutil.Process()
    living, dead = tmp_path / f"{me.pid}-{me.create_time()}", tmp_path / f"{me.pid}-1.0"
    living.mkdir()
    cluster = LocalCluster(dead / "kafka", 1, free_ports(2))
    try:
        cluster.up()
        process = psutil.Process(_pids(cluster)[0])
        sweep(tmp_path)
        assert not process.is_running()
        assert list(tmp_path.iterdir()) == [living]
    finally:
        cluster.kill(1)


def test_a_stubborn_broker_is_killed_at_the_deadline(shared: LocalCluster) -> None:
    """A broker that has not obeyed when the deadline ends is killed, and told of."""
    cluster = shared
    cluster.up()
    process = psutil.Process(_pids(cluster)[0])
    assert cluster.down(deadline=0) == (1,)
    assert not process.is_running()


def test_an_interrupted_up_leaves_nothing_running(local_cluster: MakeCluster) -> None:
    """Ctrl-C while it starts: the brokers that it has started are stopped again.

    It is pressed until it is heard: Python drops an interrupt that comes while a library calls back.
    """
    cluster = local_cluster()
    command = [*CLI, "up", "--port", str(cluster.port), "--data", str(cluster.data)]
    starter = subprocess.Popen(command, start_new_session=True)
    try:
        while not (cluster.data / "broker-1" / "pid").exists():
            assert starter.poll() is None
        deadline = time.monotonic() + 60
        while starter.poll() is None and time.monotonic() < deadline:
            starter.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                starter.wait(10)  # stopping takes its time; a second interrupt would cut it short
        assert starter.poll() not in (None, 0)
    finally:
        starter.kill()
    assert [one.state for one in cluster.status()] == ["down"]
