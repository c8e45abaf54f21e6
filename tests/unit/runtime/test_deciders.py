"""The small decisions of the runtime: pure functions of values and times."""

import pytest
from confluent_kafka import KafkaError

from surgetank.kafka.offset_owner import OffsetOwner, other_tables, served_models, short
from surgetank.records import ModelVersion, TaskId, TopicPartition
from surgetank.runtime.commit_policy import (
    BATCHES_AHEAD,
    WORTHWHILE_ROWS,
    CommitPolicy,
    commit_time,
    linger_seconds,
)
from surgetank.runtime.fencing import stale_owners
from surgetank.runtime.group_membership import has_code
from surgetank.runtime.start_offsets import Bounds, Processed, Start, start_offset
from surgetank.runtime.task_state import TaskState
from surgetank.runtime.watchdog import Snapshot, StuckTaskDetector, hung_call

SOURCE = TopicPartition("events", 0)
TASK = TaskId("flights", 0)
BOUNDS = Bounds(low=10, stable=90, high=95)  # somebody's transaction is open from offset 90 on


@pytest.mark.parametrize(
    ("committed", "reset", "expected"),
    [
        (-1001, "earliest", 10),
        (-1001, "latest", 90),
        (50, "earliest", 50),
        (90, "latest", 90),
        (92, "earliest", 92),
        (95, "latest", 95),
    ],
)
def test_a_task_starts_where_the_group_stands(committed: int, reset: str, expected: int) -> None:
    """A committed offset counts, also beyond the last stable offset; without one, the setting says where to start."""
    assert start_offset(committed, BOUNDS, reset, claimed=True) == Start(expected)  # type: ignore[arg-type]


def test_records_that_retention_took_are_said() -> None:
    """An offset before the first record is not passed over in silence."""
    start = start_offset(3, BOUNDS, "latest", claimed=True)

    assert start.offset == 10
    assert start.remark is not None
    assert "7 records" in start.remark
    assert start.expired == 7


@pytest.mark.parametrize("claimed", [True, False])
def test_an_offset_beyond_the_end_is_no_place_to_start(claimed: bool) -> None:
    """Beyond the high watermark there is neither a next event nor a reason to read all again."""
    start = start_offset(96, BOUNDS, "latest", claimed=claimed)

    assert start.offset is None
    assert start.remark is not None
    assert "96 is beyond its end 95" in start.remark


def test_an_offset_that_no_worker_committed_is_said() -> None:
    """It counts, and events that are skipped or processed again by that are not a surprise."""
    start = start_offset(50, BOUNDS, "latest", claimed=False)

    assert start.offset == 50
    assert start.remark is not None
    assert "not committed by a worker" in start.remark


@pytest.mark.parametrize(
    ("committed", "processed", "skipped", "repeated", "told"),
    [
        (80, 50, 30, 0, "30 events from 50 on are skipped"),
        (30, 50, 0, 20, "20 events before 50 are processed again"),
        (50, 50, 0, 0, "no event is skipped"),
        (20, 5, 10, 0, "10 events from 5 on are skipped"),  # those below 10 were deleted by retention
    ],
)
def test_offsets_were_set_by_somebody_else(
    committed: int, processed: int, skipped: int, repeated: int, told: str
) -> None:
    """What the last score or dead letter tells of the former offset is said and counted."""
    start = start_offset(committed, BOUNDS, "latest", claimed=False, processed=Processed(processed))

    assert (start.offset, start.skipped, start.repeated) == (committed, skipped, repeated)
    assert start.remark is not None
    assert told in start.remark


@pytest.mark.parametrize(
    ("committed", "repeated", "told"),
    [(80, 0, "no worker had processed are skipped"), (30, 20, "at least 20 events before 50 are processed again")],
)
def test_events_whose_scores_retention_deleted_are_not_counted_as_skipped(
    committed: int, repeated: int, told: str
) -> None:
    """An old dead letter tells of the events before it only: those from 50 to 80 may have had scores."""
    start = start_offset(committed, BOUNDS, "latest", claimed=False, processed=Processed(50, exact=False))

    assert (start.offset, start.skipped, start.repeated) == (committed, 0, repeated)
    assert start.remark is not None
    assert told in start.remark
    assert start_offset(-1001, BOUNDS, "latest", claimed=False, processed=Processed(50, exact=False)).offset is None


