"""Changelogs as brokers leave them: compacted, deleted at the head, ending in markers. All are restored whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from surgetank.drills.recording import Recording
from surgetank.drills.synthetic_keys import synthetic_keys
from surgetank.kafka import clients
from surgetank.kafka.topic_reader import TopicReader
from surgetank.runtime.changelog_restorer import CALL_SECONDS
from tests.support.live_pipeline import IN_PLAY
from tests.support.stateful_pipeline import Remembered

EVENTS = 20_000
KEYS = 500
ROLL_MS = 3_000

RememberedFactory = Callable[..., Remembered]


class Recurring(Remembered):
    """Sends events of few keys, so that each comes again and again."""

    def events(self) -> Recording:
        """Return them."""
        recording = super().events()
        parts = [(each, synthetic_keys(recording, each, KEYS, EVENTS).tables[0]) for each in recording.events]
        return Recording.merge(parts, lap=timedelta(hours=1))


def partitions(under: Remembered) -> list[KafkaTopicPartition]:
    """Return the partitions of the changelogs."""
    numbers = range(under.pipeline.events.partitions)
    return [KafkaTopicPartition(topic, number) for topic in under.pipeline.changelogs.values() for number in numbers]


def configure(under: Remembered, **config: object) -> None:
    """Set the changelogs otherwise; names have '_' for '.'."""
    entries = [
        ConfigEntry(name.replace("_", "."), str(value), incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resources = [
        ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
        for topic in under.pipeline.changelogs.values()
    ]
    admin = clients.admin(under.kafka)
    for future in admin.incremental_alter_configs(resources).values():
        future.result(10)


def ends(under: Remembered) -> dict[tuple[str, int], tuple[int, int]]:
    """Return the first offset and the high watermark of each changelog partition."""
    reader = clients.reader(under.kafka, isolation_level="read_uncommitted")
    found = {(p.topic, p.partition): reader.get_watermark_offsets(p, CALL_SECONDS) for p in partitions(under)}
    reader.close()
    return found


def last_offsets(under: Remembered) -> dict[tuple[str, int], int]:
    """Return the offset of the last record of each changelog partition that has any."""
    found = {}
    with TopicReader(under.kafka, list(under.pipeline.changelogs.values())) as reader:
        for records in reader.catch_up():
            for which, offset in zip(records.source.tolist(), records.offsets.tolist(), strict=True):
                found[tuple(records.sources[which])] = offset
    return found


def gone_at_the_tail(under: Remembered) -> None:
    """Forget keys that nobody has at the end of each changelog, and wait until that is compacted away."""
    configure(under, segment_ms=ROLL_MS, min_cleanable_dirty_ratio=0.001, delete_retention_ms=0)
    before = ends(under)
    with transaction(under) as producer:
        for partition in partitions(under):
            for number in range(50):
                producer.produce(partition.topic, None, f"nobody-{number}".encode(), partition.partition)

    def compacted() -> bool:
        aborted_at_the_tail(under)  # another segment begins, so that the one before can be cleaned, and again
        last = last_offsets(under)
        return all(last[where] < high for where, (_, high) in before.items())

    under.until(compacted, 180, "the tail is compacted away")


def deleted_at_the_head(under: Remembered) -> None:
    """Send each key once more, then delete all that was there before."""
    before = ends(under)
    under.send(EVENTS)
    under.until(lambda: under.lag() == 0, 60, "all is committed")
    configure(under, cleanup_policy="compact,delete")
    admin = clients.admin(under.kafka)
    for future in admin.delete_records(
        [KafkaTopicPartition(*where, high) for where, (_, high) in before.items()]
    ).values():
        future.result(30)
    configure(under, cleanup_policy="compact")
    assert {where: low for where, (low, _) in ends(under).items()} == {
        where: high for where, (_, high) in before.items()
    }


def aborted_at_the_tail(under: Remembered) -> None:
    """Let each changelog end in a record of an aborted transaction, and its marker."""
    with suppress(Aborted), transaction(under) as producer:
        for partition in partitions(under):
            producer.produce(partition.topic, b"no row at all", b"K000000000", partition.partition)
        raise Aborted


class Aborted(Exception):  # noqa: N818 - the name is what happens
    """Ends a transaction that is not to be committed."""


@contextmanager
def transaction(under: Remembered) -> Iterator[Producer]:
    """Lend a producer with an open transaction; it is committed at the end, or aborted after an error."""
    producer = clients.transactional(under.kafka, transactional_id=f"{under.prefix}-other")
    producer.init_transactions(30)
    producer.begin_transaction()
    try:
        yield producer
        producer.commit_transaction(30)
    except Aborted:
        producer.flush(30)
        producer.abort_transaction(30)
        raise


@pytest.mark.parametrize(
    "harm", [gone_at_the_tail, deleted_at_the_head, aborted_at_the_tail], ids=lambda harm: harm.__name__
)
def test_a_changelog_is_restored_whole_however_it_ends(
    remembered: RememberedFactory, harm: Callable[[Remembered], None]
) -> None:
    """An empty disk gets all of it, the task runs, and every key is what its events make it."""
    under = remembered(Recurring, **IN_PLAY)
    under.send(EVENTS)
    worker = under.worker()
    under.until(lambda: worker.partitions == 4 and under.lag() == 0, 60, "all is committed")
    harm(under)
    under.fleet.kill(worker)
    under.send(EVENTS)

    successor = under.worker()

    found = under.audit()
    assert found.ok, (found, under.logs())
    assert successor.total("surgetank_restore_records_total") > 0
    under.check_states()
    under.check_scores()
