"""Committed offsets that others changed, as with Kafka's own tool: nothing is scored or counted twice unseen."""

from collections.abc import Callable

from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.kafka import clients, provisioning
from surgetank.kafka.offset_owner import OffsetOwner
from surgetank.migration.rebuild import Rebuild
from surgetank.records import TopicPartition
from surgetank.settings import Settings
from tests.support.live_pipeline import Stage, hanging_transaction
from tests.support.stateful_pipeline import Remembered
from tests.support.topologies.stateful_flights import CHANGE, WINDOW, publish, remembering

StageFactory = Callable[..., Stage]
RememberedFactory = Callable[..., Remembered]

EVENTS = 400
MORE = 80
CALL_SECONDS = 10.0


def ends(under: Stage) -> dict[TopicPartition, int]:
    """Return the high watermark of each partition of the events."""
    reader = clients.reader(under.kafka, isolation_level="read_uncommitted")
    found = {
        TopicPartition(under.pipeline.events.topic, number): reader.get_watermark_offsets(
            KafkaTopicPartition(under.pipeline.events.topic, number), CALL_SECONDS
        )[1]
        for number in range(under.pipeline.events.partitions)
    }
    reader.close()
    return found


def set_offsets(under: Stage, offsets: dict[TopicPartition, int]) -> None:
    """Set offsets of the group, whose workers are stopped, by the call that kafka-consumer-groups makes."""
    wanted = [KafkaTopicPartition(*source, offset) for source, offset in offsets.items()]
    request = ConsumerGroupTopicPartitions(under.pipeline.group, wanted)
    admin = clients.admin(under.kafka)  # kept until the answers are here: with it they would be gone
    for future in admin.alter_consumer_group_offsets([request]).values():
        assert all(each.error is None for each in future.result(CALL_SECONDS).topic_partitions)


def scored_and_stopped(under: Stage) -> None:
    """Have a first worker score some events, and stop it."""
    under.send(EVENTS)
    worker = under.worker()
    under.until(lambda: under.scores() == EVENTS, 60, "all events are scored")
    assert under.fleet.stop(worker) == 0


def refused(under: Stage, *words: str, name: str = "") -> None:
    """Start a worker and fail unless it ends with status 2 and says all of it."""
    worker = under.worker(ready=False, name=name)
    under.until(lambda: not worker.running, 60, "the worker has ended")
    said = worker.log.read_text(errors="replace")
    assert worker.process.returncode == 2, said
    assert "Traceback" not in said
    for word in words:
        assert word in said


def test_offsets_at_the_end_of_the_log_score_nothing_again_while_a_transaction_hangs(stage: StageFactory) -> None:
    """The worker waits beyond the last stable offset, and goes on from there once the transaction has ended."""
    under = stage()
    scored_and_stopped(under)
    with hanging_transaction(under):
        set_offsets(under, ends(under))
        worker = under.worker()
        under.until(lambda: worker.partitions == under.pipeline.events.partitions, 30, "all tasks run")
        assert under.scores() == EVENTS
    under.send(MORE)
    under.until(lambda: under.scores() >= EVENTS + MORE, 60, "the events after it are scored")

    assert under.scores() == EVENTS + MORE
    assert "not committed by a worker" in worker.log.read_text()
    assert under.fleet.stop(worker) == 0


def test_offsets_beyond_the_end_of_the_log_are_refused(stage: StageFactory) -> None:
    """Neither is all scored again, nor are the next events skipped."""
    under = stage()
    scored_and_stopped(under)
    before = ends(under)
    set_offsets(under, {source: end + 1_000 for source, end in before.items()})

    refused(under, "beyond its end", "kafka-consumer-groups")

    assert under.scores() == EVENTS
    set_offsets(under, before)
    under.worker()
    under.send(MORE)
    under.until(lambda: under.scores() == EVENTS + MORE, 60, "the events after it are scored")


def test_a_topic_made_anew_is_read_from_its_start(stage: StageFactory) -> None:
    """Kafka forgets the offsets of a topic that is deleted, so those of its successor start anew."""
    under = stage()
    scored_and_stopped(under)
    provisioning.delete(under.kafka, [under.pipeline.events.topic])
    under.apply_topics()

    under.worker()
    under.send(MORE)

    under.until(lambda: under.scores() == EVENTS + MORE, 60, "the events of the new topic are scored")


def test_offsets_set_back_would_make_tables_count_events_twice(remembered: RememberedFactory) -> None:
    """Refused with the ways out, with the worker's own disk and from changelogs; set forward again, all goes on."""
    under = remembered()
    under.send(4 * EVENTS)
    worker = under.worker(name="w")
    under.until(lambda: under.lag() == 0, 60, "all is committed")
    assert under.fleet.stop(worker) == 0
    before = ends(under)
    set_offsets(under, {source: end - 20 for source, end in before.items()})

    for name in ("w", "without-a-disk"):
        refused(under, "set back", "state rebuild", "--from-events", "state reset", name=name)

    set_offsets(under, before)
    under.worker(name="w")
    under.send(4 * EVENTS)
    under.until(lambda: under.lag() == 0, 60, "all is committed")
    under.check_states()


