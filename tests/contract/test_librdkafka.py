"""What Kafka and librdkafka do that is surprising or written nowhere, and that this project relies on."""

import itertools
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import KafkaError as K
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.clock import SystemClock
from surgetank.kafka import clients
from surgetank.kafka.group_client import GroupClient
from surgetank.kafka.offset_owner import OffsetOwner
from surgetank.kafka.topic_reader import TopicReader
from surgetank.records import TaskId, TaskRecords, TopicPartition
from surgetank.runtime.fencing import fence
from surgetank.runtime.fetcher import Fetcher, FetchPosition
from surgetank.runtime.group_membership import GroupMembership, generation
from surgetank.runtime.hanging_transactions import end_hanging_transactions
from surgetank.runtime.record_order import ArrivalOrder
from surgetank.runtime.record_queues import RecordQueues
from surgetank.settings import KafkaSettings, WorkerSettings
from tests.support.kafka_proxy import HEARTBEAT, JOIN_GROUP, Proxy, cut
from tests.support.kafka_under_test import VERSION, KafkaUnderTest

BOTH = pytest.mark.parametrize("protocol", ["consumer", "classic"])
CLOCK = SystemClock()

Topic = Callable[..., str]


@pytest.fixture
def group() -> str:
    """Return the name of a group of the test's own."""
    return f"contract.{uuid.uuid4().hex[:10]}"


@pytest.fixture
def join(kafka: KafkaUnderTest, group: str) -> Iterator[Callable[..., "Member"]]:
    """Return a function that lets a member join the group; all leave at the end."""
    members: list[Member] = []

    def make(topic: str, protocol: str, *, name: str = "member", at: KafkaSettings = kafka.settings) -> Member:
        members.append(Member(at, group, topic, name, protocol))
        return members[-1]

    yield make
    for member in members:
        member.leave()