@pytest.mark.parametrize(
    ("committed", "processed", "expired", "repeated", "told"),
    [
        (3, 5, 5, 0, "5 records were deleted"),
        (5, 3, 5, 0, "5 records were deleted"),
        (3, None, 7, 0, "7 records were deleted"),
        (3, 10, 0, 0, "no event is skipped"),
        (3, 50, 0, 40, "40 events before 50 are processed again"),
    ],
)
def test_offsets_were_set_to_deleted_events(
    committed: int, processed: int | None, expired: int, repeated: int, told: str
) -> None:
    """Events that have a score did not expire unread, and those that are left are processed again."""
    known = None if processed is None else Processed(processed)
    start = start_offset(committed, BOUNDS, "latest", claimed=False, processed=known)

    assert (start.offset, start.expired, start.skipped, start.repeated) == (10, expired, 0, repeated)
    assert start.remark is not None
    assert told in start.remark


@pytest.mark.parametrize("reset", ["earliest", "latest"])
def test_the_offsets_of_the_group_expired_though_events_were_processed(reset: str) -> None:
    """Neither is all processed again, nor is anything skipped; events that are gone are no reason."""
    start = start_offset(-1001, BOUNDS, reset, claimed=False, processed=Processed(50))  # type: ignore[arg-type]

    assert start.offset is None
    assert start.remark is not None
    assert "expired or were deleted" in start.remark
    assert "40 events would be processed again" in start.remark
    assert start_offset(-1001, BOUNDS, "earliest", claimed=False, processed=Processed(10)).offset == 10
    assert start_offset(-1001, BOUNDS, "earliest", claimed=False, processed=None).offset == 10


def test_an_offset_of_a_deleted_topic_is_no_place_to_start() -> None:
    """Also where the new topic of the same name is longer."""
    start = start_offset(50, BOUNDS, "earliest", claimed=True, recreated=True)

    assert start.offset is None
    assert start.remark is not None
    assert "deleted topic" in start.remark


def test_only_the_named_and_dead_are_fenced() -> None:
    """A live member is never fenced, nor is this worker itself, nor an offset without a name."""
    owners = ["a", "b", "me", None, None]

    assert stale_owners(owners, live={"b"}, me="me") == {"a"}


@pytest.mark.parametrize(
    "owner",
    [
        OffsetOwner("flights-w1"),
        OffsetOwner("flights-w1", "http://127.0.0.1:8080"),
        OffsetOwner("flights-w1", "http://127.0.0.1:8080", "0dTnVLGKQyOWZMI"),
        OffsetOwner("flights-w1", "", "0dTnVLGKQyOWZMI", {"planes": short("a"), "predictions": short("b")}),
        OffsetOwner(
            "flights-w1", "http://127.0.0.1:8080", "0dTnVLGKQyOWZMI", {}, ModelVersion("late = soon", "größer")
        ),
    ],
)
def test_a_claim_says_whose_it_is_and_where_its_owner_answers(owner: OffsetOwner) -> None:
    """All of it comes back; a claim without the rest, as older workers make it, says nothing of that."""
    assert OffsetOwner.of(owner.metadata()) == owner


def test_the_model_of_a_partition_is_that_of_its_owner() -> None:
    """The last commit of another worker, or of an older one, does not tell it."""
    first, second, third = (TopicPartition("events", number) for number in range(3))
    mine = OffsetOwner("w1", model=ModelVersion("late", "2"))
    former = OffsetOwner("w0", model=ModelVersion("late", "1"))
    owners = {first: "w1", second: "w1", third: "w1"}

    assert served_models(owners, {first: mine, second: former, third: OffsetOwner("w1")}) == {first: ("late", "2")}
    assert served_models({}, {first: mine, second: None}) == {}


@pytest.mark.parametrize("metadata", [None, "", "other text"])
def test_metadata_of_others_names_no_owner(metadata: str | None) -> None:
    """Kafka's own tool writes none, another application something else."""
    assert OffsetOwner.of(metadata) is None


def test_more_tables_than_the_brokers_accept_are_left_out() -> None:
    """Metadata above the brokers' limit would fail every commit."""
    many = {f"table-{number}": short(str(number)) for number in range(200)}
    metadata = OffsetOwner("flights-w1", "http://127.0.0.1:8080", "id", many).metadata()
    assert len(metadata) < 4096
    assert OffsetOwner.of(metadata) == OffsetOwner("flights-w1", "http://127.0.0.1:8080", "id")


def test_only_tables_that_both_workers_have_can_differ() -> None:
    """A table that is new in one of them is no contradiction."""
    mine = {"planes": short("a"), "airports": short("b"), "new": short("c")}
    assert other_tables(mine, {"planes": short("a2"), "airports": short("b"), "old": short("d")}) == ["planes"]


