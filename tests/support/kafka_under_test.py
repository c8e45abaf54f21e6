"""Kafka clusters of a test session: started in a folder of the session, killed at its end, also after a crash."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from surgetank.kafka.local.broker import free_ports
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.kafka.local.kafka_versions import numbers, preferred_version
from surgetank.settings import KafkaSettings

# Of the brokers that this session starts.
VERSION = numbers(preferred_version())
HAS_CONSUMER_PROTOCOL = VERSION >= (4, 0)  # KIP-848 as librdkafka speaks it


@dataclass(frozen=True)
class KafkaUnderTest:
    """A running Kafka. ``cluster`` is None for an external one (``--bootstrap``)."""

    settings: KafkaSettings
    cluster: LocalCluster | None

    @property
    def bootstrap(self) -> str:
        """Return the bootstrap servers."""
        return self.settings.bootstrap


@contextmanager
def running(data: Path, brokers: int) -> Iterator[LocalCluster]:
    """Run a cluster with its data in this folder; kill it and remove the folder at the end."""
    try:
        cluster = LocalCluster(data, brokers, free_ports(2 * brokers))
        cluster.up(timeout=120)
        yield cluster
    finally:
        discard(data)


def discard(data: Path) -> None:
    """Kill the cluster of this folder and remove the folder with its data."""
    if (data / "cluster.json").exists():
        cluster = LocalCluster.found(data)
        for broker in cluster.ids:
            cluster.kill(broker)
    shutil.rmtree(data, ignore_errors=True)


def sweep(base: Path) -> None:
    """Kill and remove the clusters of test sessions whose process is gone."""
    for session in base.iterdir():
        if not _lives(session):
            for folder in session.iterdir():
                discard(folder)
            shutil.rmtree(session, ignore_errors=True)


def _lives(session: Path) -> bool:
    pid, started = session.name.split("-")
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) < 2
    except psutil.NoSuchProcess:
        return False
