"""An upgrade: a worker of this code continues from offsets, state and changelogs of older code. Real broker, old data.

tests/fixtures/README.md says how the data was made.
"""

import base64
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.declaration import Pipeline
from surgetank.kafka import clients
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.settings import KafkaSettings
from tests.support.stateful_pipeline import Remembered, changelog_records, restored

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "takeover.tar.xz"
PREFIX = "takeover"
PREDECESSOR = "predecessor"


class TakenOver(Remembered):
    """The pipeline whose events, scores and state are in the archive."""

    def declared(self, partitions: int) -> tuple[Pipeline, Path]:
        """Return the pipeline and the folder of its models."""
        self.prefix = PREFIX
        return super().declared(partitions)


@dataclass(frozen=True, slots=True)
class Takeover:
    """The old pipeline on its broker, and the events that its worker had not received yet, one JSON object a line."""

    under: TakenOver
    remaining: list[str]

    @property
    def state(self) -> Path:
        """The state directory of the workers."""
        return self.under.folder / "state"

    def held_back(self) -> int:
        """Return how many offsets of the score topic an open transaction holds back from committed readers."""
        ends = dict.fromkeys(("read_uncommitted", "read_committed"), 0)
        for isolation in ends:
            consumer = clients.reader(self.under.kafka, isolation_level=isolation)
            for number in range(self.under.pipeline.events.partitions):
                partition = KafkaTopicPartition(self.under.pipeline.scores.topic, number)
                ends[isolation] += consumer.get_watermark_offsets(partition, 10, cached=False)[1]
            consumer.close()
        return ends["read_uncommitted"] - ends["read_committed"]

    def send_remaining(self) -> None:
        """Send what the old worker had not received, and wait until the broker has it."""
        producer = clients.producer(self.under.kafka, partitioner="murmur2_random")
        failed: list[object] = []
        for line in self.remaining:
            record = json.loads(line)
            producer.produce(
                record["topic"],
                base64.b64decode(record["value"]),
                base64.b64decode(record["key"]),
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        producer.flush(60)
        assert not failed

    def check(self) -> None:
        """Fail unless every event has one score, and scores and states are those that all events make."""
        found = self.under.audit()
        assert found.ok, (found, self.under.logs())
        assert found.scores == found.events
        self.under.check_states()
        self.under.check_scores()


@pytest.fixture
def takeover(local_cluster: Callable[..., LocalCluster], tmp_path: Path) -> Iterator[Takeover]:
    """Return what is in the archive, with its broker started on ports of this test."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    old = LocalCluster.found(tmp_path / "kafka")
    cluster = local_cluster(settings=old.settings)
    (tmp_path / "kafka").rename(cluster.data)
    cluster.up(timeout=120)
    with TakenOver(KafkaSettings(bootstrap=cluster.bootstrap), tmp_path) as under:
        yield Takeover(under, (tmp_path / "remaining.jsonl").read_text().splitlines())


def test_a_worker_of_the_same_name_continues_from_the_state_directory_of_older_code(takeover: Takeover) -> None:
    """Nothing is restored from the changelogs, and the transaction that the old worker left open is aborted."""
    under = takeover.under
    before = under.scores()
    assert before > 0
    assert takeover.held_back() > 0, "the archive has no open transaction"

    worker = under.worker(name=PREDECESSOR)

    takeover.send_remaining()
    takeover.check()
    assert under.scores() > before
    assert restored(worker) == 0
    assert "dropped" not in worker.log.read_text()
    assert takeover.held_back() == 0


def test_a_worker_without_the_state_directory_restores_from_changelogs_of_older_code(takeover: Takeover) -> None:
    """The old worker, which the metadata of its offsets names, is fenced; its changelogs are restored whole."""
    under = takeover.under
    shutil.rmtree(takeover.state)
    assert takeover.held_back() > 0, "the archive has no open transaction"
    records = changelog_records(under)

    worker = under.worker(name="successor")

    assert f"fenced {PREFIX}-{PREDECESSOR}, which is no longer in the group" in worker.log.read_text()
    assert restored(worker) == records > 0
    takeover.send_remaining()
    takeover.check()
    assert takeover.held_back() == 0
