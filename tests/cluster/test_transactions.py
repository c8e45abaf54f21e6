"""What may go wrong with a transaction, and how it ends. Real brokers, real workers, every event counted."""

from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from surgetank.drills.fleet import Member
from surgetank.drills.wire import encoder
from surgetank.kafka import clients
from surgetank.kafka.topic_reader import TopicReader
from surgetank.lag.group_offsets import GroupOffsets
from tests.support.kafka_proxy import (
    END_TXN,
    TXN_OFFSET_COMMIT,
    Change,
    Proxy,
    cut,
    other_generation,
    stale_member_epoch,
    unchanged,
)
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import IN_PLAY, Stage, real_events

EVENTS = 100_000
SPIN = 1_000  # transactions that nothing here needs: a worker that comes to as many goes round in a busy loop
TOO_SMALL = "128"  # bytes: no batch of scores fits, but a transaction's marker (78) does, or no abort could end

StageFactory = Callable[..., Stage]


@pytest.fixture
def proxy(kafka: KafkaUnderTest) -> Iterator[Proxy]:
    """Return a proxy before the broker; what connects to it loses what the test wants lost."""
    with Proxy(kafka.bootstrap) as proxy:
        yield proxy


@pytest.mark.parametrize(("first", "times"), [(1, 1), (4, 1), (3, 4)], ids=["first", "later", "four in a row"])
def test_a_commit_whose_answer_is_lost_is_taken_for_what_it_was(
    stage: StageFactory, proxy: Proxy, first: int, times: int
) -> None:
    """The broker commits, its answer never comes: every event has one score, by the same worker, without spinning."""
    under = stage(**IN_PLAY, **{"kafka.bootstrap": proxy.bootstrap})
    proxy.on_answer(END_TXN, cut, first=first, times=times)
    worker = under.worker()
    replay = under.sending(EVENTS, EVENTS / 5)  # for five seconds: more commits than answers to lose
    under.until(lambda: replay.acknowledged == EVENTS, 60, "all was sent")

    found = under.audit()

    assert proxy.done[END_TXN] == times, "the proxy lost nothing"
    assert found.ok, found
    assert found.scores == EVENTS
    assert worker.running, under.logs()
    assert proxy.requests[END_TXN] < SPIN
    assert sum(transactions(worker).values()) < SPIN


def test_a_commit_whose_answer_is_lost_is_not_redone_by_the_next_worker(stage: StageFactory, proxy: Proxy) -> None:
    """The worker dies while it waits for the lost answer: its successor goes on behind what was committed."""
    under = stage(**IN_PLAY, **{"kafka.bootstrap": proxy.bootstrap})
    under.send(EVENTS)
    proxy.on_answer(END_TXN, cut, first=3, times=10**6)
    worker = under.worker()
    under.until(lambda: proxy.done[END_TXN] > 0, 30, "a commit was answered and the answer was lost")
    under.fleet.kill(worker)
    proxy.on_answer(END_TXN, cut, times=0)

    under.worker()

    found = under.audit()
    assert found.ok, found
    assert found.scores == EVENTS


@pytest.mark.kafka_versions
def test_offsets_whose_answer_is_lost_are_committed_once(stage: StageFactory, proxy: Proxy) -> None:
    """The broker takes a transaction's offsets, its answer never comes: every event has one score all the same."""
    under = stage(**IN_PLAY, **{"kafka.bootstrap": proxy.bootstrap})
    under.send(EVENTS)
    proxy.on_answer(TXN_OFFSET_COMMIT, cut, times=3)
    worker = under.worker()

    found = under.audit()

    assert proxy.done[TXN_OFFSET_COMMIT] == 3
    assert found.ok, found
    assert found.scores == EVENTS
    assert worker.running, under.logs()
    assert sum(transactions(worker).values()) < SPIN


