"""Records and topics that no plan foresaw, on a real Kafka: deleted facts, huge keys and values, more partitions."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from confluent_kafka.admin import NewPartitions

from pipeline.kafka import clients
from pipeline.kafka.topic_reader import TopicReader
from pipeline.lag.group_offsets import GroupOffsets
from pipeline.processing import dead_letter
from pipeline.processing.key_limit import KEY_TOO_LARGE
from pipeline.records import TopicPartition
from tests.support.event_bytes import Event, buried, real, send
from tests.support.live_pipeline import IN_PLAY, Stage
from tests.support.stateful_pipeline import Remembered, restored
from tests.support.topologies.stateless_flights import ENVIRONMENT

StageFactory = Callable[..., Stage]
RememberedFactory = Callable[..., Remembered]

EVENTS = 20_000


def keys_of(under: Stage, topic: str) -> dict[bytes, TopicPartition]:
    """Return the keys of a topic and where they lie."""
    found: dict[bytes, TopicPartition] = {}
    with TopicReader(under.kafka, [topic]) as reader:
        for records in reader.catch_up():
            for row, key in enumerate(records.keys.to_pylist()):
                if key is not None:
                    found[key] = records.sources[records.source[row]]
    return found


def put(under: Stage, records: list[tuple[TopicPartition, bytes | None, bytes | None]], **options: object) -> None:
    """Send records to their partitions."""
    producer = clients.producer(under.kafka, **options)
    failed: list[object] = []
    for place, key, value in records:
        producer.produce(
            place.topic, value, key, place.partition, on_delivery=lambda e, _: failed.append(e) if e else 0
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    assert not failed


def test_a_fact_is_deleted_by_a_null_value(remembered: RememberedFactory) -> None:
    """Tombstones are no dead letters and stop nobody: rows of their keys are gone, and later facts begin anew."""
    under = remembered(**IN_PLAY, **{"dead_letters.minimum_events": 100, "dead_letters.share_max": 0.01})
    (departures,) = under.pipeline.facts
    under.send(EVENTS)
    worker = under.worker()
    under.until(lambda: not under.lag(), 60, "it has caught up")
    keys = sorted(keys_of(under, departures.topic).items())

    put(under, [(place, key, None) for key, place in keys[::2]])
    found = under.audit()

    assert found.ok, (found, under.logs())
    assert found.dead_letters == 0
    under.check_states()
    assert worker.running
    under.send(EVENTS)
    assert under.audit().ok
    under.check_states()
    under.fleet.kill(worker)
    other = under.worker()
    under.until(lambda: restored(other) > 100, 60, "it restored")
    assert under.audit().ok
    under.check_states()


def test_a_key_is_too_large_for_the_changelog(remembered: RememberedFactory) -> None:
    """An event that its topic takes, with a key of nearly a mebibyte: its row of state would be refused."""
    under = remembered(**IN_PLAY, **{"dead_letters.share_max": 1})
    events = real(1_000)
    events[500] = Event(bytes(1_048_576 - 250), events[500].value)
    events[501] = Event(b"k" * 500_000, events[501].value)
    lying = send(under, events)
    worker = under.worker()

    found = under.audit()

    assert found.ok, (found, under.logs())
    (letter,) = buried(under)
    assert letter.event == lying[letter.cause.source][letter.cause.offset] == events[500]
    assert letter.cause.reason == KEY_TOO_LARGE
    assert worker.running


def lag_of(under: Stage, partitions: range) -> int:
    """Return the uncommitted events of some partitions."""
    offsets = GroupOffsets(under.kafka, under.pipeline.group, [under.pipeline.events.topic]).now()
    return sum(each.lag for each in offsets if each.partition in partitions)


def test_partitions_are_added_to_the_events_while_a_worker_runs(stage: StageFactory) -> None:
    """The old ones go on and the log names what is too small; after `topics apply --grow` and a restart, all do."""
    under = stage(**IN_PLAY)
    worker = under.worker()
    under.send(EVENTS)
    under.until(lambda: not under.lag(), 60, "it has caught up")
    admin = clients.admin(under.kafka)
    admin.create_partitions([NewPartitions(under.pipeline.events.topic, 6)])[under.pipeline.events.topic].result(30)

    under.until(lambda: "--grow" in worker.log.read_text(), 90, "it says so")
    under.send(EVENTS)

    said = next(line for line in worker.log.read_text().splitlines() if "--grow" in line)
    assert "ERROR" in said
    assert "partitions 4, 5" in said
    assert f"{under.pipeline.scores.topic} has 4 partitions" in said
    under.until(lambda: not lag_of(under, range(4)), 60, "the old partitions go on")
    assert lag_of(under, range(4, 6)) > 0
    assert worker.running
    assert under.fleet.stop(worker) == 0
    refused = under.worker(ready=False)
    assert refused.process.wait(60) == 2
    assert f"surgetank topics apply {under.prefix} --grow" in refused.log.read_text()
    grow(under)
    under.worker()
    found = under.audit()
    assert found.ok, (found, under.logs())
    assert found.scores == 2 * EVENTS


def grow(under: Stage) -> None:
    """Run `surgetank topics apply --grow` for the pipeline."""
    command = [sys.executable, "-m", "pipeline.cli", "topics", "apply", under.topology, "--grow"]
    environment = {ENVIRONMENT: under.prefix, "SURGETANK_KAFKA__BOOTSTRAP": under.kafka.bootstrap}
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_a_value_of_120_mb_arrives_compressed(stage: StageFactory, compression: str) -> None:
    """120 MB of zeros in a small batch: the dead letter is cut, and the events around it score."""
    under = stage(**{"dead_letters.share_max": 1})
    place = TopicPartition(under.pipeline.events.topic, 0)
    events = [(place, event.key, event.value) for event in real(100)]
    events.insert(50, (place, b"N12345", bytes(120_000_000)))
    put(under, events, compression_type=compression, message_max_bytes=200_000_000, batch_num_messages=1)
    worker = under.worker()

    found = under.audit(wait=20)

    assert found.ok, (found, under.logs())
    assert (found.scores, found.dead_letters) == (100, 1)
    with TopicReader(under.kafka, [under.pipeline.dead_letters]) as reader:
        (records,) = list(reader.catch_up())
    assert dict(records.headers_of(0))[dead_letter.OVERSIZE] == b"120000000"
    assert worker.running