class Member:
    """A group member that is polled in a thread of its own, as Membership does it."""

    def __init__(self, kafka: KafkaSettings, group: str, topic: str, name: str, protocol: str) -> None:
        self.owned: set[int] = set()
        self.metadata: Any = None
        self._consumer = clients.member(kafka, group=group, client_id=name, protocol=protocol)
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Leave the group."""
        self._leaving.set()
        self._thread.join(30)

    def _poll(self) -> None:
        while not self._leaving.is_set():
            self._consumer.poll(0.05)
            self.metadata = self._consumer.consumer_group_metadata()
        self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        consumer.incremental_assign([KafkaTopicPartition(p.topic, p.partition, 0) for p in partitions])
        consumer.pause(partitions)
        self.metadata = consumer.consumer_group_metadata()
        self.owned |= {p.partition for p in partitions}

    def _revoked(self, consumer: Consumer, partitions: list[KafkaTopicPartition]) -> None:
        consumer.incremental_unassign(partitions)
        self.owned -= {p.partition for p in partitions}


@pytest.fixture
def transact(kafka: KafkaUnderTest) -> Callable[..., Producer]:
    """Return a function that makes a transactional producer with a transaction begun."""

    def make(name: str | None = None) -> Producer:
        producer = clients.transactional(kafka.settings, transactional_id=name or uuid.uuid4().hex)
        producer.init_transactions(30)
        producer.begin_transaction()
        return producer

    return make


# What a transaction that carries the metadata of a group member proves (ops/decisions/0001).


@pytest.mark.kafka_versions
@BOTH
def test_the_current_member_may_commit_also_for_partitions_of_others(
    topic: Topic, join: Callable[..., Member], transact: Callable[..., Producer], protocol: str
) -> None:
    """The generation proves membership, not ownership: who owns a partition must be checked by us."""
    name = topic(2)
    first, second = join(name, protocol, name="first"), join(name, protocol, name="second")
    until(lambda: len(first.owned) == len(second.owned) == 1, "each has one")
    settled(first, second)

    for partition in (0, 1):
        producer = transact()
        producer.send_offsets_to_transaction([KafkaTopicPartition(name, partition, 1)], first.metadata, 10)
        producer.commit_transaction(10)

    assert first.owned != second.owned


@pytest.mark.kafka_versions
@BOTH
def test_a_member_that_left_is_refused(
    topic: Topic, join: Callable[..., Member], transact: Callable[..., Producer], protocol: str
) -> None:
    """Metadata kept from before leaving is refused, abortable, also when the group is empty by then."""
    name = topic(1)
    member = join(name, protocol)
    until(lambda: member.owned == {0}, "it has the partition")
    kept = member.metadata
    member.leave()

    producer = transact()
    error = refused(producer, KafkaTopicPartition(name, 0, 1), kept)

    assert error.code() == K.UNKNOWN_MEMBER_ID
    assert error.txn_requires_abort()
    assert not error.fatal()
    producer.abort_transaction(10)
    producer.begin_transaction()  # the same producer goes on


@BOTH
def test_a_member_whose_session_ended_is_refused_before_it_knows(
    kafka: KafkaUnderTest,
    group: str,
    topic: Topic,
    join: Callable[..., Member],
    transact: Callable[..., Producer],
    protocol: str,
) -> None:
    """What a member knew of itself when it was cut off is refused once its session has passed.

    By then a classic member has noticed that by itself; one of KIP-848 still is_plausible that it owns its partitions.
    """
    name = topic(1)
    with Proxy(kafka.bootstrap) as proxy:
        at = kafka.settings.model_copy(update={"bootstrap": proxy.bootstrap, "session_timeout_seconds": 2.0})
        zombie = join(name, protocol, at=at)
        until(lambda: zombie.owned == {0}, "it has the partition")
        kept = zombie.metadata
    ground = GroupClient(kafka.settings, group)
    until(lambda: not ground.live(5), "the group gave it up")

    error = refused(transact(), KafkaTopicPartition(name, 0, 1), kept)

    assert error.code() == K.UNKNOWN_MEMBER_ID
    if protocol == "consumer":
        assert zombie.owned == {0}


@pytest.mark.kafka_versions
@BOTH
def test_an_older_generation_is_good_at_most_for_partitions_that_stayed(
    topic: Topic, join: Callable[..., Member], transact: Callable[..., Producer], protocol: str
) -> None:
    """A partition that was given up is refused, also when it came back; one that stayed is accepted by KIP-848 only.

    Before Kafka 4.3 (KIP-1251) KIP-848 refuses that too. A transaction with one refused partition commits none.
    """
    name = topic(2)
    first = join(name, protocol, name="first")
    until(lambda: first.owned == {0, 1}, "it has all")
    older = first.metadata
    second = join(name, protocol, name="second")
    until(lambda: len(first.owned) == len(second.owned) == 1, "each has one")
    settled(first, second)
    stayed, given = (KafkaTopicPartition(name, each, 1) for each in (*first.owned, *second.owned))
    by_partition = protocol == "consumer" and VERSION >= (4, 3)

    def check() -> None:
        assert refused(transact(), given, older).code() == K.ILLEGAL_GENERATION
        assert refused(transact(), stayed, older, given).code() == K.ILLEGAL_GENERATION
        if by_partition:
            producer = transact()
            producer.send_offsets_to_transaction([stayed], older, 10)
            producer.abort_transaction(10)
        else:
            assert refused(transact(), stayed, older).code() == K.ILLEGAL_GENERATION

    check()
    second.leave()
    until(lambda: first.owned == {0, 1}, "it has all again")
    settled(first)
    check()


@BOTH
def test_metadata_of_no_member_skips_every_check(
    kafka: KafkaUnderTest, group: str, topic: Topic, transact: Callable[..., Producer], protocol: str
) -> None:
    """An empty group takes offsets from a consumer that has not joined, though one of KIP-848 has a member id by then.

    So it must never be sent. What tells it is the generation.
    """
    name = topic(1)
    stranger = clients.member(kafka.settings, group=group, client_id="stranger", protocol=protocol)
    metadata = stranger.consumer_group_metadata()
    producer = transact()
    producer.send_offsets_to_transaction([KafkaTopicPartition(name, 0, 7)], metadata, 10)
    producer.commit_transaction(10)

    assert GroupClient(kafka.settings, group).committed([TopicPartition(name, 0)], 10) == {TopicPartition(name, 0): 7}
    assert bool(stranger.memberid()) is (protocol == "consumer")
    assert generation(metadata) == -1
    stranger.close()


@BOTH
def test_membership_gives_out_no_metadata_before_it_has_joined(
    kafka: KafkaUnderTest, group: str, topic: Topic, protocol: str
) -> None:
    """While it joins there is none, and the first that it gives names a member and a generation."""
    with Proxy(kafka.bootstrap) as proxy:
        for kind in (HEARTBEAT, JOIN_GROUP):
            proxy.on_request(kind, cut, times=10**6)
        at = kafka.settings.model_copy(update={"group_protocol": protocol, "bootstrap": proxy.bootstrap})
        polls: list[object] = []
        membership = GroupMembership(
            at,
            group=group,
            topic=topic(1),
            client_id="me",
            owner=Owner(),
            tasks=1,
            advice="",
            patience_seconds=10,
            clock=SystemClock(),
            beat=lambda: polls.append(membership.metadata()),
            on_connection_error=lambda _: None,
            on_failure=fail,
        )
        membership.start()
        try:
            until(lambda: proxy.done[HEARTBEAT] + proxy.done[JOIN_GROUP] > 2, "it tries to join")
            until(lambda: len(polls) > 20, "it was polled")
            assert set(polls) == {None}

            for kind in (HEARTBEAT, JOIN_GROUP):
                proxy.on_request(kind, cut, times=0)
            until(lambda: membership.metadata() is not None, "it has joined")
            metadata = membership.metadata()
            assert metadata is not None
            assert generation(metadata) > 0
        finally:
            membership.stop(10)


@BOTH
def test_membership_gives_metadata_while_it_is_a_member_and_none_when_it_lost_its_partitions(
    kafka: KafkaUnderTest, group: str, topic: Topic, transact: Callable[..., Producer], protocol: str
) -> None:
    """What it gives out is accepted by the group; after the loss there is none until it joined anew."""
    name = topic(1)
    owner = Owner()
    membership = GroupMembership(
        kafka.settings.model_copy(update={"group_protocol": protocol}),
        group=group,
        topic=name,
        client_id="me",
        owner=owner,
        tasks=1,
        advice="",
        patience_seconds=10,
        clock=SystemClock(),
        beat=lambda: None,
        on_connection_error=lambda _: None,
        on_failure=fail,
    )
    membership.start()
    try:
        until(lambda: owner.owned == {0} and membership.metadata() is not None, "it has the partition")
        producer = transact()
        producer.send_offsets_to_transaction([KafkaTopicPartition(name, 0, 1)], membership.metadata(), 10)
        producer.commit_transaction(10)
        assert GroupClient(kafka.settings, group).live(10) == {"me"}
    finally:
        membership.stop(10)
    assert owner.owned == set()


@BOTH
def test_the_description_of_a_group_names_the_client_ids(
    kafka: KafkaUnderTest, group: str, topic: Topic, join: Callable[..., Member], protocol: str
) -> None:
    """For both protocols: that is how a live worker is told from a dead one."""
    name = topic(2)
    first, second = join(name, protocol, name="first"), join(name, protocol, name="second")
    until(lambda: len(first.owned) == len(second.owned) == 1, "each has one")

    assert GroupClient(kafka.settings, group).live(10) == {"first", "second"}


# Offsets and transactions.


@BOTH
def test_pending_offsets_keep_a_question_waiting_until_their_producer_is_fenced(
    kafka: KafkaUnderTest,
    group: str,
    topic: Topic,
    join: Callable[..., Member],
    transact: Callable[..., Producer],
    protocol: str,
) -> None:
    """Asked for stable offsets a group does not answer while some are pending; their owners it tells at once.

    Only the partitions that are asked for count. ``init_transactions`` with the id of whoever left them pending ends
    that, at once; whoever it was is fenced for good.
    """
    name = topic(2)
    member = join(name, protocol)
    until(lambda: member.owned == {0, 1}, "it has all")
    earlier, later = (f"{group}-{each}" for each in ("earlier", "later"))
    first = transact(earlier)
    offsets = [KafkaTopicPartition(name, partition, 5, OffsetOwner(earlier).metadata()) for partition in (0, 1)]
    first.send_offsets_to_transaction(offsets, member.metadata, 10)
    first.commit_transaction(10)
    second = transact(later)
    second.send_offsets_to_transaction(
        [KafkaTopicPartition(name, 0, 9, OffsetOwner(later).metadata())], member.metadata, 10
    )
    pending, stable = TopicPartition(name, 0), TopicPartition(name, 1)
    ground = GroupClient(kafka.settings, group)

    assert ground.owners([pending, stable], 10) == {pending: earlier, stable: earlier}
    assert ground.committed([stable], 10) == {stable: 5}
    assert ground.committed([pending, stable], 1.0) is None

    fence(ground, later, {(name, 0)}, 10, output=name)
    assert ground.committed([pending, stable], 10) == {pending: 5, stable: 5}
    with pytest.raises(KafkaException) as fenced:
        second.commit_transaction(10)
    assert fenced.value.args[0].code() == K._FENCED
    assert fenced.value.args[0].fatal()


def test_a_sweep_ends_what_lies_open_in_outputs_and_in_the_offsets_of_the_group(
    kafka: KafkaUnderTest, group: str, topic: Topic, join: Callable[..., Member], transact: Callable[..., Producer]
) -> None:
    """One aborted transaction reaches every partition: with its marker behind it nothing before it can stay open.

    It needs no membership, goes beside a live member, and changes nothing that was committed.
    """
    name = topic(2)
    member = join(name, "consumer")
    until(lambda: member.owned == {0, 1}, "it has all")
    producer = transact()
    producer.produce(name, b"kept", b"k", 1)
    producer.send_offsets_to_transaction([KafkaTopicPartition(name, 0, 5)], member.metadata, 10)
    producer.commit_transaction(10)
    ground = GroupClient(kafka.settings, group)
    sources = [TopicPartition(name, 0), TopicPartition(name, 1)]
    before = ground.bounds(sources, 10)

    end_hanging_transactions(producer, {(name, 0), (name, 1)}, ground.group, 10, output=name)

    ends = {source: (low, high + 2) for source, (low, high) in before.items()}
    until(lambda: ground.bounds(sources, 10) == ends, "a record and its marker are behind what was there")
    assert ground.committed(sources, 10) == {sources[0]: 5, sources[1]: -1001}, "none is pending"
    with TopicReader(kafka.settings, [name]) as reader:
        assert [value for records in reader.catch_up() for value in records.values.to_pylist()] == [b"kept"]


def test_offsets_whose_coordinator_died_do_not_keep_their_caller_waiting(
    kafka3: KafkaUnderTest, topic: Topic, group: str
) -> None:
    """librdkafka's call may never return then; ours gives up, and the next producer of the same id goes on."""
    cluster = kafka3.cluster
    assert cluster is not None
    events = topic()
    admin = clients.admin(kafka3.settings)
    reader = clients.reader(kafka3.settings, group_id=group)
    offsets = [KafkaTopicPartition(events, 0, 1)]
    while not _answers(lambda: reader.committed(offsets, 10)):
        pass  # a coordinator that is not there yet would keep the producer waiting too
    no_member = reader.consumer_group_metadata()
    name = uuid.uuid4().hex
    producer = clients.transactional(kafka3.settings, transactional_id=name)
    producer.init_transactions(30)
    for _ in range(3):  # it knows the coordinator then, and the end of the first transaction is over
        producer.begin_transaction()
        producer.send_offsets_to_transaction(offsets, no_member, 30)
        producer.commit_transaction(30)
    died = admin.describe_consumer_groups([group])[group].result().coordinator.id

    cluster.kill(died)
    try:
        while died in producer.list_topics(timeout=10).brokers:
            producer.poll(0.1)
        producer.begin_transaction()
        with pytest.raises(KafkaException) as refusal:
            producer.send_offsets_to_transaction(offsets, no_member, 1)
        assert refusal.value.args[0].code() in {K._TIMED_OUT, K.NOT_COORDINATOR, K.COORDINATOR_LOAD_IN_PROGRESS}
    finally:
        cluster.start(died)
        cluster.wait()

    successor = clients.transactional(kafka3.settings, transactional_id=name)
    successor.init_transactions(30)
    successor.begin_transaction()
    successor.send_offsets_to_transaction(offsets, no_member, 30)
    successor.commit_transaction(30)


