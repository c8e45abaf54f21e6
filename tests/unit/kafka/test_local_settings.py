"""The local cluster's shape, properties and what it asks of the machine: all that needs no broker."""

import hashlib
import json
import re
import uuid
from collections import deque
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from surgetank.cli import kafka
from surgetank.errors import BrokerError, StartupError
from surgetank.kafka.local import broker as broker_process
from surgetank.kafka.local import cluster_layout, jars
from surgetank.kafka.local.broker import Broker, choose_ports_from, free_ports, jvm_flags
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.kafka.local.cluster_layout import new_cluster_id
from surgetank.kafka.local.ephemeral_ports import ephemeral_ports, port_warning
from surgetank.kafka.local.kafka_versions import DEFAULT, lock_file, supported
from surgetank.kafka.local.locked_files import read_lock
from tests.support.file_server import file_server


def _loaded(text: str) -> dict[str, str]:
    """Read a properties file as Java does: escapes in UTF-16 units, the first bare '=' ends the name."""
    entries = {}
    for line in text.splitlines():
        name, value = line.split("=", 1)
        entries[_unescaped(name)] = _unescaped(value)
    return entries


def _unescaped(text: str) -> str:
    parts = text.split("\\u")
    units = [ord(c) for c in parts[0]]
    for part in parts[1:]:
        units += [int(part[:4], 16), *(ord(c) for c in part[4:])]
    return b"".join(unit.to_bytes(2, "big") for unit in units).decode("utf-16-be")


_STRINGS = st.text(st.characters(codec="utf-8"), min_size=1)


@given(st.dictionaries(_STRINGS, _STRINGS))
def test_rendered_properties_read_back_as_they_were(entries: dict[str, str]) -> None:
    """Whatever names and values hold (spaces, line ends, backslashes, emoji), Java reads the same."""
    text = cluster_layout.render(entries)
    assert text.isascii()
    assert len(text.splitlines()) == len(entries)
    assert _loaded(text) == entries


@given(st.sampled_from(cluster_layout.BROKERS), st.integers(1024, 60_000))
def test_ports_of_a_cluster_are_a_row_without_overlap(brokers: int, port: int) -> None:
    """Clients' and controllers' ports are 2 x brokers different ports in a row from the first one."""
    layout = cluster_layout.ClusterLayout(brokers, port)
    ports = [one for broker in layout.ids for one in layout.ports(broker)]
    assert sorted(ports) == list(range(port, port + 2 * brokers))
    assert layout.bootstrap.split(",")[0] == f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("ports", "named"),
    [(range(9092, 9094), None), (range(32_766, 32_768), None), (range(32_767, 32_769), "32768"), ([50_000], "50000")],
)
def test_a_broker_port_in_the_ephemeral_range(ports: list[int], named: str | None, tmp_path: Path) -> None:
    """The warning names the ports in the kernel's range for outgoing connections, and the highest port to choose."""
    file = tmp_path / "ip_local_port_range"
    file.write_text("32768\t60999\n")
    warning = port_warning(ports, ephemeral_ports(file))
    assert (warning is None) is (named is None)
    if warning is not None:
        assert f"port {named} is in the range 32768 to 60999" in warning
        assert f"--port below {32_768 - len(ports) + 1}" in warning
    assert port_warning(ports, ephemeral_ports(tmp_path / "absent")) is None


def test_the_start_of_a_cluster_prints_the_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of all ports of its brokers, on the error output, and starts the cluster."""
    monkeypatch.setattr("surgetank.kafka.local.ephemeral_ports.ephemeral_ports", lambda: range(32_768, 61_000))
    monkeypatch.setattr(LocalCluster, "up", lambda *_, **__: (1, 2, 3))

    result = CliRunner().invoke(kafka.app, ["up", "--brokers", "3", "--port", "32766", "--data", str(tmp_path)])

    assert result.exit_code == 0, result.output
    assert "warning: port 32768, 32769, 32770, 32771 is in the range 32768 to 60999" in result.stderr
    assert "choose --port below 32763" in result.stderr
    assert "Kafka is ready at 127.0.0.1:32766" in result.stdout


def test_no_folder_for_jars_that_can_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a home folder nor a folder that is given: one sentence with the variable to set."""
    monkeypatch.setattr(Path, "expanduser", _no_home)
    with pytest.raises(StartupError, match=r"no home folder .*set SURGETANK_CACHE"):
        jars.cache({})
    monkeypatch.undo()
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="cannot hold Apache Kafka's jars: Not a directory; set SURGETANK_CACHE"):
        jars.fetch(DEFAULT, {"SURGETANK_CACHE": str(tmp_path / "file" / "cache")})


