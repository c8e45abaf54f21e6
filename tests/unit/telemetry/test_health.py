"""Alive is a sign of every part within its deadline; ready is alive with every condition met."""

import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SurgetankError
from pipeline.telemetry.health import Condition, Health, Heartbeat, health_report


@dataclass
class SetClock:
    """A clock that a test sets. The wall clock is 1,000 s ahead of the monotonic one."""

    at: float = 100.0

    def now(self) -> float:
        """Return the wall clock."""
        return self.at + 1000.0

    def monotonic(self) -> float:
        """Return the monotonic clock."""
        return self.at


beats = st.lists(
    st.builds(Heartbeat, part=st.text(min_size=1), at=st.floats(0, 1000), deadline_seconds=st.floats(0.1, 100)),
    max_size=6,
)
conditions = st.lists(
    st.builds(Condition, name=st.text(min_size=1), met=st.booleans(), why=st.text(), since=st.floats(0, 1000)),
    max_size=6,
)


@given(now=st.floats(0, 2000), beats=beats, conditions=conditions)
def test_the_verdict_names_exactly_what_fails(now: float, beats: list[Heartbeat], conditions: list[Condition]) -> None:
    """Silent are the parts past their deadline, unmet the conditions that are false, in the order given."""
    found = health_report(now, beats, conditions)
    assert [each.name for each in found.silent] == [b.part for b in beats if now - b.at > b.deadline_seconds]
    if conditions:
        assert [each.name for each in found.unmet] == [each.name for each in conditions if not each.met]
    assert found.live == (not found.silent)
    assert found.ready == (found.live and bool(conditions) and all(each.met for each in conditions))
    assert all(each.why for each in found.silent + found.unmet)


def test_a_part_lives_until_its_own_deadline() -> None:
    """A part is alive at its deadline and silent just after it; a beat brings it back; parts do not mix."""
    clock = SetClock()
    health = Health(clock)
    health.watch("fetcher", deadline_seconds=5)
    health.watch("membership", deadline_seconds=50)
    clock.at += 5
    assert health.verdict().live
    clock.at += 0.5
    assert [each.name for each in health.verdict().silent] == ["fetcher"]
    health.beat("fetcher")
    assert health.verdict().live
    clock.at += 51
    assert [each.name for each in health.verdict().silent] == ["fetcher", "membership"]


def test_a_beat_under_a_wrong_name_is_refused() -> None:
    """A mistyped part cannot hide a dead one: the message names the watched ones."""
    health = Health(SetClock())
    health.watch("fetcher", deadline_seconds=5)
    with pytest.raises(SurgetankError, match="nobody watches 'fecther'; watched: fetcher"):
        health.beat("fecther")


@pytest.mark.parametrize("deadline", [0, -1, float("nan")])
def test_a_deadline_is_above_zero(deadline: float) -> None:
    """A part that could never be alive cannot be watched."""
    with pytest.raises(SurgetankError, match="must be above 0"):
        Health(SetClock()).watch("fetcher", deadline_seconds=deadline)


def test_nothing_said_is_not_ready() -> None:
    """Without conditions a worker is alive and not ready; named ones are unmet until they are set."""
    assert Health(SetClock()).verdict().live
    assert not Health(SetClock()).verdict().ready
    unmet = Health(SetClock(), ("model", "tasks")).verdict().unmet
    assert [(each.name, each.why) for each in unmet] == [("model", "not told yet"), ("tasks", "not told yet")]


def test_the_body_says_what_fails_why_and_since_when() -> None:
    """/ready names each unmet condition with its reason and the wall-clock time at which it became so."""
    clock = SetClock()
    health = Health(clock, ("model", "tasks"))
    health.set("model", True)
    health.set("tasks", True)
    assert health.ready() == (True, {"ready": True, "failing": []})
    clock.at += 10
    health.set("tasks", False, "2 of 8 restore")
    clock.at += 10
    health.set("tasks", False, "1 of 8 restores")
    assert health.ready() == (
        False,
        {
            "ready": False,
            "failing": [{"name": "tasks", "why": "1 of 8 restores", "since": "1970-01-01T00:18:30.000+00:00"}],
        },
    )


def test_a_silent_part_makes_the_worker_unready_too() -> None:
    """A worker whose fetcher hangs is neither alive nor ready, whatever the conditions say."""
    clock = SetClock()
    health = Health(clock, ("model",))
    health.set("model", True)
    health.watch("fetcher", deadline_seconds=1)
    clock.at += 7
    for good, body in (health.live(), health.ready()):
        assert not good
        assert body["failing"][0] == {
            "name": "fetcher",
            "why": "blocked or dead: silent for 7.0 s, 1 s are allowed",
            "since": "1970-01-01T00:18:20.000+00:00",
        }


def test_a_blocked_thread_is_shown_where_it_stands() -> None:
    """For a silent part whose thread lives, the body has the innermost frames; for one that ended, none."""
    clock = SetClock()
    health = Health(clock)
    health.watch("fetcher", deadline_seconds=1)
    begun, go_on = threading.Event(), threading.Event()

    def stands_here() -> None:
        health.beat("fetcher")
        begun.set()
        go_on.wait()

    thread = threading.Thread(target=stands_here)
    thread.start()
    try:
        assert begun.wait(30)
        clock.at += 7
        stack = health.live()[1]["failing"][0]["stack"]
        assert any("stands_here (test_health.py:" in line for line in stack)
    finally:
        go_on.set()
        thread.join()
    assert "stack" not in health.live()[1]["failing"][0]