@pytest.mark.kafka_versions
@pytest.mark.parametrize(
    ("first", "answer", "code"),
    [(1, unchanged, KafkaError.ILLEGAL_GENERATION), (2, stale_member_epoch, KafkaError.STALE_MEMBER_EPOCH)],
    ids=["the claim", "the first scores"],
)
def test_a_fresh_group_starts_again_when_its_first_transaction_is_refused(
    stage: StageFactory, proxy: Proxy, first: int, answer: Change, code: int
) -> None:
    """The group refuses a commit when it has no offsets, or only claimed ones: the worker goes back to the start.

    The code of the refusal is ILLEGAL_GENERATION, or STALE_MEMBER_EPOCH, as brokers of Kafka 4.4 answer new clients.
    """
    under = stage(**IN_PLAY, **{"kafka.bootstrap": proxy.bootstrap})
    under.send(EVENTS)
    proxy.on_request(TXN_OFFSET_COMMIT, other_generation, first=first)
    proxy.on_answer(TXN_OFFSET_COMMIT, answer, first=first)
    worker = under.worker()

    found = under.audit()

    assert proxy.done[TXN_OFFSET_COMMIT] == 2  # the request and its answer
    assert KafkaError(code).str() in worker.log.read_text()
    assert transactions(worker)["aborted"] == 1, under.logs()
    assert found.ok, found
    assert found.scores == EVENTS
    assert worker.running, under.logs()


def test_a_delivery_that_fails_commits_nothing_until_it_is_mended(stage: StageFactory) -> None:
    """The score topic takes no record: the worker tries less and less often, and goes on by itself when it does.

    Nothing is committed meanwhile. 20 attempts in five seconds would be no growing pause: there are 8.
    """
    under = stage(**IN_PLAY)
    worker = under.worker()
    allow(under, under.pipeline.scores.topic, TOO_SMALL)  # a worker that starts now would make dead letters of all
    under.send(EVENTS)
    under.until(lambda: transactions(worker)["aborted"] >= 2, 60, "two attempts")
    before = transactions(worker)["aborted"]
    under.until(passed(under, 5), 10, "five seconds")
    attempts = transactions(worker)["aborted"] - before
    print(f"attempts in 5 s while the score topic refuses: {attempts:.0f}")

    assert attempts < 20
    assert under.lag() == EVENTS
    assert under.scores() == 0
    assert worker.running, under.logs()

    allow(under, under.pipeline.scores.topic, "1048588")
    found = under.audit()
    assert found.ok, found
    assert found.scores == EVENTS
    assert worker.running, under.logs()
    assert under.lag() == 0


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_readers_wait_for_the_session_of_a_killed_worker_not_for_its_transaction(
    stage: StageFactory, protocol: str
) -> None:
    """SIGKILL with a transaction of 60 s open: its partitions are readable on long before that.

    The promise is the session timeout (6 s) + 3 s; the time is printed, and what is asserted is that the transaction's
    own timeout was not waited for.
    """
    timeout = 60
    under = stage(
        **(
            IN_PLAY
            | {
                "kafka.transaction_timeout_seconds": timeout,
                "kafka.group_protocol": protocol,
                "worker.commit_interval_seconds": 5,
            }
        )
    )
    victim, peer = under.worker(), under.worker()
    under.until(lambda: victim.partitions == peer.partitions == 2, 30, "each has half")
    replay = under.sending(150_000, 15_000)  # for ten seconds: at any moment a transaction is open
    theirs = owned(under, victim)
    with TopicReader(under.kafka, [under.pipeline.scores.topic]) as reader:
        stable = {source: end for source, end in reader.ends().items() if source.partition in theirs}
        under.until(lambda: held_back(under, theirs), 30, "the victim has a transaction open")
        under.fleet.kill(victim)

        took = under.until(
            lambda: all(end > stable[source] for source, end in reader.ends().items() if source in stable),
            timeout,
            "scores of the victim's partitions are readable again",
        )

    print(f"{protocol}: readable again {took:.1f} s after SIGKILL (session 6 s, transaction {timeout} s)")
    assert took < timeout / 2
    under.until(lambda: replay.acknowledged == 150_000, 60, "all was sent")
    found = under.audit()
    assert found.ok, found
    assert found.scores == 150_000