def test_lingering_records_are_sent_while_offsets_are_added(kafka: KafkaUnderTest, topic: Topic, group: str) -> None:
    """So the commit that follows does not begin with sending them, though they could linger for nine seconds."""
    name = topic(1)
    reader = clients.reader(kafka.settings, group_id=group)
    offsets = [KafkaTopicPartition(name, 0, 1)]
    while not _answers(lambda: reader.committed(offsets, 10)):
        pass  # a coordinator that is not there yet would refuse the offsets
    no_member = reader.consumer_group_metadata()
    producer = clients.transactional(kafka.settings, transactional_id=uuid.uuid4().hex, linger_ms=9_000)
    producer.init_transactions(30)
    producer.begin_transaction()
    delivered: list[object] = []
    producer.produce(name, b"score", on_delivery=lambda error, _: delivered.append(error))
    producer.poll(0)
    assert not delivered

    producer.send_offsets_to_transaction(offsets, no_member, 30)

    assert delivered == [None]
    producer.commit_transaction(30)


def _answers(question: Callable[[], object]) -> bool:
    try:
        question()
    except KafkaException:
        return False
    return True


def test_a_delivery_that_failed_makes_the_commit_raise(topic: Topic, transact: Callable[..., Producer]) -> None:
    """No delivery report needs to be looked at: the commit itself refuses, and asks for an abort."""
    name = topic(1, config={"max.message.bytes": "64"})
    producer = transact()
    producer.produce(name, bytes(1000))

    with pytest.raises(KafkaException) as failed:
        producer.commit_transaction(30)

    assert failed.value.args[0].txn_requires_abort()
    assert not failed.value.args[0].fatal()
    producer.abort_transaction(30)