def test_a_worker_that_keeps_up_commits_at_once_and_a_flooded_one_at_the_interval() -> None:
    """Latency first while it keeps up, throughput when it is flooded."""
    after_a_silence = commit_time(opened_at=50.0, last_commit_at=10.0, interval_seconds=0.1, flooded=False)
    soon_after_another = commit_time(opened_at=10.005, last_commit_at=10.0, interval_seconds=0.1, flooded=False)
    flooded = commit_time(opened_at=10.01, last_commit_at=10.0, interval_seconds=0.1, flooded=True)

    assert after_a_silence < 50.0
    assert soon_after_another == pytest.approx(10.01)
    assert flooded == pytest.approx(10.11)


def test_a_task_that_lags_and_commits_nothing_is_stuck() -> None:
    """Lag without progress for the deadline, or an opening that never ends."""
    running = (TASK, TaskState.RUNNING, 0.0, 100.0, {SOURCE: 5})
    detector = StuckTaskDetector(60.0)

    assert detector.check(100.0, [running], {SOURCE: 9}) is None
    assert detector.check(159.0, [running], {SOURCE: 9}) is None
    assert detector.check(161.0, [running], {SOURCE: 9}) == (
        "task flights/0 lags (events[0] by 4 records) and committed nothing for 61 s"
    )
    assert StuckTaskDetector(60.0).check(161.0, [(TASK, TaskState.OPENING, 100.0, 0.0, {})], {}) is not None


def test_a_task_is_reopened_without_end() -> None:
    """What counts is the last commit: each opening and each start of running is recent."""
    detector = StuckTaskDetector(60.0)

    for now in range(100, 160, 2):
        running: Snapshot = (TASK, TaskState.RUNNING, now - 0.5, now - 0.5, {SOURCE: 5})
        opening: Snapshot = (TASK, TaskState.OPENING, now - 0.5, now - 1.0, {})
        assert detector.check(float(now), [running if now % 4 == 0 else opening], {SOURCE: 9}) is None

    assert detector.check(161.0, [(TASK, TaskState.OPENING, 160.5, 160.0, {})], {SOURCE: 9}) == (
        "task flights/0 lags (events[0] by 4 records) and committed nothing for 61 s"
    )


def test_a_first_record_after_a_silence_is_not_stuck() -> None:
    """A check that falls between the arrival of a record and its commit sees lag, but no standstill."""
    detector = StuckTaskDetector(60.0)
    idle = (TASK, TaskState.RUNNING, 0.0, 0.0, {SOURCE: 5})

    assert detector.check(1000.0, [idle], {SOURCE: 5}) is None
    assert detector.check(1002.0, [idle], {SOURCE: 6}) is None
    assert detector.check(1004.0, [(TASK, TaskState.RUNNING, 0.0, 1002.1, {SOURCE: 6})], {SOURCE: 7}) is None
    assert detector.check(1063.0, [(TASK, TaskState.RUNNING, 0.0, 1002.1, {SOURCE: 6})], {SOURCE: 7}) is None
    assert detector.check(1064.1, [(TASK, TaskState.RUNNING, 0.0, 1002.1, {SOURCE: 6})], {SOURCE: 7}) is not None


def test_time_without_brokers_is_not_a_standstill() -> None:
    """Nobody could commit meanwhile: the time starts anew when the ends are known again."""
    detector = StuckTaskDetector(60.0)
    running = (TASK, TaskState.RUNNING, 0.0, 0.0, {SOURCE: 5})

    assert detector.check(100.0, [running], {SOURCE: 9}) is None
    assert detector.check(155.0, [running], {}) is None
    assert detector.check(162.0, [running], {SOURCE: 9}) is None
    assert detector.check(223.0, [running], {SOURCE: 9}) is not None


def test_a_restore_that_comes_no_nearer_is_stuck() -> None:
    """However long it takes as a whole: what counts is when it last moved."""
    restoring: Snapshot = (TASK, TaskState.RESTORING, 0.0, 100.0, {})

    assert StuckTaskDetector(60.0).check(161.0, [restoring], {}) == "task flights/0 has restored nothing for 61 s"
    assert StuckTaskDetector(60.0).check(159.0, [restoring], {}) is None


