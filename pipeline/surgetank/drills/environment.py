"""The environment of a drill: a pipeline with recorded events, its workers, and a Kafka cluster that can be damaged."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surgetank.declaration import Pipeline
from surgetank.drills.fleet import Fleet
from surgetank.drills.recording import Recording
from surgetank.kafka.local.cluster import LocalCluster, temporary_cluster
from surgetank.settings import HttpSettings, KafkaSettings, load


@dataclass(frozen=True, slots=True)
class DrillEnvironment:
    """``topology`` is the module that workers load; ``settings`` apply to each worker; logs are in ``folder``.

    ``http`` are the settings of the workers' HTTP endpoints.
    """

    pipeline: Pipeline
    topology: str
    recording: Recording
    cluster: LocalCluster
    kafka: KafkaSettings
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    http: HttpSettings = field(default_factory=HttpSettings)

    def fleet(self, settings: dict[str, Any] | None = None) -> Fleet:
        """Return a fleet without started workers; ``settings`` apply unless the environment overrides them."""
        return Fleet(
            self.topology,
            bootstrap=self.kafka.bootstrap,
            folder=self.folder,
            settings=(settings or {}) | self.settings,
            http=self.http,
        )


@contextmanager
def local_environment(
    pipeline: Pipeline, topology: str, recording: Recording, *, home: Path, brokers: int, protocol: str
) -> Iterator[DrillEnvironment]:
    """Start a new cluster in ``home`` for one drill, and stop it at the end. Raises BrokerError."""
    with temporary_cluster(home / "kafka", brokers) as cluster:
        settings = load({"kafka.bootstrap": cluster.bootstrap, "kafka.group_protocol": protocol})
        workers = {"kafka.group_protocol": protocol}
        yield DrillEnvironment(
            pipeline, topology, recording, cluster, settings.kafka, home / "logs", workers, settings.http
        )
