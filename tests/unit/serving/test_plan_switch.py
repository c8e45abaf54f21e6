"""surgetank.serving.plan_switch: which versions are loaded and dropped, and when a plan comes into force."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.serving.plan_switch import (
    VERSIONS_MAX,
    DropVersions,
    LoadVersion,
    PlanSwitch,
    RefusePlan,
    ServePlan,
    SwitchAction,
    without,
)
from surgetank.serving_plan import Canary, ServingPlan

names = st.sampled_from("12345")
plans = st.builds(
    ServingPlan,
    primary=names,
    canary=st.none() | st.builds(Canary, names, st.sampled_from([0.0, 0.05, 1.0])),
    shadow=st.none() | names,
    loaded=st.frozensets(names, max_size=2),
)
ONE = ServingPlan("1")


def test_a_plan_whose_versions_are_loaded_is_served_at_once() -> None:
    """A rollback loads nothing."""
    switch = PlanSwitch(ServingPlan("2", loaded=frozenset({"1"})))
    back = ServingPlan("1", loaded=frozenset({"2"}))
    assert switch.request(back) == [ServePlan(back)]


def test_a_plan_is_served_when_its_last_version_is_loaded() -> None:
    """One version at a time, those that answer first; the versions of the old plan are dropped then."""
    switch = PlanSwitch(ONE)
    plan = ServingPlan("2", Canary("4", 0.1), shadow="3", loaded=frozenset({"0"}))
    assert switch.request(plan) == [LoadVersion("2")]
    assert switch.version_loaded("2") == [LoadVersion("4")]
    assert switch.version_loaded("4") == [LoadVersion("3")]
    assert switch.version_loaded("3") == [LoadVersion("0")]
    assert switch.in_force == ONE
    assert switch.version_loaded("0") == [ServePlan(plan), DropVersions(frozenset({"1"}))]


def test_a_version_that_does_not_load_leaves_the_old_plan_in_force() -> None:
    """The plan may be requested again."""
    switch = PlanSwitch(ONE)
    plan = ServingPlan("2", shadow="3")
    switch.request(plan)
    assert switch.version_failed("2", "broken") == [RefusePlan(plan, "2", "broken")]
    assert (switch.in_force, switch.pending, switch.loaded) == (ONE, None, frozenset({"1"}))
    assert switch.request(plan) == [LoadVersion("2")]


def test_versions_that_do_not_answer_keep_no_primary_back() -> None:
    """Canary, shadow and spares that do not load are left out, one after another, and reported."""
    switch = PlanSwitch(ONE)
    plan = ServingPlan("2", Canary("4", 0.1), shadow="3", loaded=frozenset({"0"}))
    switch.request(plan)
    switch.version_loaded("2")
    assert switch.version_failed("4", "broken") == [LoadVersion("3"), RefusePlan(plan, "4", "broken")]
    assert switch.version_failed("3", "broken") == [LoadVersion("0"), RefusePlan(plan, "3", "broken")]
    served = [ServePlan(ServingPlan("2")), DropVersions(frozenset({"1"})), RefusePlan(plan, "0", "broken")]
    assert switch.version_failed("0", "broken") == served
    assert switch.request(plan) == [LoadVersion("4")]
    assert switch.version_failed("4", "broken") == [LoadVersion("3"), RefusePlan(plan, "4", "broken")]


def test_a_plan_without_its_shadow_that_is_in_force_already_changes_nothing() -> None:
    """The shadow is reported, and may be requested again."""
    switch = PlanSwitch(ONE)
    plan = ServingPlan("1", shadow="3")
    switch.request(plan)
    assert switch.version_failed("3", "broken") == [RefusePlan(plan, "3", "broken")]
    assert (switch.in_force, switch.pending) == (ONE, None)


def test_a_newer_plan_replaces_one_that_still_loads() -> None:
    """A load that hangs keeps nothing back; what it loads in the end is dropped."""
    switch = PlanSwitch(ONE)
    switch.request(ServingPlan("2"))
    newer = ServingPlan("3")
    assert switch.request(newer) == [LoadVersion("3")]
    assert switch.version_loaded("3") == [ServePlan(newer), DropVersions(frozenset({"1"}))]
    assert switch.version_loaded("2") == [DropVersions(frozenset({"2"}))]
    assert switch.loaded == {"3"}


def test_the_plan_in_force_again_gives_up_the_one_that_loads() -> None:
    """The newest plan counts, also if it is the old one."""
    switch = PlanSwitch(ONE)
    switch.request(ServingPlan("2"))
    assert switch.request(ONE) == []
    assert switch.version_loaded("2") == [DropVersions(frozenset({"2"}))]
    assert switch.in_force == ONE


def test_a_plan_that_loads_too_long_is_refused_and_its_load_not_repeated() -> None:
    """Requested again, it waits for the load that still runs."""
    switch = PlanSwitch(ONE)
    plan = ServingPlan("2")
    switch.request(plan)
    assert switch.overdue(plan, "late") == [RefusePlan(plan, "2", "late")]
    assert switch.overdue(plan, "late") == []
    assert switch.request(plan) == []
    assert switch.version_loaded("2") == [ServePlan(plan), DropVersions(frozenset({"1"}))]


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (ServingPlan(""), "a version without a name"),
        (ServingPlan("1", Canary("2", 1.5)), "the share of its canary is 1.5; it must be 0 to 1"),
        (ServingPlan("1", Canary("2", float("nan"))), "the share of its canary is nan"),
        (
            ServingPlan("1", loaded=frozenset(map(str, range(20)))),
            f"20 versions; a worker holds at most {VERSIONS_MAX}",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan: ServingPlan, says: str) -> None:
    """It loads nothing, and the one that loads goes on."""
    switch = PlanSwitch(ONE)
    switch.request(ServingPlan("2"))
    (refused,) = switch.request(plan)
    assert isinstance(refused, RefusePlan)
    assert says in refused.why
    assert switch.pending == ServingPlan("2")


@given(st.lists(st.tuples(st.sampled_from(["request", "loaded", "failed", "overdue"]), plans), max_size=40))
def test_whatever_happens_the_versions_in_force_are_loaded(steps: list[tuple[str, ServingPlan]]) -> None:
    """No version is loaded twice at a time; the memory is that of the two plans; the newest plan comes into force."""
    switch = PlanSwitch(ONE)
    memory, running = {"1"}, list[str]()
    newest = ONE

    def execute(actions: list[SwitchAction]) -> None:
        for action in actions:
            match action:
                case LoadVersion():
                    assert action.version not in running
                    assert action.version not in switch.loaded
                    running.append(action.version)
                case ServePlan():
                    assert action.plan == newest or action.plan == without(newest, newest.versions - switch.loaded)
                case DropVersions():
                    assert not action.versions & switch.in_force.versions
                    memory.difference_update(action.versions)
                case RefusePlan():
                    assert action.plan == newest

    for kind, plan in steps:
        if kind == "request":
            newest = plan
            execute(switch.request(replace(plan)))
        elif kind == "overdue" and switch.pending is not None:
            execute(switch.overdue(switch.pending, "late"))
        elif running:
            version = running.pop(0)
            if kind == "loaded":
                memory.add(version)
                execute(switch.version_loaded(version))
            else:
                execute(switch.version_failed(version, "broken"))
        assert switch.in_force.versions <= switch.loaded
        assert memory == switch.loaded
        assert set(running) == switch.loading
        assert switch.loaded <= switch.in_force.versions | (switch.pending.versions if switch.pending else frozenset())

    while running:
        version = running.pop(0)
        memory.add(version)
        execute(switch.version_loaded(version))
    assert switch.pending is None
