"""surgetank.runtime.restore_plan: what a store needs, given its positions and what is committed."""

import pytest

from surgetank.runtime.restore_plan import RestorePlan, rest, restore_plan

LOGS = {"a.changelog": (0, 900), "b.changelog": (0, 40)}
STARTS = {"events": 100, "facts": 50}
WHOLE = {"a.changelog": 0, "b.changelog": 0}
AT = {"events": 100, "facts": 50, "a.changelog": 880, "b.changelog": 40}


def test_a_store_that_holds_what_is_committed_reads_what_came_since() -> None:
    """Mostly that is a marker; but a changelog may have been written anew while no worker ran."""
    assert restore_plan(AT, {}, STARTS, LOGS) == RestorePlan({"a.changelog": 880})
    assert restore_plan(AT | {"a.changelog": 900}, {}, STARTS, LOGS) == RestorePlan({})


def test_an_empty_store_is_restored_whole_and_nothing_is_dropped() -> None:
    """Each changelog is read from its beginning; one without records is not read."""
    assert restore_plan({}, {}, STARTS, LOGS) == RestorePlan(WHOLE)
    assert restore_plan({}, {}, STARTS, {"a.changelog": (0, 900), "b.changelog": (7, 7)}) == RestorePlan(
        {"a.changelog": 0}
    )
    assert restore_plan({}, {}, STARTS, {"a.changelog": (30, 900), "b.changelog": (7, 7)}) == RestorePlan(
        {"a.changelog": 30}
    )


@pytest.mark.parametrize("behind", [{"events": 60}, {"facts": 0}, {"events": 60, "facts": 0}])
def test_a_store_that_is_behind_takes_only_the_difference(behind: dict[str, int]) -> None:
    """It goes on at its changelog positions; a changelog that it has all of is left out."""
    assert restore_plan(AT | behind, {}, STARTS, LOGS) == RestorePlan({"a.changelog": 880})


def test_a_restore_that_was_cut_short_goes_on() -> None:
    """Source positions come last: without them, what is there of a changelog is there, and the rest is read."""
    assert restore_plan({"a.changelog": 500}, {}, STARTS, LOGS) == RestorePlan({"a.changelog": 500, "b.changelog": 0})


@pytest.mark.parametrize(
    ("have", "why"),
    [
        ({"events": 101}, "only 100 is committed"),
        ({"events": 100, "facts": 51}, "only 50 is committed"),
        (AT | {"b.changelog": 41}, "ends at 40: it is of another one"),
    ],
)
def test_a_store_that_is_ahead_or_foreign_is_dropped(have: dict[str, int], why: str) -> None:
    """What it includes was never committed, or not here: it is restored whole, and why is said."""
    found = restore_plan(have, {}, STARTS, LOGS)

    assert found.start == WHOLE
    assert found.drop is not None
    assert why in found.drop


def test_a_store_whose_changelog_begins_behind_it_is_dropped() -> None:
    """What lies between is gone, and with it what might have been forgotten."""
    found = restore_plan(AT | {"events": 60}, {}, STARTS, {"a.changelog": (881, 900), "b.changelog": (0, 40)})

    assert found.start == {"a.changelog": 881, "b.changelog": 0}
    assert found.drop is not None
    assert "begins at 881" in found.drop


@pytest.mark.parametrize(
    ("running", "taken"),
    [(0.0, 1.0), (1 / 8, 15 / 16), (0.5, 0.75), (1.0, 0.5)],
)
def test_restoring_takes_the_more_time_the_fewer_tasks_run(running: float, taken: float) -> None:
    """Alone it takes all of it; beside tasks that run no less than its share."""
    spent = 0.3

    assert spent / (spent + rest(spent, 0.5, running)) == pytest.approx(taken)
    assert rest(spent, 1.0, running) == 0


def test_a_restore_that_was_cut_short_on_its_way_further_is_dropped() -> None:
    """Rows that it wrote may include events behind the offset that is committed now."""
    found = restore_plan({"a.changelog": 500}, {"events": 101, "facts": 50}, STARTS, LOGS)

    assert found.start == WHOLE
    assert found.drop is not None
    assert "only 100 is committed" in found.drop
    assert restore_plan({"a.changelog": 500}, STARTS, STARTS, LOGS).drop is None