def _no_home(_: Path) -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """As in a read-only working directory: one sentence with the option to give."""
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="Not a directory; give another folder with --data"):
        LocalCluster(tmp_path / "file" / "kafka").up()


def test_ports_that_were_returned_before_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that was given a port may not listen yet. Nothing outside of the given range is returned."""
    monkeypatch.setattr(broker_process, "_candidates", deque([1]))
    monkeypatch.setattr(broker_process, "check_free", lambda port: None)
    choose_ports_from(range(20_000, 20_200, 10))
    first = [free_ports(2) for _ in range(20)]
    assert sorted(first) == list(range(20_000, 20_200, 10))
    assert [free_ports(2) for _ in range(20)] == first


@pytest.mark.parametrize("brokers", cluster_layout.BROKERS)
def test_every_listener_is_on_loopback(brokers: int) -> None:
    """Nothing of a local cluster listens to, or is announced on, another interface than loopback."""
    layout = cluster_layout.ClusterLayout(brokers, 9092)
    for broker in layout.ids:
        entries = cluster_layout.properties(layout, broker, {})
        addresses = entries["listeners"].split(",") + entries["advertised.listeners"].split(",")
        assert all("://127.0.0.1:" in address for address in addresses)


def test_three_brokers_survive_one_and_a_single_one_can_write() -> None:
    """Of three brokers two must have a write; a single broker asks for no copies that it cannot have."""
    three, one = cluster_layout.settings(3), cluster_layout.settings(1)
    assert (three["default.replication.factor"], three["min.insync.replicas"]) == ("3", "2")
    assert (three["offsets.topic.replication.factor"], three["transaction.state.log.min.isr"]) == ("3", "2")
    replicas = {value for name, value in one.items() if "replication.factor" in name or "isr" in name}
    assert replicas == {"1"}


def test_given_settings_go_over_the_development_settings_but_not_over_addresses() -> None:
    """A user may change how a broker behaves, not where it is: the cluster would not find itself."""
    layout = cluster_layout.ClusterLayout(1, 9092)
    extra = {"num.partitions": "7", "auto.create.topics.enable": "true", "listeners": "PLAINTEXT://0.0.0.0:1"}
    entries = cluster_layout.properties(layout, 1, extra)
    assert (entries["num.partitions"], entries["auto.create.topics.enable"]) == ("7", "true")
    assert "0.0.0.0" not in entries["listeners"]


@pytest.mark.parametrize(("brokers", "port"), [(2, 9092), (0, 9092), (1, 80), (3, 65_531)])
def test_a_cluster_that_cannot_be_is_refused(tmp_path: Path, brokers: int, port: int) -> None:
    """Broker counts other than 1 and 3 and ports out of range are refused when the cluster is described."""
    with pytest.raises(StartupError, match=str(port if brokers in cluster_layout.BROKERS else brokers)):
        LocalCluster(tmp_path, brokers, port)


def test_a_folder_without_a_cluster_is_named(tmp_path: Path) -> None:
    """Asking for a cluster that is not there says where it looked and how to start one."""
    with pytest.raises(BrokerError, match=r"no local Kafka in .*kafka up"):
        LocalCluster.found(tmp_path)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    """``fresh`` never erases what is not a local Kafka's."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StartupError, match="not empty and holds no local Kafka"):
        LocalCluster(tmp_path).up(fresh=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("content", ["", "abc", "1 2", "999999999 1.0", "-1 0", "\x00"])
def test_a_stale_or_broken_pid_file_is_no_broker(tmp_path: Path, content: str) -> None:
    """A pid of no process, of another process, or no pid at all: the broker does not run."""
    broker = Broker(1, tmp_path, (9092, 9093))
    (tmp_path / "pid").write_text(content)
    assert broker.process is None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SURGETANK_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/surgetank")),
        ({}, Path("~/.cache/surgetank").expanduser()),
    ],
)
def test_the_cache_is_where_the_environment_says(environment: dict[str, str], expected: Path) -> None:
    """SURGETANK_CACHE goes before XDG_CACHE_HOME, which goes before ~/.cache."""
    assert jars.cache(environment) == expected