def test_aborted_events_are_never_scored_and_their_markers_are_no_lag(stage: StageFactory) -> None:
    """An upstream producer commits, aborts and leaves open: what is committed is scored, the rest is never waited for.

    The worker would end as stuck after 6 s if it took markers, aborted or open events for work that is left.
    """
    under = stage(**IN_PLAY, **{"model.call_deadline_seconds": 3, "worker.stuck_deadline_seconds": 6})
    upstream = Upstream(under)
    worker = under.worker()
    for round_ in range(10):
        upstream.put(10_000)
        upstream.end(commit=True)
        upstream.put(500)
        upstream.end(commit=round_ % 2 == 0)
    upstream.put(1_000)
    upstream.end(commit=False)
    committed = 10 * 10_000 + 5 * 500

    under.until(lambda: under.lag() == 0, 30, "no lag in spite of trailing markers")
    upstream.put(1_000)  # and this transaction stays open
    under.until(passed(under, 10), 15, "longer than the deadline of a stuck worker")

    assert worker.running, under.logs()
    assert under.lag() == 0
    found = under.audit()
    assert found.ok, found
    assert found.events == found.scores == committed

    upstream.end(commit=True)
    found = under.audit()
    assert found.ok, found
    assert found.scores == committed + 1_000


class Upstream:
    """A producer of events in transactions of its own."""

    def __init__(self, under: Stage) -> None:
        events = real_events().to({"flights.boarding": under.pipeline.events.topic})
        self._topic, self._partitions = under.pipeline.events.topic, under.pipeline.events.partitions
        self._rows = (
            row
            for chunk in events.chunks(encoder(), count=10**9, rows=1000)
            for row in zip(chunk.keys, chunk.values, strict=True)
        )
        patient = under.kafka.model_copy(update={"transaction_timeout_seconds": 120})
        self._producer: Producer = clients.transactional(patient, transactional_id=f"{under.prefix}-upstream")
        self._producer.init_transactions(30)
        self._open = False

    def put(self, count: int) -> None:
        """Send the next real events, in the open transaction; each key to a partition of its own."""
        if not self._open:
            self._producer.begin_transaction()
            self._open = True
        for _, (key, value) in zip(range(count), self._rows, strict=False):
            self._producer.produce(self._topic, value, key, sum(key or b"") % self._partitions)
        assert self._producer.flush(30) == 0

    def end(self, *, commit: bool) -> None:
        """Commit or abort."""
        self._open = False
        (self._producer.commit_transaction if commit else self._producer.abort_transaction)(30)


def transactions(worker: Member) -> dict[str, float]:
    """Return how many transactions a worker ended, by outcome."""
    counts = dict.fromkeys(("committed", "aborted", "fenced", "failed"), 0.0)
    for line in (worker.ask("/metrics", timeout=5) or "").splitlines():
        if line.startswith("surgetank_transactions_total{"):
            label, value = line.split("} ")
            counts[label.split('"')[1]] = float(value)
    return counts


def allow(under: Stage, topic: str, bytes_max: str) -> None:
    """Set the largest batch that a topic takes."""
    entry = ConfigEntry("max.message.bytes", bytes_max, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = clients.admin(under.kafka)  # kept until the answer is here: with it that would be gone
    admin.incremental_alter_configs([resource])[resource].result(10)


def owned(under: Stage, worker: Member) -> set[int]:
    """Return the partitions that a worker has."""
    standing = GroupOffsets(under.kafka, under.pipeline.group, [under.pipeline.events.topic]).now()
    return {each.source.partition for each in standing if each.owner and each.owner.endswith(worker.name)}


def held_back(under: Stage, partitions: set[int]) -> bool:
    """Whether uncommitted scores lie in every one of these partitions."""
    topic = under.pipeline.scores.topic
    reader = clients.reader(under.kafka, isolation_level="read_uncommitted")
    try:
        with TopicReader(under.kafka, [topic]) as committed:
            stable = committed.ends()
        return all(
            reader.get_watermark_offsets(KafkaTopicPartition(*source), timeout=5)[1] > end
            for source, end in stable.items()
            if source.partition in partitions
        )
    finally:
        reader.close()


def passed(under: Stage, seconds: float) -> Callable[[], bool]:
    """Return what tells whether so many seconds have passed."""
    started = under.clock.monotonic()
    return lambda: under.clock.monotonic() - started > seconds
