"""The lag exporter on a real Kafka: what it tells of groups of any application, and what it survives."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import pytest
from confluent_kafka.admin import NewTopic
from prometheus_client.parser import text_string_to_metric_families

from surgetank.clock import SystemClock
from surgetank.http.endpoint_security import EndpointSecurity
from surgetank.http.monitoring import monitoring_server
from surgetank.kafka import clients
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.lag.exporter import Exporter
from surgetank.lag.offset_collector_process import OffsetCollectorProcess
from surgetank.lag.rules import LagStatus
from surgetank.lag.seconds import LagMethod
from surgetank.records import TopicPartition
from surgetank.settings import ExporterSettings, HttpSettings, KafkaSettings, TelemetrySettings
from surgetank.telemetry.groups import GroupMetrics
from surgetank.telemetry.health import Health
from tests.support.consumer_group import Group, Sender, until
from tests.support.kafka_proxy import Proxy
from tests.support.kafka_under_test import KafkaUnderTest

Figures = dict[str, dict[tuple[str, ...], float]]


class Watched:
    """An exporter under test: it looks when it is told to. Use it as a context."""

    def __init__(self, kafka: KafkaSettings, groups: str, answer_seconds: float = 30.0) -> None:
        self.metrics = GroupMetrics()
        self.clock = SystemClock()
        self.health = Health(self.clock, conditions=("kafka",))
        self.asking = OffsetCollectorProcess(kafka)
        settings = ExporterSettings(groups=groups, answer_seconds=answer_seconds)
        self.exporter = Exporter(settings, self.asking, self.metrics, self.health, self.clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.asking.close()

    def look(self) -> Figures:
        """Look once; return the page's figures of groups by name and label values."""
        self.exporter.measure()
        return self.page()

    def page(self) -> Figures:
        """Return the figures of groups on the present page."""
        return figures(self.metrics.expose()[0].decode())


def figures(page: str) -> Figures:
    """Return what a page says of groups, without the prefix; label values in the order of group, topic, partition."""
    return {
        family.name.removeprefix("surgetank_"): {
            tuple(each.labels[name] for name in ("group", "topic", "partition") if name in each.labels): each.value
            for each in family.samples
        }
        for family in text_string_to_metric_families(page)
        if family.name.startswith(("surgetank_group", "surgetank_exporter"))
    }


@pytest.fixture
def group(kafka: KafkaUnderTest) -> Iterator[Group]:
    """Return a group of some application."""
    made = Group(kafka.settings, f"application-{uuid.uuid4().hex[:8]}")
    yield made
    made.close()


@pytest.fixture
def watched(kafka: KafkaUnderTest, group: Group) -> Iterator[Watched]:
    """Return an exporter of that group."""
    with Watched(kafka.settings, group.name) as made:
        yield made


def test_groups_of_any_application_are_told(
    kafka: KafkaUnderTest, topic: Callable[..., str], group: Group, watched: Watched
) -> None:
    """Offsets, lag in records and seconds, rates and drain, for each partition where the group committed."""
    one, other = (TopicPartition(topic(2), number) for number in (0, 1))
    sender = Sender(kafka.settings, one)
    sender.send(50)
    group.commit({one: 20, other: 0})
    watched.look()
    sender.send(100)
    group.commit({one: 110})

    found = watched.look()

    key, quiet = ((group.name, source.topic, str(source.partition)) for source in (one, other))
    assert found["group_committed_offset"] == {key: 110, quiet: 0}
    assert found["group_log_end_offset"] == {key: 150, quiet: 0}
    assert found["group_lag_records"] == {key: 40, quiet: 0}
    assert found["group_lag_seconds_how"] == {key: LagMethod.RECORD, quiet: LagMethod.NO_LAG}
    assert found["group_lag_seconds"][key] > 0
    assert found["group_arrival_records_per_second"][key] > found["group_arrival_records_per_second"][quiet] == 0
    assert found["group_drain_seconds"] == {key: float("inf"), quiet: 0}  # it grew from 30 to 40
    assert found["group_status"] == {(group.name,): LagStatus.OK}
    assert found["exporter_up"] == {(): 1}


def test_a_deleted_group_vanishes(
    kafka: KafkaUnderTest, topic: Callable[..., str], group: Group, watched: Watched
) -> None:
    """No series of it stays, and none becomes 0."""
    group.commit({TopicPartition(topic(), 0): 0})
    assert watched.look()["group_status"]
    admin = clients.admin(kafka.settings)
    admin.delete_consumer_groups([group.name])[group.name].result(30)

    found = watched.look()

    assert found["exporter_up"] == {(): 1}
    assert not any(values for name, values in found.items() if name.startswith("group_"))


