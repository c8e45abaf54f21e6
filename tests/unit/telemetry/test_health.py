"""Liveness and readiness from heartbeats and conditions."""

import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.errors import SurgetankError
from surgetank.telemetry.health import Condition, Health, Heartbeat, health_report


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
def test_the_report_names_every_failure(now: float, beats: list[Heartbeat], conditions: list[Condition]) -> None:
    """Parts past their deadline and unmet conditions, in the order given."""
    found = health_report(now, beats, conditions)
    assert [each.name for each in found.silent] == [b.part for b in beats if now - b.at > b.deadline_seconds]
    if conditions:
        assert [each.name for each in found.unmet] == [each.name for each in conditions if not each.met]
    assert found.live == (not found.silent)
    assert found.ready == (found.live and bool(conditions) and all(each.met for each in conditions))
    assert all(each.why for each in found.silent + found.unmet)


def test_a_part_is_live_until_its_own_deadline() -> None:
    """It is live at the deadline and silent after it; a beat makes it live again; parts are independent."""
    clock = SetClock()
    health = Health(clock)
    health.watch("fetcher", deadline_seconds=5)
    health.watch("membership", deadline_seconds=50)
    clock.at += 5
    assert health.report().live
    clock.at += 0.5
    assert [each.name for each in health.report().silent] == ["fetcher"]
    health.beat("fetcher")
    assert health.report().live
    clock.at += 51
    assert [each.name for each in health.report().silent] == ["fetcher", "membership"]


def test_a_beat_of_an_unknown_part_is_refused() -> None:
    """The error lists the watched parts."""
    health = Health(SetClock())
    health.watch("fetcher", deadline_seconds=5)
    with pytest.raises(SurgetankError, match="unknown part 'fecther'; watched: fetcher"):
        health.beat("fecther")


@pytest.mark.parametrize("deadline", [0, -1, float("nan")])
def test_a_deadline_is_above_zero(deadline: float) -> None:
    """Other deadlines are refused."""
    with pytest.raises(SurgetankError, match="must be above 0"):
        Health(SetClock()).watch("fetcher", deadline_seconds=deadline)


def test_a_worker_without_conditions_is_not_ready() -> None:
    """It is live; named conditions are unmet until they are set."""
    assert Health(SetClock()).report().live
    assert not Health(SetClock()).report().ready
    unmet = Health(SetClock(), ("model", "tasks")).report().unmet
    assert [(each.name, each.why) for each in unmet] == [("model", "not reported yet"), ("tasks", "not reported yet")]


def test_the_body_has_name_reason_and_time_of_each_failure() -> None:
    """The time is the wall-clock time of the last change."""
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


def test_a_warning_is_shown_and_changes_no_status() -> None:
    """With the time since which it holds, whether the worker is ready or not, until it is removed."""
    clock = SetClock()
    health = Health(clock, ("model",))
    health.warn("transactions", "1 record waits")
    clock.at += 10
    health.warn("transactions", "2 records wait")
    shown = [{"name": "transactions", "why": "2 records wait", "since": "1970-01-01T00:18:20.000+00:00"}]
    assert (health.ready()[0], health.ready()[1]["warnings"]) == (False, shown)
    health.set("model", True)
    assert health.ready() == (True, {"ready": True, "failing": [], "warnings": shown})
    health.warn("transactions", "")
    assert health.ready() == (True, {"ready": True, "failing": []})


def test_a_worker_with_a_silent_part_is_not_ready() -> None:
    """Whatever the conditions are."""
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


def test_the_body_has_the_stack_of_a_blocked_thread() -> None:
    """The innermost frames of a silent part's thread; no stack if the thread has ended."""
    clock = SetClock()
    health = Health(clock)
    health.watch("fetcher", deadline_seconds=1)
    begun, go_on = threading.Event(), threading.Event()

    def blocked_here() -> None:
        health.beat("fetcher")
        begun.set()
        go_on.wait()

    thread = threading.Thread(target=blocked_here)
    thread.start()
    try:
        assert begun.wait(30)
        clock.at += 7
        stack = health.live()[1]["failing"][0]["stack"]
        assert any("blocked_here (test_health.py:" in line for line in stack)
    finally:
        go_on.set()
        thread.join()
    assert "stack" not in health.live()[1]["failing"][0]