# Consumers.


def test_consume_waits_its_whole_time_and_poll_does_not(kafka: KafkaUnderTest, topic: Topic) -> None:
    """``consume(n, t)`` with fewer than n records there returns only when t is over; ``poll(t)`` with the first one."""
    name = topic(1)
    fill(kafka.settings, name, 1, 20)
    reader = clients.reader(kafka.settings)
    reader.assign([KafkaTopicPartition(name, 0, 0)])
    started = CLOCK.monotonic()
    assert reader.poll(60) is not None
    polled, started = CLOCK.monotonic() - started, CLOCK.monotonic()

    records = reader.consume(1000, 2.0)
    consumed = CLOCK.monotonic() - started
    reader.close()

    assert len(records) == 19
    assert polled < 60
    assert consumed >= 1.9


def test_a_question_to_a_consumer_waits_for_the_poll_of_another_thread(
    kafka: KafkaUnderTest, topic: Topic, group: str
) -> None:
    """That is why Membership keeps the metadata of its last poll instead of asking when a commit is due."""
    member = clients.member(kafka.settings, group=group, client_id="me", protocol="consumer")
    member.subscribe([topic(1)])
    while not member.assignment():
        member.poll(0.1)
    polling = threading.Event()

    def poll() -> None:
        polling.set()
        member.poll(3.0)

    thread = threading.Thread(target=poll)
    thread.start()
    polling.wait()
    threading.Event().wait(0.2)  # into the poll
    started = CLOCK.monotonic()
    member.consumer_group_metadata()
    waited = CLOCK.monotonic() - started
    thread.join()
    member.close()

    assert waited > 1.0


