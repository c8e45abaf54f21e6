"""Records and topics that no plan foresaw, on a real Kafka: deleted facts, huge keys and values, more partitions."""

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import psutil
import pyarrow as pa
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions

from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.kafka import clients, provisioning
from surgetank.kafka.topic_reader import TopicReader
from surgetank.lag.group_offsets import GroupOffsets
from surgetank.offline.feature_log_check import check_feature_log
from surgetank.offline.training import training_matrix
from surgetank.processing import dead_letter
from surgetank.processing.key_limit import KEY_TOO_LARGE
from surgetank.records import TopicPartition
from surgetank.settings import Settings
from tests.support.event_bytes import Event, buried, real, send
from tests.support.live_pipeline import IN_PLAY, Stage, real_events
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
    few = {"dead_letters.minimum_events": 100, "dead_letters.share_max": 0.01}
    under = remembered(**IN_PLAY, **few, **{"features.record": True})
    provisioning.apply(under.kafka, under.pipeline, recording=True)
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
    features = check_feature_log(under.kafka, under.pipeline)
    assert features.ok, [each for each in features.skew.features if each.differing]
    data = training_matrix(under.pipeline, Settings(kafka=under.kafka))
    assert data.matrix.shape == (features.skew.events, len(under.pipeline.spec.names))
    known = dict(zip(under.pipeline.spec.names, (~np.isnan(data.matrix)).sum(axis=0).tolist(), strict=True))
    assert all(known.values()), known


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
    return sum(each.lag for each in offsets if each.source.partition in partitions)


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
    command = [sys.executable, "-m", "surgetank.cli", "topics", "apply", under.topology, "--grow", "--no-declaration"]
    environment = {ENVIRONMENT: under.prefix, "SURGETANK_KAFKA__BOOTSTRAP": under.kafka.bootstrap}
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compression", ["gzip", "lz4", "zstd"])  # snappy compresses 20 to 1 at most
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


def large_events(count: int, size: int) -> list[bytes]:
    """Return real events whose carrier is a text of random hexadecimal digits, so that it is not compressed well."""
    table = real_events().tables[0].slice(0, count).combine_chunks()
    place = table.schema.get_field_index("carrier")
    texts = pa.array([os.urandom(size // 2).hex() for _ in range(count)])
    (rows,) = table.set_column(place, table.schema.field(place), texts).to_batches()
    values: list[bytes] = AvroSerializer(project_schemas(), "boarding").serialize(rows).to_pylist()
    return values


def test_a_gibibyte_of_large_events_waits_for_a_worker(stage: StageFactory) -> None:
    """A gibibyte of events of 175 KiB waits when the worker starts: it holds a bounded part of it at a time."""
    under = stage()
    for part in range(12):
        values = large_events(500, 175 * 1024)
        put(
            under,
            [(TopicPartition(under.pipeline.events.topic, (part + row) % 4), b"N1", v) for row, v in enumerate(values)],
            compression_type="none",
            queue_buffering_max_kbytes=1_048_576,
        )
    process = psutil.Process(under.worker().process.pid)
    peak = [process.memory_info().rss]

    def done() -> bool:
        peak.append(process.memory_info().rss)
        return not under.lag()

    under.until(done, 120, "all is scored")
    print(f"peak {max(peak) >> 20} MiB")
    assert max(peak) < 1 << 30
    assert under.audit().ok


KEYS = (None, b"", b"\0meaning", b"\0grown", b"\xff\0\xfe", b"a\nb", b"k" * 100_000, "Müller".encode("latin-1"), b"N1")
HEADERS: tuple[list[tuple[str, str | bytes | None]], ...] = (
    [],
    [("", None), ("", b""), ("a", b"1"), ("a", b"2"), ("a", None)],
    [("surgetank.offset", b"not a number"), ("surgetank.oversize", b"1"), ("surgetank.reason", b"\xff")],
    [("x" * 5_000, bytes(50_000)), ("Größe", b"\xff")],
)
IN_2100_MS = 4_102_444_800_000
TIMES_MS = (1, 1_000, 1_356_998_400_000, 1_700_000_000_000, IN_2100_MS)


def test_a_mixture_of_odd_records_ends_somewhere_each(remembered: RememberedFactory) -> None:
    """Keys, values, headers, record times and compressions of all kinds, among the events and facts of a table.

    The state is then that of the events and facts that decode.
    """
    under = remembered(**IN_PLAY, **{"dead_letters.share_max": 1})
    (departures,) = under.pipeline.facts
    allow_any_time(under, [under.pipeline.events.topic, departures.topic])
    under.send(1_000)
    worker = under.worker()
    good = [event.value or b"" for event in real(1_000)]
    random = np.random.default_rng(20130101)
    for compression in ("none", "gzip", "snappy", "lz4", "zstd"):
        producer = clients.producer(under.kafka, compression_type=compression)
        failed: list[object] = []

        def delivered(error: object, _: object, failed: list[object] = failed) -> None:
            failed.extend([error] if error else [])

        for _ in range(2_000):
            value = good[random.integers(len(good))]
            odd = (value, value, value, None, b"", b"\0", random.bytes(20), value[:9], b"\0\0\0\0\2" + random.bytes(30))
            producer.produce(
                (under.pipeline.events.topic, departures.topic)[random.integers(2)],
                odd[random.integers(len(odd))],
                KEYS[random.integers(len(KEYS))],
                int(random.integers(4)),
                headers=HEADERS[random.integers(len(HEADERS))],
                timestamp=TIMES_MS[random.integers(len(TIMES_MS))],
                on_delivery=delivered,
            )
            producer.poll(0)
        assert producer.flush(60) == 0
        assert not failed

    found = under.audit()

    assert found.ok, (found, under.logs())
    assert min(found.scores, found.dead_letters) > 1_000
    assert worker.running
    under.fleet.kill(worker)
    again = under.worker()
    under.until(lambda: not under.lag(), 60, "nothing is left after a restart")
    assert again.running
    under.check_states()


def allow_any_time(under: Stage, topics: list[str]) -> None:
    """Let topics take records from any time, and delete none of them."""
    settings = {"message.timestamp.after.max.ms": str(2**63 - 1), "retention.ms": "-1"}
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()
    ]
    resources = [ConfigResource(ConfigResource.Type.TOPIC, each, incremental_configs=entries) for each in topics]
    admin = clients.admin(under.kafka)
    for future in admin.incremental_alter_configs(resources).values():
        future.result(10)
