"""The follower of a rollout topic: what it passes on, and what it does while the topic cannot be read."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from surgetank.clock import SystemClock
from surgetank.errors import BrokerError, TopicsError
from surgetank.records import RecordBatch
from surgetank.rollout.followed_plan import FollowedPlan, PlanSource
from surgetank.rollout.follower import RolloutFollower, RolloutTopic
from surgetank.rollout.kept_plan import KeptPlan
from surgetank.serving_plan import ServingPlan
from tests.support.rollout_commands import MODEL, batch, command

SECONDS = 20.0
MISSING = TopicsError("there is no topic flights.rollout")


class ScriptedTopic:
    """A topic in memory: ``values`` are its records, ``failing`` is what opening or reading it raises."""

    def __init__(self, *values: bytes | None) -> None:
        self.values: list[bytes | None] = list(values)
        self.failing: Exception | None = None
        self.identity = "one"
        self.silent = False  # whether the brokers do not tell the identity
        self.told = threading.Event()  # set when they have told it
        self.changed = threading.Condition()

    def append(self, value: bytes | None) -> None:
        """Write a record."""
        with self.changed:
            self.values.append(value)
            self.changed.notify_all()

    def ask_identity(self) -> str:
        """Return the id of the topic."""
        if self.silent:
            raise BrokerError("no broker answers")
        answer = self.identity
        self.told.set()
        return answer

    @contextmanager
    def open(self) -> Iterator["ScriptedReader"]:
        """Open the topic at its start."""
        if self.failing is not None:
            raise self.failing
        yield ScriptedReader(self)


class ScriptedReader:
    """Reads a topic in memory."""

    def __init__(self, topic: ScriptedTopic) -> None:
        self._topic = topic
        self._offset = 0

    def catch_up(self) -> Iterator[RecordBatch]:
        """Yield the present records, one at a time."""
        for value in self._topic.values[:]:
            self._offset += 1
            yield batch([value], self._offset - 1)

    def read(self, *, timeout: float) -> RecordBatch:
        """Return the next records; this topic is not waited for as long as a real one."""
        if self._topic.failing is not None:
            raise self._topic.failing
        with self._topic.changed:
            self._topic.changed.wait_for(lambda: len(self._topic.values) > self._offset, timeout / 20)
            new, first = self._topic.values[self._offset :], self._offset
        self._offset += len(new)
        return batch(new, first)


class Followed:
    """A follower of a topic, and what it passed on and reported."""

    def __init__(self, topic: ScriptedTopic, folder: Path) -> None:
        self.plans: queue.SimpleQueue[ServingPlan] = queue.SimpleQueue()
        self.reports: list[FollowedPlan] = []
        self._more = threading.Condition()
        self.follower = RolloutFollower(
            RolloutTopic(topic.open, topic.ask_identity),
            MODEL,
            KeptPlan(folder / "flights.json"),
            SystemClock(),
            report=self._reported,
            identity_seconds=0.0,
        )

    def _reported(self, followed: FollowedPlan) -> None:
        with self._more:
            self.reports.append(followed)
            self._more.notify_all()

    def until(self, condition: Callable[[FollowedPlan], bool]) -> FollowedPlan:
        """Wait for a report."""
        with self._more:
            assert self._more.wait_for(lambda: any(map(condition, self.reports)), SECONDS), self.reports
            return next(filter(condition, reversed(self.reports)))

    def plan(self) -> ServingPlan:
        """Return the next plan that was passed on."""
        return self.plans.get(timeout=SECONDS)


@pytest.fixture
def following(tmp_path: Path) -> Iterator[Callable[[ScriptedTopic], Followed]]:
    """Return a function that follows a topic; all followers share a folder, and are closed at the end."""
    made: list[Followed] = []

    def follow(topic: ScriptedTopic) -> Followed:
        made.append(Followed(topic, tmp_path))
        return made[-1]

    yield follow
    for each in made:
        each.follower.close()


Following = Callable[[ScriptedTopic], Followed]


def deploy(version: str, revision: int) -> bytes:
    """Return the record of a deployment."""
    return command("deploy", version=version, revision=revision).encode()


def test_the_plan_of_the_whole_topic_is_the_first_one(following: Following) -> None:
    """None of the states on the way is passed on; later commands are."""
    topic = ScriptedTopic(deploy("1", 0), deploy("2", 1), b"mangled", deploy("3", 2))
    found = following(topic)
    first = found.follower.start(SECONDS)
    assert (first.plan, first.revision) == (ServingPlan("3", loaded=frozenset({"2"})), 3)
    assert first.mangled == 1
    found.follower.follow(found.plans.put)
    topic.append(command("rollback", revision=3).encode())
    assert found.plan() == ServingPlan("2")
    found.until(lambda each: each.revision == 4)
    assert [each.source for each in found.reports] == [PlanSource.TOPIC, PlanSource.TOPIC]


def test_a_command_between_start_and_follow_is_passed_on(following: Following) -> None:
    """The receiver has not missed it."""
    topic = ScriptedTopic(deploy("1", 0))
    found = following(topic)
    found.follower.start(SECONDS)
    topic.append(deploy("2", 1))
    found.until(lambda each: each.revision == 2)
    found.follower.follow(found.plans.put)
    assert found.plan().primary == "2"


def test_a_missing_topic_is_not_waited_for(following: Following) -> None:
    """The pinned version serves, with a warning, until the topic is there."""
    topic = ScriptedTopic(deploy("1", 0))
    topic.failing = MISSING
    found = following(topic)
    first = found.follower.start(SECONDS)
    assert (first.source, first.plan) == (PlanSource.PINNED, None)
    assert str(MISSING) in first.warning
    found.follower.follow(found.plans.put)
    topic.failing = None
    assert found.plan() == ServingPlan("1")
    assert found.until(lambda each: each.source is PlanSource.TOPIC).warning == ""


def test_brokers_that_do_not_answer_are_waited_for_not_forever(following: Following) -> None:
    """Then the worker starts without the topic, and follows it later."""
    topic = ScriptedTopic(deploy("1", 0))
    topic.failing = BrokerError("no broker answers")
    found = following(topic)
    assert found.follower.start(0.05).source is PlanSource.PINNED
    topic.failing = None
    assert found.until(lambda each: each.source is PlanSource.TOPIC).plan == ServingPlan("1")


@pytest.mark.parametrize("error", [MISSING, BrokerError("no leader"), RuntimeError("a surprise")])
def test_a_restarted_worker_goes_on_with_the_last_known_plan(following: Following, error: Exception) -> None:
    """Whatever is wrong with the topic; the running one does so too, and both follow it again later."""
    topic = ScriptedTopic(deploy("1", 0), command("canary", version="2", revision=1).encode())
    running = following(topic)
    before = running.follower.start(SECONDS)
    topic.failing = error
    running.until(lambda each: each.source is PlanSource.LAST_KNOWN)
    restarted = following(topic)
    first = restarted.follower.start(0.2)
    assert (first.source, first.plan, first.revision) == (PlanSource.LAST_KNOWN, before.plan, 2)
    topic.failing = None
    for each in (running, restarted):
        each.follower.follow(each.plans.put)
    topic.append(command("promote", revision=2).encode())
    assert [each.plan().primary for each in (running, restarted)] == ["2", "2"]


def test_a_topic_that_is_made_again_is_read_from_its_start(following: Following) -> None:
    """Empty, it changes nothing; a command in it counts."""
    topic = ScriptedTopic(deploy("1", 0), deploy("2", 1))
    found = following(topic)
    found.follower.start(SECONDS)
    found.follower.follow(found.plans.put)
    topic.values.clear()
    topic.identity = "two"
    assert found.until(lambda each: bool(each.warning)).plan == ServingPlan("2", loaded=frozenset({"1"}))
    topic.append(deploy("3", 0))
    assert found.plan() == ServingPlan("3")


def test_an_unknown_identity_of_the_topic_does_not_matter(following: Following) -> None:
    """Its commands are followed; the first id that the brokers tell is taken for that of the topic."""
    topic = ScriptedTopic(deploy("1", 0))
    topic.silent = True
    found = following(topic)
    assert found.follower.start(SECONDS).source is PlanSource.TOPIC
    found.follower.follow(found.plans.put)
    topic.silent = False
    topic.append(deploy("2", 1))
    assert found.plan().primary == "2"
    assert topic.told.wait(SECONDS)
    topic.values[:] = [deploy("3", 0)]
    topic.identity = "two"
    assert found.plan().primary == "3"


def test_a_receiver_that_raises_does_not_end_the_following(
    following: Following, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next plan is passed on."""
    topic = ScriptedTopic(deploy("1", 0))
    found = following(topic)
    found.follower.start(SECONDS)

    def receive(plan: ServingPlan) -> None:
        found.plans.put(plan)
        if plan.primary == "2":
            raise ValueError("version 2 cannot be loaded")

    found.follower.follow(receive)
    topic.append(deploy("2", 1))
    assert found.plan().primary == "2"
    topic.append(deploy("3", 2))
    assert found.plan().primary == "3"
    assert "the plan of revision 2 is not carried out" in caplog.text


def test_a_mangled_record_is_logged_once(following: Following, caplog: pytest.LogCaptureFixture) -> None:
    """Also if the topic is read again."""
    topic = ScriptedTopic(deploy("1", 0), b"mangled")
    found = following(topic)
    found.follower.start(SECONDS)
    topic.failing = BrokerError("no leader")
    found.until(lambda each: each.source is PlanSource.LAST_KNOWN)
    topic.failing = None
    found.until(lambda each: each is not found.reports[0] and each.source is PlanSource.TOPIC)
    assert caplog.text.count("record 1 of the rollout topic is no command") == 1