@pytest.mark.parametrize("seed", [1, 2])
def test_no_stale_record_survives_a_change_of_assignment(kafka: KafkaUnderTest, topic: Topic, seed: int) -> None:
    """Hundreds of changes in a storm: what is fetched under an epoch is contiguous from the place of that epoch.

    This is what the fetcher's epochs rely on: librdkafka throws away what it had fetched for an older assignment.
    """
    rows, partitions = 10_000, 4
    name = topic(partitions)
    fill(kafka.settings, name, partitions, rows)
    storm = Storm(kafka.settings, name)
    chance = random.Random(seed)
    for _ in range(400):
        chosen = chance.sample(range(partitions), chance.randint(1, partitions))
        what = chance.random()
        if what < 0.05:
            waits = storm.renew()
        elif what < 0.8:
            waits = storm.assign({partition: chance.randrange(rows) for partition in chosen})
        else:
            waits = storm.drop(chosen)
        if chance.random() < 0.5:
            waits.result(30)
        if chance.random() < 0.7:
            storm.take(chance.choice([1, 100, 5000]))
    storm.assign(dict.fromkeys(range(partitions), 17))

    def taken_to_the_end() -> bool:
        storm.take(10_000)
        return set(storm.reached().values()) == {rows}

    until(taken_to_the_end, "all is read to the end", 60)
    storm.stop()

    assert storm.failures == []
    assert storm.rows > partitions * rows
    assert storm.lives_with_rows > 50


