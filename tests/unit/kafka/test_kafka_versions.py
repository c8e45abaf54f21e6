"""surgetank.kafka.local.kafka_versions: which version of Apache Kafka a local broker has."""

import json
from pathlib import Path

import pytest

from surgetank.errors import StartupError
from surgetank.kafka.local.cluster import LocalCluster, version_of
from surgetank.kafka.local.kafka_versions import (
    DEFAULT,
    VARIABLE,
    chosen_version,
    lock_file,
    newest_java,
    preferred_version,
    supported,
)

KNOWN = {"brokers": 1, "port": 9092, "heap_mb": 512, "settings": {}, "cluster_id": "x"}


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("wanted", "chosen"), [("", None), ("3.7", "3.7.2"), ("3", "3.9.2"), ("4.1.2", "4.1.2"), ("4", supported()[-1])]
)
def test_the_beginning_of_a_version_is_its_newest(wanted: str, chosen: str | None) -> None:
    """A user names what runs in production, as 3.7, and gets its newest patch here."""
    assert chosen_version({VARIABLE: wanted}) == chosen


@pytest.mark.parametrize("wanted", ["4.", "4.1.20", "3.70", "x"])
def test_the_local_kafka_lacks_the_version(wanted: str) -> None:
    """One sentence names those that there are."""
    with pytest.raises(
        StartupError, match=rf"{VARIABLE}={wanted}: a local Kafka has version 3\.7\.2, 3\.9\.2, 4\.1\.2"
    ):
        chosen_version({VARIABLE: wanted})
    with pytest.raises(StartupError, match=r"a local Kafka has 3\.7\.2"):
        lock_file(wanted)


def test_versions_before_3_9_1_need_the_security_manager() -> None:
    """Java 24 has none (KAFKA-17078)."""
    assert [newest_java(version) for version in ("3.7.2", "3.9.0", "3.9.1", "3.10.0", "4.4.0")] == [
        23,
        23,
        None,
        None,
        None,
    ]


def test_a_folder_keeps_its_version_until_another_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a new folder it is the default; one of a release that had a single version is known too."""
    assert version_of(tmp_path) == preferred_version() == DEFAULT
    (tmp_path / "cluster.json").write_text(json.dumps(KNOWN))
    assert version_of(tmp_path) == LocalCluster.found(tmp_path).version == "4.3.1"
    (tmp_path / "cluster.json").write_text(json.dumps(KNOWN | {"version": "3.9.2"}))
    assert version_of(tmp_path) == LocalCluster.found(tmp_path).version == "3.9.2"
    monkeypatch.setenv(VARIABLE, "4.1")
    assert version_of(tmp_path) == LocalCluster(tmp_path).version == "4.1.2"


def test_a_folder_holds_data_of_a_newer_kafka(tmp_path: Path) -> None:
    """An older broker could not read its metadata: refused before anything is started."""
    (tmp_path / "cluster.json").write_text(json.dumps(KNOWN | {"version": "4.1.2"}))
    with pytest.raises(
        StartupError, match=rf"of Apache Kafka 4\.1\.2, which 3\.9\.2 may not read: .*--fresh.*{VARIABLE}"
    ):
        LocalCluster(tmp_path, version="3.9.2").up()
