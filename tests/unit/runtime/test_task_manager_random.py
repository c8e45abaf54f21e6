"""The task manager over random sequences of events keeps what exactly once rests on."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from surgetank.records import TaskId, TopicPartition
from surgetank.runtime import task_events as on
from surgetank.runtime.task_state import TaskState
from tests.support.worker_model import ME, OTHER, TASKS, THREADS, Brokers, Transaction, WorkerModel, sources

ALL_SOURCES = [source for task in TASKS for source in sources(task)]
WORKS = st.sampled_from([True, False])
STEPS = st.sampled_from([(thread, works) for thread in THREADS for works in [True] * 9 + [False]])  # most work
SELDOM = st.sampled_from([False, False, False, False, True])


class RandomWorker(RuleBasedStateMachine):
    """A worker and another one, rebalances, failing steps, stale answers, in any order."""

    finished = 0  # sequences that were run to their end

    @initialize(rows=st.integers(0, 12), running=st.booleans())
    def begin(self, rows: int, running: bool) -> None:
        """Begin with some rows in each partition, and all tasks assigned."""
        self.brokers = Brokers()
        self.worker = WorkerModel(self.brokers)
        for source in ALL_SOURCES:
            self.brokers.append(source, rows, 0)
        self.assign(frozenset(TASKS))
        if running:
            self.worker.settle_down()

    @rule(source=st.sampled_from(ALL_SOURCES), rows=st.integers(1, 5), gap=st.integers(0, 2))
    def append(self, source: TopicPartition, rows: int, gap: int) -> None:
        """Rows arrive."""
        self.brokers.append(source, rows, gap)

    @rule(tasks=st.frozensets(st.sampled_from(TASKS), min_size=1))
    @precondition(lambda self: not self.worker.revoking and len(self.brokers.owned) < len(TASKS))
    def assign(self, tasks: frozenset[TaskId]) -> None:
        """The group assigns what this worker does not own."""
        self.brokers.members.add(ME)
        gained = tuple(sorted(tasks - self.brokers.owned))
        if gained:
            self.brokers.owned |= set(gained)
            self.worker.post(on.PartitionsAssigned(gained))

    @rule(tasks=st.frozensets(st.sampled_from(TASKS), min_size=1))
    @precondition(lambda self: not self.worker.revoking and self.brokers.owned)
    def revoke(self, tasks: frozenset[TaskId]) -> None:
        """The group asks for tasks."""
        if theirs := tuple(sorted(tasks & self.brokers.owned)):
            self.worker.revoke(theirs)

    @rule()
    @precondition(lambda self: self.worker.revoking)
    def end_callback(self) -> None:
        """The callback of a revocation returns."""
        self.worker.end_callback()

    @rule(really=SELDOM)
    @precondition(lambda self: not self.worker.revoking and self.brokers.owned)
    def lose(self, really: bool) -> None:
        """The worker is no member any more: another one fences it."""
        if not really:
            return
        lost = tuple(sorted(self.brokers.owned))
        self.brokers.owned.clear()
        self.brokers.members.discard(ME)
        if ME in self.brokers.open:
            self.brokers.open[ME] = Transaction(number=self.brokers.open[ME].number, fenced=True)
        self.worker.post(on.PartitionsLost(lost))

    @rule(task=st.sampled_from(TASKS), rows=st.integers(1, 4), dies=st.booleans())
    @precondition(lambda self: len(self.brokers.owned) < len(TASKS))
    def other_works(self, task: TaskId, rows: int, dies: bool) -> None:
        """Another worker processes what this one does not own, and may die with a transaction open."""
        if task in self.brokers.owned or not all(map(self.brokers.stable, sources(task))):
            return
        if OTHER in self.brokers.open:
            return
        self.brokers.members.add(OTHER)
        mine = Transaction()
        for source in sources(task):
            at = self.brokers.committed.get(source, 0)
            mine.rows[source] = [offset for offset in self.brokers.logs[source] if offset >= at][:rows]
            mine.offsets[source] = mine.rows[source][-1] + 1 if mine.rows[source] else at
            self.brokers.owner[source] = OTHER  # it claimed the partition before
        self.brokers.open[OTHER] = mine
        if dies:
            self.brokers.members.discard(OTHER)
        else:
            self.brokers.commit(OTHER)

    @rule(steps=st.lists(STEPS, min_size=3, max_size=25))
    def work(self, steps: list[tuple[str, bool]]) -> None:
        """Threads take steps, most of which work."""
        for thread, works in steps:
            self.worker.now += 0.01
            self.worker.step(thread, works)
            self.brokers.check_exactly_once()

    @rule(works=WORKS)
    @precondition(lambda self: self.worker.initializing)
    def take_a_step_of_initialization(self, works: bool) -> None:
        """The thread that initializes takes a step."""
        self.worker.initialize(works)

    @rule(works=WORKS)
    @precondition(lambda self: self.worker.fencing)
    def fence(self, works: bool) -> None:
        """A fencing ends."""
        self.worker.fence(works)

    @rule()
    @precondition(lambda self: self.worker.restoring)
    def restore(self) -> None:
        """A restore ends."""
        self.worker.restore()

    @rule(works=WORKS, acknowledged=WORKS)
    @precondition(lambda self: self.worker.producer or self.worker.committing)
    def produce(self, works: bool, acknowledged: bool) -> None:
        """The producer's thread takes a step."""
        self.worker.produce(works, acknowledged)

    @rule(source=st.sampled_from(ALL_SOURCES), rows=st.integers(1, 4))
    @precondition(lambda self: self.worker.positions)
    def fetch(self, source: TopicPartition, rows: int) -> None:
        """The fetcher reads."""
        if source in self.worker.positions:
            self.worker.fetch(source, rows)

    @rule(spans=st.integers(1, 4))
    @precondition(lambda self: self.worker.fetched)
    def take(self, spans: int) -> None:
        """A batch is taken."""
        self.worker.take(spans)

    @rule()
    @precondition(lambda self: self.worker.fetched and self.worker.fetched[0][1].rows)
    def take_of_an_old_epoch(self) -> None:
        """Records of an epoch that is over vanish."""
        task, _ = self.worker.fetched[0]
        before = len(self.worker.computing)
        kept = self.worker.fetched.copy()
        self.worker.take(1, stale=task._replace(epoch=task.epoch - 1))
        self.worker.fetched = kept
        assert len(self.worker.computing) == before

    @rule(usable=WORKS)
    @precondition(lambda self: self.worker.computing)
    def compute(self, usable: bool) -> None:
        """A batch is computed."""
        self.worker.compute(usable)

    @rule(source=st.sampled_from(ALL_SOURCES))
    @precondition(lambda self: self.worker.positions)
    def fail_to_fetch(self, source: TopicPartition) -> None:
        """A partition cannot be read on."""
        if source in self.worker.positions:
            self.worker.post(on.FetchFailed(source, self.worker.positions[source][0]))

    @rule(seconds=st.sampled_from([0.0, 0.02, 0.2]))
    def tick(self, seconds: float) -> None:
        """Time passes."""
        self.worker.now += seconds
        self.worker.post(on.DeadlinePassed(len(self.worker.fetched)))

    @rule(really=SELDOM)
    def refresh(self, really: bool) -> None:
        """Offsets that did not change are committed again."""
        if really:
            self.worker.post(on.OffsetsExpiring())

    @rule(task=st.sampled_from(TASKS), rows=st.integers(1, 4))
    @precondition(lambda self: not self.worker.revoking)
    def take_over_from_the_dead(self, task: TaskId, rows: int) -> None:
        """A task goes to another worker, which dies, and comes back."""
        self.revoke(frozenset([task]))
        if self.worker.revoking:
            self.worker.end_callback()
        self.other_works(task, rows, dies=True)
        self.assign(frozenset([task]))

    @rule(data=st.data())
    @precondition(lambda self: self.worker.said)
    def say_again(self, data: st.DataObject) -> None:
        """An answer comes once more, however late."""
        self.worker.post(data.draw(st.sampled_from(self.worker.said)))

    @invariant()
    def each_row_is_committed_once_and_in_order(self) -> None:
        """Committed outputs and committed offsets tell the same."""
        self.brokers.check_exactly_once()

    @invariant()
    def what_is_not_owned_is_not_managed(self) -> None:
        """The manager has the tasks that the group gave it, except while a callback gives some back."""
        assert {task.id for task in self.worker.manager.tasks} <= self.brokers.owned

    def teardown(self) -> None:
        """However it went: left in peace, every owned task comes to run and processes all that there is."""
        if not hasattr(self, "worker"):
            return
        self.worker.settle_down()
        self.brokers.check_exactly_once()
        assert {task.id for task in self.worker.manager.tasks} == self.brokers.owned
        for task in self.brokers.owned:
            assert self.worker.manager.tasks[task].state is TaskState.RUNNING, task
            for source in sources(task):
                assert self.brokers.committed.get(source, 0) == self.brokers.end(source)
        assert not self.worker.manager.tasks.in_flight
        RandomWorker.finished += 1


def test_random_sequences_of_events_keep_what_exactly_once_rests_on() -> None:
    """Whatever happens in whatever order, each row is committed once, in order, and every task comes to run."""
    run_state_machine_as_test(
        RandomWorker,
        settings=settings(
            max_examples=300, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
    assert RandomWorker.finished >= 300