class SlowClock(SystemClock):
    """Time passes with each look at it, so that a test does not wait for a second of reads."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        """Return a later time at each call."""
        self._now += 0.02
        return self._now


def test_one_partition_with_large_records_does_not_keep_the_others_waiting(kafka: KafkaUnderTest, topic: Topic) -> None:
    """librdkafka would fetch one partition to its end before the next, where each response fills its queue."""
    name, rows = topic(3), 60
    producer = clients.producer(kafka.settings, batch_num_messages=1)
    for number in range(3 * rows):
        producer.produce(name, random.randbytes(100_000), partition=number % 3)
    assert producer.flush(60) == 0
    queues = RecordQueues(10, 1 << 20, ArrivalOrder())
    a_record_per_response = {"max.partition.fetch.bytes": "100000"}
    fetcher = Fetcher(
        kafka.settings.model_copy(update={"client": kafka.settings.client | a_record_per_response}),
        WorkerSettings(fetch_buffer_kilobytes=64),
        group="contract",
        client_id="turns",
        queues=queues,
        on_fetched=lambda _: None,
        on_trouble=lambda source, what: pytest.fail(f"{source}: {what}"),
        clock=SlowClock(),
    )
    taken: list[int] = []
    try:
        fetcher.assign({TopicPartition(name, p): FetchPosition(TaskId("turns", p), 1, 0) for p in range(3)})

        def all_read() -> bool:
            fetcher.poll(0.05)
            for piece in queues.take(10, 1 << 30):
                taken.extend(each.source.partition for each in piece.partitions for _ in each.offsets)
            return len(taken) == 3 * rows

        until(all_read, "all is read", 60)
    finally:
        fetcher.stop()
    first_ends = min(max(place for place, each in enumerate(taken) if each == p) for p in range(3))
    assert all(taken[:first_ends].count(p) > 0 for p in range(3)), [
        (k, len(list(g))) for k, g in itertools.groupby(taken)
    ]


class Storm:
    """A fetcher whose assignments change all the time, and a check of everything that it fetches."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._topic = topic
        self._epochs = itertools.count(1)
        self._epoch: dict[int, int] = {}
        self._next: dict[tuple[int, int], int] = {}  # by partition and epoch: the offset that must come next
        self._seen: set[tuple[int, int]] = set()
        self.failures: list[object] = []
        self.rows = 0
        self._queues = RecordQueues(50_000, 1 << 30, ArrivalOrder())
        self._fetcher = Fetcher(
            kafka,
            WorkerSettings(),
            group="contract",
            client_id="storm",
            queues=self._queues,
            on_fetched=lambda _: None,
            on_trouble=lambda source, what: self.failures.append((source, what)),
            clock=SystemClock(),
        )
        self._fetcher.look_up([topic])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()

    @property
    def lives_with_rows(self) -> int:
        """How many epochs came to any rows."""
        return len(self._seen)

    def assign(self, offsets: dict[int, int]) -> Future[None]:
        """Fetch these partitions from there, in a new epoch each."""
        places = {}
        for partition, offset in offsets.items():
            self._epoch[partition] = epoch = next(self._epochs)
            self._next[partition, epoch] = offset
            places[TopicPartition(self._topic, partition)] = FetchPosition(TaskId("storm", partition), epoch, offset)
        return self._fetcher.assign(places)

    def drop(self, partitions: list[int]) -> Future[None]:
        """Fetch these partitions no more."""
        return self._fetcher.drop([TopicPartition(self._topic, partition) for partition in partitions])

    def renew(self) -> Future[None]:
        """Go on with a new consumer: every epoch goes on where it was."""
        return self._fetcher.renew()

    def take(self, rows: int) -> None:
        """Take what was fetched, and check it."""
        for piece in self._queues.take(rows, 1 << 30):
            self._check(piece)

    def reached(self) -> dict[int, int]:
        """Return the next offset of each partition in its last epoch."""
        return {partition: self._next[partition, epoch] for partition, epoch in self._epoch.items()}

    def stop(self) -> None:
        """Stop the fetcher."""
        self._stopping.set()
        self._thread.join(30)
        self._fetcher.stop()

    def _poll(self) -> None:
        try:
            while not self._stopping.is_set():
                self._fetcher.poll(0.02)
        except Exception as error:  # noqa: BLE001 - the test shows it
            self.failures.append(error)

    def _check(self, piece: TaskRecords) -> None:
        task_epoch = (piece.task.partition, piece.epoch)
        for run in piece.partitions:
            start = self._next[task_epoch]
            expected = list(range(start, start + len(run)))
            values = [b"%d:%d" % (task_epoch[0], offset) for offset in expected]
            if run.offsets.tolist() != expected or run.values.to_pylist() != values:
                self.failures.append(f"{task_epoch}: {run.offsets[:3]}... came where {start} was next")
            if len(run):
                self._seen.add(task_epoch)
            self.rows += len(run)
            self._next[task_epoch] = run.next_offset