def test_a_topic_made_anew_is_a_rewind_and_no_negative_lag(
    kafka: KafkaUnderTest, topic: Callable[..., str], group: Group, watched: Watched
) -> None:
    """The group begins again in a topic of the same name: its offset went back."""
    source = TopicPartition(topic(), 0)
    Sender(kafka.settings, source).send(100)
    group.commit({source: 100})
    watched.look()
    admin = clients.admin(kafka.settings)
    admin.delete_topics([source.topic])[source.topic].result(30)
    until(lambda: source.topic not in admin.list_topics(timeout=10).topics, 30, "the topic is gone")
    assert not watched.look()["group_lag_records"]  # of what is not there nothing is known

    admin.create_topics([NewTopic(source.topic, 1)])[source.topic].result(30)
    Sender(kafka.settings, source).send(10)
    group.commit({source: 4})
    until(lambda: bool(watched.look()["group_lag_records"]), 30, "the new topic is told of")

    found = watched.page()
    key = (group.name, source.topic, "0")
    assert found["group_lag_records"] == {key: 6}
    assert found["group_lag_status"] == {key: LagStatus.REWIND}
    assert found["group_status"] == {(group.name,): LagStatus.REWIND}


@pytest.mark.parametrize("hours", [5, -5])
def test_a_producer_whose_clock_is_hours_off_is_noticed(
    kafka: KafkaUnderTest, topic: Callable[..., str], group: Group, watched: Watched, hours: int
) -> None:
    """The records came between two looks; that is told in place of what they say, and that it is."""
    # By default Kafka refuses records from more than an hour ahead; topics may allow them.
    source = TopicPartition(topic(config={"message.timestamp.after.max.ms": str(2**62)}), 0)
    sender, clock = Sender(kafka.settings, source), SystemClock()
    sender.send(10)
    group.commit({source: 10})
    watched.look()
    before = clock.now()
    sender.send(5, skew_seconds=3600.0 * hours)

    found = watched.look()

    key = (group.name, source.topic, "0")
    assert found["group_lag_seconds_how"] == {key: LagMethod.BOUNDED}
    assert 0 <= found["group_lag_seconds"][key] <= clock.now() - before + 10  # the look before it is the other bound


def test_broker_away_means_unknown(local_cluster: Callable[..., LocalCluster]) -> None:
    """While no broker answers there is no figure of any group, and the exporter says so; then all comes back."""
    cluster = local_cluster()
    cluster.up()
    kafka = KafkaSettings(bootstrap=cluster.bootstrap)
    admin = clients.admin(kafka)
    admin.create_topics([NewTopic("requests", 1)])["requests"].result(30)
    source, group = TopicPartition("requests", 0), Group(kafka, "application")
    Sender(kafka, source).send(10)
    group.commit({source: 4})
    with Watched(kafka, ".*", answer_seconds=20) as watched:
        assert watched.look()["group_lag_records"] == {("application", "requests", "0"): 6}
        assert watched.health.ready()[0]
        cluster.stop(1)

        away = watched.look()

        assert away["exporter_up"] == {(): 0}
        assert not any(values for name, values in away.items() if name.startswith("group_"))
        assert watched.metrics.exporter_passes_failed.value() == 1
        assert not watched.health.ready()[0]
        cluster.up()
        until(lambda: watched.look()["exporter_up"] == {(): 1} and bool(watched.page()["group_status"]), 60, "it is up")
        assert watched.page()["group_lag_records"] == {("application", "requests", "0"): 6}
        assert watched.health.ready()[0]
    group.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
def test_a_client_that_ends_is_replaced_at_once(
    kafka: KafkaUnderTest, topic: Callable[..., str], group: Group, how: signal.Signals
) -> None:
    """librdkafka has ended its process by an assertion, and by a null pointer: the pass has its answer all the same."""
    group.commit({TopicPartition(topic(), 0): 0})
    with Watched(kafka.settings, group.name) as watched:
        watched.look()
        first = watched.asking.pid
        assert first is not None
        os.kill(first, how)

        found = watched.look()

        assert found["exporter_up"] == {(): 1}
        assert found["group_lag_records"]
        assert watched.asking.pid not in {None, first}


