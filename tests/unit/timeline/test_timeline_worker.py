"""What a worker finds worth telling: a deploy is what differs from the last one."""

from dataclasses import replace

import pytest

from pipeline.timeline.events import EventKind, TimelineEvent
from pipeline.timeline.timeline_reporter import code_version, deploy, last_deploy
from topology.flights import flights

NOW = {"model": "m", "model_version": "2", "code": "0.1.0+aa"}


@pytest.mark.parametrize(
    ("before", "what"),
    [
        (None, "model m 2, code 0.1.0+aa"),
        (NOW, None),
        (NOW | {"model_version": "1"}, "model m 2, before it m 1"),
        (NOW | {"code": "0.1.0+bb"}, "code 0.1.0+aa, before it 0.1.0+bb"),
        (NOW | {"model": "n", "code": "z"}, "model m 2, before it n 2; code 0.1.0+aa, before it z"),
    ],
)
def test_a_deploy_is_told_with_what_was_before(before: dict[str, str] | None, what: str | None) -> None:
    """The first is told, the same again is not."""
    assert deploy(before, NOW) == what


def test_the_last_deploy_is_what_counts() -> None:
    """Other events between do not matter; none at all is None."""
    events = [TimelineEvent(at, EventKind.DEPLOY, "w", "x", NOW | {"model_version": str(at)}) for at in (1, 2)]
    events.append(TimelineEvent(3, EventKind.WORKER_STARTED, "w", "x", NOW))
    assert last_deploy(events) == NOW | {"model_version": "2"}
    assert last_deploy(events[2:]) is None


def test_code_is_another_where_the_declaration_is() -> None:
    """The same pipeline has the same code, in every process; one with another feature has not."""
    assert code_version(flights) == code_version(replace(flights))
    assert code_version(flights) != code_version(replace(flights, features=flights.features[1:]))