class Owner:
    """Notes what a membership tells it."""

    def __init__(self) -> None:
        self.owned: set[int] = set()

    def assigned(self, partitions: list[int]) -> None:
        """Own these also."""
        self.owned |= set(partitions)

    def revoked(self, partitions: list[int]) -> None:
        """Give these up."""
        self.owned -= set(partitions)

    lost = revoked


def refused(producer: Producer, offset: KafkaTopicPartition, metadata: Any, *others: KafkaTopicPartition) -> Any:
    """Return the error that an attempt to commit these offsets ends with."""
    with pytest.raises(KafkaException) as refusal:
        producer.send_offsets_to_transaction([offset, *others], metadata, 10)
    return refusal.value.args[0]


def settled(*members: Member) -> None:
    """Wait until the members' metadata is of the generation that their last rebalance made."""
    for member in members:
        until(partial(_is_newer, member, member.metadata), "it was polled once more")


def _is_newer(member: Member, before: object) -> bool:
    return member.metadata is not before


def fail(error: BaseException) -> None:
    """Fail the test with the error that ended a thread of the product."""
    pytest.fail(repr(error))


def fill(kafka: KafkaSettings, topic: str, partitions: int, rows: int) -> None:
    """Put records that name their partition and offset."""
    producer = clients.producer(kafka)
    for partition in range(partitions):
        for offset in range(rows):
            producer.produce(topic, b"%d:%d" % (partition, offset), partition=partition)
    assert producer.flush(60) == 0


def until(condition: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Wait for a condition. Fails the test, saying what was waited for."""
    started = CLOCK.monotonic()
    never = threading.Event()
    while not condition():
        assert CLOCK.monotonic() - started < timeout, f"not within {timeout:.0f} s: {what}"
        never.wait(0.02)