def test_a_client_that_hangs_costs_one_pass(kafka: KafkaUnderTest, topic: Callable[..., str], group: Group) -> None:
    """It does not answer in time: unknown; the next pass has a new client."""
    group.commit({TopicPartition(topic(), 0): 0})
    with Watched(kafka.settings, group.name, answer_seconds=5) as watched:
        watched.look()
        first = watched.asking.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)

        assert watched.look()["exporter_up"] == {(): 0}
        assert watched.look()["exporter_up"] == {(): 1}
        assert watched.page()["group_lag_records"]


def test_clients_that_end_again_and_again_are_not_asked_for_ever(kafka: KafkaUnderTest, group: Group) -> None:
    """Two in one pass: unknown. The exporter lives."""
    with Watched(kafka.settings, group.name) as watched:
        over = threading.Event()

        def kill() -> None:
            while not over.wait(0.01):
                if (pid := watched.asking.pid) is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        away = watched.look()
        over.set()
        killer.join()
        assert away["exporter_up"] == {(): 0}
        assert watched.look()["exporter_up"] == {(): 1}


def test_ten_scrapers_ask_kafka_nothing(kafka: KafkaUnderTest, topic: Callable[..., str], group: Group) -> None:
    """They are all given the same page, made once; the requests of a pass are as many as the metric says."""
    source = TopicPartition(topic(), 0)
    Sender(kafka.settings, source).send(10)
    group.commit({source: 4})
    with Proxy(kafka.bootstrap) as proxy, Watched(KafkaSettings(bootstrap=proxy.bootstrap), group.name) as watched:
        watched.look()
        before = proxy.requests.total()
        watched.look()
        asked = proxy.requests.total() - before
        assert asked == pytest.approx(watched.metrics.exporter_requests.value(), abs=3)

        telemetry = TelemetrySettings()
        with (
            monitoring_server(telemetry, watched.metrics, watched.health, EndpointSecurity(HttpSettings())) as server,
            ThreadPoolExecutor(10) as scrapers,
        ):
            barrier = threading.Barrier(10)

            def scrape(_: int) -> bytes:
                barrier.wait(30)
                with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
                    return bytes(answer.read())

            quiet = proxy.requests.total()
            pages = list(scrapers.map(scrape, range(10)))

        assert proxy.requests.total() == quiet
        assert len(set(pages)) == 1
        assert figures(pages[0].decode())["group_lag_records"] == {(group.name, source.topic, "0"): 6}


def test_one_pass_from_the_command_line(kafka: KafkaUnderTest, topic: Callable[..., str], group: Group) -> None:
    """It says what it found and what it took; without a broker it says so and ends with status 1."""
    source = TopicPartition(topic(), 0)
    Sender(kafka.settings, source).send(10)
    group.commit({source: 4})
    command = [sys.executable, "-m", "surgetank.cli", "lag-exporter", "--once", "--json", "--groups", group.name]

    told = subprocess.run([*command, "--bootstrap", kafka.bootstrap], capture_output=True, check=True, timeout=60)

    report = json.loads(told.stdout)
    assert (report["answered"], report["groups"], report["partitions"], report["lag"]) == (True, 1, 1, 6)
    assert report["seconds"] > 0
    assert set(report["resident_mib"]) == {"exporter", "asking"}
    nowhere = subprocess.run(
        [*command, "--bootstrap", "127.0.0.1:1"], capture_output=True, check=False, timeout=60, text=True
    )
    assert nowhere.returncode == 1
    assert json.loads(nowhere.stdout)["answered"] is False


def test_the_command_serves_until_it_is_told_to_stop(
    kafka: KafkaUnderTest, topic: Callable[..., str], group: Group
) -> None:
    """SIGTERM ends it with status 0, and the process that asks with it."""
    group.commit({TopicPartition(topic(), 0): 0})
    command = [sys.executable, "-m", "surgetank.cli", "lag-exporter", "--bootstrap", kafka.bootstrap]
    command += ["--groups", group.name, "--interval", "0.5"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as exporter:
        assert exporter.stderr is not None
        line = next(line for line in exporter.stderr if "telemetry listens" in line)
        url = next(word.removeprefix("url=") for word in line.split() if word.startswith("url="))

        def told() -> bool:
            with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
                return figures(answer.read().decode()).get("group_status") == {(group.name,): LagStatus.OK}

        until(told, 60, "the group is on the page")
        exporter.send_signal(signal.SIGTERM)
        assert exporter.wait(30) == 0
