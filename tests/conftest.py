"""A real Kafka for the tests that need one: started on first use, stopped at the end in any case.

``kafka`` is one broker (or, with ``--bootstrap``, an existing cluster), ``kafka3`` is three, for one file of tests. A
test that uses one of them is marked ``cluster``, and ``cluster3`` too, automatically.
"""

import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

import hypothesis
import psutil
import pytest
from confluent_kafka.admin import NewTopic

from surgetank.kafka import clients
from surgetank.kafka.local.broker import PORTS, choose_ports_from, free_ports
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.settings import KafkaSettings
from tests.support.kafka_under_test import HAS_CONSUMER_PROTOCOL, KafkaUnderTest, discard, running, sweep
from tests.support.programs import needed

CLUSTERS = Path(tempfile.gettempdir()) / f"surgetank-tests-{os.getuid()}"

# Two processes of pytest-xdist take a file at a time: they end together if the last files, all unit tests, are short.
LONGEST_FIRST = {
    name: place
    for place, name in enumerate(
        (
            "test_exactly_once.py",
            "test_chaos.py",
            "test_local.py",
            "test_changelogs.py",
            "test_task_manager_random.py",
            "test_anomaly_traces.py",
            "test_backfill.py",
            "test_feature_sql.py",
            "test_windows.py",
            "test_compiled.py",
            "test_crash.py",
            "test_comparison.py",
            "test_flights_memory_model.py",
        )
    )
}

# The threads of a training would wait busily for one another, as two processes share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The duration of an example depends on the machine more than on the code.
hypothesis.settings.register_profile("surgetank", deadline=None)
hypothesis.settings.load_profile("surgetank")

# Options of this run are not options of a pytest that a test starts: a project of a user does not know ``--no-skips``.
os.environ.pop("PYTEST_ADDOPTS", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this project."""
    parser.addoption("--bootstrap", metavar="HOST:PORT", help="use this Kafka instead of starting one broker")
    parser.addoption("--no-skips", action="store_true", help="a test that is skipped has failed, as in CI")


def pytest_configure(config: pytest.Config) -> None:
    """Give each process of pytest-xdist ports of its own: a port that one has chosen may not be in use yet."""
    if worker := getattr(config, "workerinput", None):
        choose_ports_from(PORTS[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the clusters of processes of pytest-xdist that had to be killed, as at Ctrl-C."""
    gc.unfreeze()
    if config.getoption("numprocesses", None) and CLUSTERS.is_dir():
        sweep(CLUSTERS)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by the cluster fixtures that they use, and put the longest files first.

    Tests of the protocol ``consumer`` are left out where the brokers do not have it.
    """
    if not HAS_CONSUMER_PROTOCOL:
        left_out = [item for item in items if hasattr(item, "callspec") and "consumer" in item.callspec.params.values()]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: LONGEST_FIRST.get(item.path.name, len(LONGEST_FIRST)))
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "kafka3" in fixtures:
            item.add_marker("cluster3")
        if {"kafka", "kafka3", "clusters"} & set(fixtures):
            item.add_marker("cluster")


def pytest_collection_finish() -> None:
    """Leave the objects of the collection out of the garbage collections, which would visit them each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure under ``--no-skips``. An expected failure is not a skip."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which --no-skips forbids: {report.longreprtext}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole file into an error under ``--no-skips``."""
    report = yield
    if report.skipped and collector.config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which --no-skips forbids: {report.longreprtext}"
    return report


@pytest.fixture(scope="session")
def prometheus_programs() -> None:
    """Fail the test if a program of Prometheus or Alertmanager is missing."""
    needed("prometheus", "promtool")
    needed("prometheus", "prometheus")
    needed("prometheus-alertmanager", "amtool")
    needed("prometheus-alertmanager", "alertmanager", "prometheus-alertmanager")


@pytest.fixture(scope="session")
def clusters() -> Iterator[Path]:
    """Return the folder of this session's clusters, after stopping the clusters of crashed sessions."""
    CLUSTERS.mkdir(exist_ok=True)
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0":  # two that sweep would disturb each other
        sweep(CLUSTERS)
    me = psutil.Process()
    session = CLUSTERS / f"{me.pid}-{me.create_time()}"
    session.mkdir()
    yield session
    shutil.rmtree(session, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[KafkaUnderTest]:
    """One broker for the whole session."""
    if bootstrap := request.config.getoption("--bootstrap"):
        yield KafkaUnderTest(KafkaSettings(bootstrap=bootstrap), None)
        return
    with running(request.getfixturevalue("clusters") / "kafka", brokers=1) as cluster:
        yield KafkaUnderTest(KafkaSettings(bootstrap=cluster.bootstrap), cluster)


@pytest.fixture(scope="module")
def kafka3(clusters: Path) -> Iterator[KafkaUnderTest]:
    """Three brokers for the tests of a file, replication 3, at least two in sync. Idle ones would cost CPU time."""
    with running(clusters / "kafka3", brokers=3) as cluster:
        yield KafkaUnderTest(KafkaSettings(bootstrap=cluster.bootstrap), cluster)


@pytest.fixture(autouse=True)
def _whole(request: pytest.FixtureRequest) -> None:
    """Before the next test, restart the brokers that a failed test left stopped, killed or paused."""
    for name in {"kafka", "kafka3"} & set(request.fixturenames):
        used: KafkaUnderTest = request.getfixturevalue(name)
        if used.cluster is not None:
            used.cluster.up()


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> Iterator[Callable[..., str]]:
    """Return a function that creates a topic with a unique name, deleted after the test.

    ``topic(partitions=1, prefix="test", config={})``. The topic is in ``kafka3`` if the test uses that.
    """
    used: KafkaUnderTest = request.getfixturevalue("kafka3" if "kafka3" in request.fixturenames else "kafka")
    admin = clients.admin(used.settings)
    made: list[str] = []

    def make(partitions: int = 1, prefix: str = "test", config: dict[str, str] | None = None) -> str:
        name = f"{prefix}.{uuid.uuid4().hex[:12]}"
        admin.create_topics([NewTopic(name, partitions, config=config or {})])[name].result(30)
        made.append(name)
        return name

    yield make
    for future in admin.delete_topics(made, request_timeout=5).values() if made else ():
        future.exception(30)  # a cluster that the test left stopped may not answer


@pytest.fixture
def local_cluster(clusters: Path) -> Iterator[Callable[..., LocalCluster]]:
    """Return a function that creates a cluster for one test, not started; it is stopped at the end of the test."""
    made: list[LocalCluster] = []

    def make(
        folder: str | None = None, brokers: int = 1, port: int = 0, settings: Mapping[str, str] | None = None
    ) -> LocalCluster:
        name = folder or uuid.uuid4().hex[:8]
        made.append(LocalCluster(clusters / name, brokers, port or free_ports(2 * brokers), settings or {}))
        return made[-1]

    yield make
    for cluster in made:
        discard(cluster.data)