def test_state_that_is_rebuilt_counts_events_once_that_are_read_again(remembered: RememberedFactory) -> None:
    """The way out that is named leads out: the same events are scored again, and the state is what they make it."""
    under = remembered()
    under.send(4 * EVENTS)
    worker = under.worker(name="w")
    under.until(lambda: under.lag() == 0, 60, "all is committed")
    assert under.fleet.stop(worker) == 0
    set_offsets(under, {source: end - 20 for source, end in ends(under).items()})

    Rebuild(Settings(kafka=under.kafka), under.pipeline, from_events=True, report_progress=lambda *_: None).run()

    under.worker(name="w")
    under.until(lambda: under.lag() == 0, 60, "all is committed")
    under.check_states()


def test_offsets_set_forward_skip_events(stage: StageFactory) -> None:
    """Their number is said and counted: the last score tells how far the events were processed."""
    under = stage()
    scored_and_stopped(under)
    under.send(MORE)
    set_offsets(under, ends(under))

    worker = under.worker()

    under.until(lambda: worker.partitions == under.pipeline.events.partitions, 30, "all tasks run")
    assert worker.total("surgetank_foreign_offsets_total") == under.pipeline.events.partitions
    assert worker.total("surgetank_events_skipped_total") == MORE
    assert worker.total("surgetank_events_repeated_total") == 0
    assert "are skipped" in worker.log.read_text()
    assert under.scores() == EVENTS


def test_offsets_set_back_without_tables_score_events_again(stage: StageFactory) -> None:
    """Their number is said and counted."""
    under = stage()
    scored_and_stopped(under)
    partitions = under.pipeline.events.partitions
    set_offsets(under, {source: end - 5 for source, end in ends(under).items()})

    worker = under.worker()

    under.until(lambda: under.scores() == EVENTS + 5 * partitions, 30, "the events are scored again")
    assert worker.total("surgetank_events_repeated_total") == 5 * partitions
    assert worker.total("surgetank_events_skipped_total") == 0
    assert "are processed again" in worker.log.read_text()


def test_the_offsets_of_the_group_expired(stage: StageFactory) -> None:
    """Refused with the way out, instead of scoring everything again; with offsets set, all goes on."""
    under = stage()
    scored_and_stopped(under)
    admin = clients.admin(under.kafka)
    admin.delete_consumer_groups([under.pipeline.group])[under.pipeline.group].result(CALL_SECONDS)

    refused(under, "have expired or were deleted", "kafka-consumer-groups")

    assert under.scores() == EVENTS
    set_offsets(under, ends(under))
    under.worker()
    under.send(MORE)
    under.until(lambda: under.scores() == EVENTS + MORE, 60, "the events after it are scored")


def test_the_offsets_are_those_of_a_deleted_topic(stage: StageFactory) -> None:
    """Told by the topic's id that a worker commits with its offsets, though the new topic is long enough."""
    under = stage()
    scored_and_stopped(under)
    claim = OffsetOwner(f"{under.pipeline.name}-w", "", "an older topic").metadata()
    wanted = [KafkaTopicPartition(*source, end - 5, claim) for source, end in ends(under).items()]
    admin = clients.admin(under.kafka)
    (future,) = admin.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(under.pipeline.group, wanted)]
    ).values()
    assert all(each.error is None for each in future.result(CALL_SECONDS).topic_partitions)

    refused(under, "one of a deleted topic of this name", "kafka-consumer-groups")

    assert under.scores() == EVENTS


def test_the_events_topic_is_created_again_under_a_running_worker(stage: StageFactory) -> None:
    """The worker ends with status 2 and says so; after a start it reads the new topic from its beginning."""
    under = stage()
    under.send(EVENTS)
    worker = under.worker()
    under.until(lambda: under.scores() == EVENTS, 60, "all events are scored")
    provisioning.delete(under.kafka, [under.pipeline.events.topic])
    under.apply_topics()

    under.until(lambda: not worker.running, 60, "the worker has ended")

    assert worker.process.returncode == 2, worker.log.read_text()
    assert "was deleted and created again" in worker.log.read_text()
    under.worker()
    under.send(MORE)
    under.until(lambda: under.scores() == EVENTS + MORE, 60, "the events of the new topic are scored")


def test_a_worker_with_other_tables_does_not_join(remembered: RememberedFactory) -> None:
    """It ends with status 2; the worker that runs keeps all its partitions and is asked for none."""
    under = remembered()
    publish(under.models, remembering(under.prefix, under.pipeline.events.partitions, change=WINDOW))
    under.send(4 * EVENTS)
    worker = under.worker()
    under.until(lambda: under.lag() == 0, 60, "all is committed")
    rebalances = worker.total("surgetank_rebalances_total")

    other = under.worker(ready=False, environment={CHANGE: WINDOW})

    under.until(lambda: not other.running, 60, "the other worker has ended")
    said = other.log.read_text()
    assert other.process.returncode == 2, said
    assert "does not join its group" in said
    assert "state rebuild" in said
    assert worker.total("surgetank_rebalances_total") == rebalances
    assert worker.partitions == under.pipeline.events.partitions