def test_a_long_restore_is_not_a_standstill() -> None:
    """A task that had to be restored after an abort has the whole deadline for its next commit."""
    detector = StuckTaskDetector(60.0)
    running = (TASK, TaskState.RUNNING, 0.0, 0.0, {SOURCE: 5})

    assert detector.check(100.0, [running], {SOURCE: 9}) is None
    assert detector.check(200.0, [(TASK, TaskState.RESTORING, 101.0, 199.0, {})], {SOURCE: 9}) is None
    assert detector.check(202.0, [running], {SOURCE: 9}) is None


def test_no_lag_and_unknown_ends_are_not_stuck() -> None:
    """A quiet partition, or one whose end no broker tells, is not a reason to end the process."""
    running = (TASK, TaskState.RUNNING, 0.0, 0.0, {SOURCE: 5})
    quiet, unknown = StuckTaskDetector(60.0), StuckTaskDetector(60.0)

    for now in (100.0, 1000.0):
        assert quiet.check(now, [running], {SOURCE: 5}) is None
        assert unknown.check(now, [running], {}) is None


def test_a_task_that_waits_beyond_the_last_stable_offset_is_not_stuck() -> None:
    """There is nothing to be read before the transaction of somebody else has ended, however long that takes."""
    running = (TASK, TaskState.RUNNING, 0.0, 0.0, {SOURCE: 95})
    detector = StuckTaskDetector(60.0)

    for now in (100.0, 1000.0):
        assert detector.check(now, [running], {SOURCE: 90}) is None


def test_a_model_call_past_its_deadline_hangs() -> None:
    """Between calls nothing hangs."""
    assert hung_call(100.0, None, 20.0) is None
    assert hung_call(100.0, 81.0, 20.0) is None
    assert hung_call(100.0, 79.0, 20.0) is not None


def linger(now: float, rows: int, *, computed: int = 0, committing: bool = False, rows_max: int = 8_000) -> float:
    """Return the linger time of a worker with batches of ``rows_max`` rows, whose last commit began at 10 s."""
    return linger_seconds(
        now=now,
        last_commit_at=10.0,
        interval_seconds=0.1,
        waiting_rows=rows,
        batch_rows_max=rows_max,
        computed_batches=computed,
        committing=committing,
    )


def test_a_batch_gathers_only_as_long_as_its_commit_is_not_due() -> None:
    """After a silence, with many rows, or once the commit is due, nothing waits."""
    assert linger(10.005, 1) == pytest.approx(0.005)
    assert linger(10.005, WORTHWHILE_ROWS) == 0
    assert linger(10.01, 1) == pytest.approx(0)
    assert linger(50.0, 1) == 0


def test_a_small_batch_waits_for_the_end_of_the_commit_in_progress() -> None:
    """It could not be committed before, and it would lack the records that arrive meanwhile. A full batch is taken."""
    assert linger(10.02, WORTHWHILE_ROWS - 1, committing=True) > 0
    assert linger(10.02, WORTHWHILE_ROWS, committing=True) == 0
    assert linger(10.02, 500, committing=True, rows_max=500) == 0


def test_computed_batches_that_wait_for_the_producer_hold_back_the_next_one() -> None:
    """One of them holds back all but a full batch, two of them also that."""
    assert linger(50.0, 7_999, computed=1) > 0
    assert linger(50.0, 8_000, computed=1) == 0
    assert linger(50.0, 8_000, computed=BATCHES_AHEAD) > 0


def test_the_size_of_the_next_batch_decides_when_a_worker_is_flooded() -> None:
    """A size that changes while the worker runs changes when it commits and whether it lingers."""
    rows_max = 8_000
    policy = CommitPolicy(0.1, lambda: rows_max)
    policy.commit_began(5.0)
    assert policy.commit_time(5.0, 500) == pytest.approx(5.01)
    assert policy.linger_seconds(5.0, waiting_rows=500, computed_batches=0, committing=False) > 0

    rows_max = 500

    assert policy.commit_time(5.0, 500) == pytest.approx(5.1)
    assert policy.linger_seconds(5.0, waiting_rows=500, computed_batches=0, committing=False) == 0


def test_a_fatal_error_is_known_by_its_words() -> None:
    """librdkafka gives all fatal errors of a consumer one code; which it is, only the text says."""
    taken = KafkaError.UNRELEASED_INSTANCE_ID
    fatal = KafkaError(KafkaError._FATAL, f"Fatal error: {KafkaError(taken).str()}: ConsumerGroupHeartbeat fatal error")

    assert has_code(KafkaError(taken), taken)
    assert has_code(fatal, taken)
    assert not has_code(fatal, KafkaError.FENCED_INSTANCE_ID)
    assert not has_code(KafkaError(KafkaError._TRANSPORT, KafkaError(taken).str()), taken)