@pytest.mark.parametrize("kafka_version", supported())
def test_the_lock_file_pins_the_jars_of_the_pom(kafka_version: str) -> None:
    """Each line is a checksum and the path of a jar in Maven's layout; versions are those of ops/kafka-jars/pom.xml."""
    files = read_lock(lock_file(kafka_version))
    assert len({file.name for file in files}) == len(files) > 40
    for file in files:
        *_, artifact, version, name = file.path.split("/")
        assert name == f"{artifact}-{version}.jar"
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
    pom = ElementTree.parse(Path(__file__).parents[3] / "ops" / "kafka-jars" / "pom.xml")
    assert pom.findtext("{*}properties/{*}kafka.version") == DEFAULT
    assert f"org/apache/kafka/kafka_2.13/{kafka_version}/kafka_2.13-{kafka_version}.jar" in {
        file.path for file in files
    }
    assert not any(file.name.startswith("slf4j-reload4j") for file in files)  # a second binding of slf4j
    assert f"log4j-slf4j-impl-{pom.findtext('{*}properties/{*}log4j.version')}.jar" in {file.name for file in files}


def test_an_interrupted_fetch_is_completed_by_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A jar that the mirror of the environment lacks is named, the other one is kept; then both are there."""
    monkeypatch.setenv("no_proxy", "*")
    lock = tmp_path / "kafka-9.9.lock"
    monkeypatch.setattr(jars, "lock_file", {"9.9": lock}.__getitem__)
    paths = ["org/apache/kafka/kafka_2.13/9.9/kafka_2.13-9.9.jar", "org/x/y/1/y-1.jar"]
    lines = [f"{hashlib.sha256(path.encode()).hexdigest()}  {path}\n" for path in paths]
    lock.write_text("".join(lines))
    with file_server() as server:
        environment = {"SURGETANK_CACHE": str(tmp_path / "cache"), "SURGETANK_MAVEN_REPOSITORY": server.url}
        server.files[paths[0]] = paths[0].encode()
        with pytest.raises(StartupError, match=r"y-1\.jar .* 404"):
            jars.fetch("9.9", environment)
        server.files[paths[1]] = paths[1].encode()
        home = jars.fetch("9.9", environment)
    assert jars.fetch("9.9", environment | {"SURGETANK_MAVEN_REPOSITORY": "not needed any more"}) == home
    assert home.name.startswith("kafka-9.9-")
    assert {path.name for path in home.glob("*.jar")} == {"kafka_2.13-9.9.jar", "y-1.jar"}
    assert server.asked == {paths[0]: 1, paths[1]: 2}


def test_a_cluster_of_another_shape_asks_for_fresh(tmp_path: Path) -> None:
    """Three brokers over the data of one are refused before anything is started, and the way out is named."""
    known = {"brokers": 1, "port": 9092, "heap_mb": 512, "settings": {}, "cluster_id": "x"}
    (tmp_path / "cluster.json").write_text(json.dumps(known))
    with pytest.raises(StartupError, match=r"holds a cluster of 1, not 3: add --fresh"):
        LocalCluster(tmp_path, 3).up()
    assert LocalCluster.found(tmp_path).brokers == 1


def test_a_cluster_id_is_never_taken_for_an_option() -> None:
    """Kafka's tools read an id that begins with a dash as an option; one in 64 random ids would."""
    ids = [new_cluster_id(uuid.UUID(bytes=bytes([first, *range(15)]))) for first in range(256)]

    assert not [one for one in ids if one.startswith("-")]
    assert {len(one) for one in ids} == {22}


def test_only_a_short_lived_broker_goes_without_the_optimising_compiler() -> None:
    """One that is to be measured is compiled as well as the JVM can."""
    quick = "-XX:TieredStopAtLevel=1"
    assert quick in jvm_flags(512, short_lived=True)
    assert quick not in jvm_flags(512, short_lived=False)
    assert set(jvm_flags(300, short_lived=True)) - {quick} == set(jvm_flags(300, short_lived=False))
