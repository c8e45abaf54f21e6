"""surgetank.runtime.fetch_turns: no partition waits until another has no more records."""

from hypothesis import given
from hypothesis import strategies as st

from surgetank.records import TopicPartition
from surgetank.runtime.fetch_turns import PATIENCE_SECONDS, TURN_SECONDS, FetchTurns

READ_SECONDS = 0.05


def partitions(count: int) -> list[TopicPartition]:
    """Return so many partitions of one topic."""
    return [TopicPartition("events", number) for number in range(count)]


class Consumer:
    """Reads as librdkafka does while each response fills its queue: only the first partition that has records."""

    def __init__(self, records: list[int], idle: int = 0) -> None:
        self.left = dict(zip(partitions(len(records)), records, strict=True))
        self.left |= dict.fromkeys(partitions(len(records) + idle)[len(records) :], 0)
        self.turns = FetchTurns()
        self.now = 0.0
        self.log: list[TopicPartition | None] = []
        self.turns.add(self.now, list(self.left))

    def read(self) -> None:
        """Read one record of the first partition that has some and is not paused."""
        paused = self.turns.begin_read(self.now, [])
        source = next((each for each, left in self.left.items() if left and each not in paused), None)
        self.now += READ_SECONDS
        self.log.append(source)
        if source is not None:
            self.left[source] -= 1
        self.turns.end_read(self.now, [source] if source else [], full=source is not None)


@given(st.lists(st.integers(min_value=1, max_value=400), min_size=2, max_size=5))
def test_every_partition_with_records_delivers_all_the_time(records: list[int]) -> None:
    """A partition waits for its patience, a turn of those before it, and one read of each."""
    consumer = Consumer(records)
    waited = dict.fromkeys(consumer.left, 0)
    while any(consumer.left.values()):
        consumer.read()
        for source, left in consumer.left.items():
            waited[source] = 0 if source == consumer.log[-1] or not left else waited[source] + 1
        assert max(waited.values()) <= (PATIENCE_SECONDS + TURN_SECONDS) / READ_SECONDS + 2 * len(records)


@given(st.integers(min_value=1, max_value=20))
def test_partitions_without_records_cost_little(idle: int) -> None:
    """As many as there may be: in 10 minutes they stop the others for less than a hundredth of the time."""
    consumer = Consumer([1 << 30], idle)
    while consumer.now < 600:
        consumer.read()
    assert consumer.log.count(None) * READ_SECONDS < 6


def test_a_read_that_empties_the_queue_starts_the_wait_anew() -> None:
    """Then each partition can be fetched, and one that delivers nothing has no records: nothing is paused."""
    busy, idle = partitions(2)
    turns = FetchTurns()
    turns.add(0.0, [busy, idle])
    for step in range(1, 1000):
        assert turns.begin_read(step / 10, []) == set()
        turns.end_read(step / 10, [busy], full=step % 9 != 0)


def test_a_turn_does_not_end_before_a_read() -> None:
    """Where batches take long, no read happens for seconds."""
    busy, passed_over = partitions(2)
    turns = FetchTurns()
    turns.add(0.0, [busy, passed_over])
    turns.end_read(PATIENCE_SECONDS, [busy], full=True)
    assert turns.begin_read(PATIENCE_SECONDS, []) == {busy}
    later = PATIENCE_SECONDS + TURN_SECONDS
    turns.end_read(later + 60, [], full=False)
    turns.begin_read(later + 120, [])
    assert turns.begin_read(later + 121, []) == set()


def test_a_partition_that_is_paused_for_its_task_gets_no_turn() -> None:
    """It could not deliver. One that is no longer fetched gets none either."""
    busy, held, gone = partitions(3)
    turns = FetchTurns()
    turns.add(0.0, [busy, held, gone])
    turns.remove([gone])
    for step in range(1, 100):
        assert turns.begin_read(step / 10, [held]) == set()
        turns.end_read(step / 10, [busy], full=True)
    turns.end_read(10.5, [busy], full=True)
    assert turns.begin_read(9.9 + PATIENCE_SECONDS, []) == {busy}
    turns.remove([held])
    assert turns.begin_read(9.9 + PATIENCE_SECONDS, []) == set()
