"""Deploy events: a deploy is a difference from the last deploy."""

import json
from dataclasses import fields, replace

import pytest

from surgetank import Pipeline
from surgetank.serving_plan import Canary, ServingPlan
from surgetank.timeline.events import EventKind, TimelineEvent
from surgetank.timeline.timeline_reporter import (
    code_version,
    describe_deploy,
    describe_plan,
    last_deploy,
    versions_of,
)
from topology.flights import flights

NOW = {"model": "m", "model_version": "2", "code": "0.1.0+aa"}


@pytest.mark.parametrize(
    ("before", "what"),
    [
        (None, "model m 2, code 0.1.0+aa"),
        (NOW, None),
        (NOW | {"model_version": "1"}, "model m 2, previously m 1"),
        (NOW | {"code": "0.1.0+bb"}, "code 0.1.0+aa, previously 0.1.0+bb"),
        (NOW | {"model": "n", "code": "z"}, "model m 2, previously n 2; code 0.1.0+aa, previously z"),
    ],
)
def test_a_deploy_names_the_previous_versions(before: dict[str, str] | None, what: str | None) -> None:
    """The first deploy is reported, an unchanged version is not."""
    assert describe_deploy(before, NOW) == what


def test_the_last_deploy_event_is_used() -> None:
    """Other events in between are ignored; without a deploy it is None."""
    events = [TimelineEvent(at, EventKind.DEPLOY, "w", "x", NOW | {"model_version": str(at)}) for at in (1, 2)]
    events.append(TimelineEvent(3, EventKind.WORKER_STARTED, "w", "x", NOW))
    assert last_deploy(events) == NOW | {"model_version": "2"}
    assert last_deploy(events[2:]) is None


def test_the_code_version_depends_on_the_declaration() -> None:
    """Equal pipelines have equal versions in every process; another feature changes the version."""
    assert code_version(flights) == code_version(replace(flights))
    assert code_version(flights) != code_version(replace(flights, features=flights.features[1:]))


def test_the_code_version_does_not_depend_on_the_names_of_our_classes() -> None:
    """The declaration counts by its values: a class of another name that declares the same is no deploy."""

    class Renamed(Pipeline):
        """A pipeline under another name."""

    renamed = Renamed(**{each.name: getattr(flights, each.name) for each in fields(flights)})
    assert repr(renamed) != repr(flights)
    assert code_version(renamed) == code_version(flights)


@pytest.mark.parametrize(
    ("plan", "what"),
    [
        (ServingPlan("2", loaded=frozenset({"1"})), "2"),
        (ServingPlan("2", Canary("3", 0.05), shadow="4"), "2, canary 3 (5 % of the keys), shadow 4"),
        (ServingPlan("2", Canary("3", 0.0001)), "2, canary 3 (0.01 % of the keys)"),
    ],
)
def test_a_plan_is_described_by_who_answers(plan: ServingPlan, what: str) -> None:
    """Versions that only stay in memory are in the details, which are JSON values without the lists of keys."""
    assert describe_plan(plan) == what
    found = json.loads(json.dumps(versions_of(plan)))
    assert (found["model_version"], found["shadow"], set(found["loaded"])) == ("2", plan.shadow, set(plan.loaded))
    assert set(found["canary"] or ()) <= {"version", "share"}
