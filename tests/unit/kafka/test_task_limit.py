"""How many tasks the topics of a pipeline allow, and which command allows more."""

from dataclasses import replace

import pytest

from surgetank.errors import TopicsError
from surgetank.kafka.provisioning import fit, needed
from surgetank.kafka.task_limit import task_limit
from topology.flights import SCHEDULE, flights

STATELESS = replace(flights, features=SCHEDULE, facts=())


def test_the_smallest_output_limits_the_tasks() -> None:
    """It is named, with the way to grow it; a feature log counts only where features are recorded."""
    there = {spec.name: spec.partitions for spec in needed(STATELESS, recording=True)}
    there |= {STATELESS.events.topic: 12, STATELESS.scores.topic: 12, STATELESS.recorded: 4}

    limit = task_limit(STATELESS, there)
    recording = task_limit(STATELESS, there, recording=True)

    assert (limit.tasks, recording.tasks) == (8, 4)
    assert limit.advice == (
        "flights.dead-letters has 8 partitions: run `surgetank topics apply flights --grow`, then restart the workers"
    )
    assert recording.advice.startswith("flights.features has 4 partitions: run `surgetank topics apply flights --grow ")


def test_state_is_moved_by_a_reshard_only() -> None:
    """The changelogs limit the tasks too, and growing them would leave keys behind."""
    there = {spec.name: 12 for spec in needed(flights)} | {flights.changelogs["aircraft"]: 8}

    limit = task_limit(flights, there)

    assert limit.tasks == 8
    assert "flights.aircraft.changelog has 8 partitions" in limit.advice
    assert "surgetank state reshard flights" in limit.advice


def test_a_start_with_outputs_that_are_too_small_names_the_command() -> None:
    """A worker refuses to start with fewer partitions of an output than of the events."""
    there = {spec.name: spec.partitions for spec in needed(STATELESS)} | {STATELESS.events.topic: 12}

    with pytest.raises(TopicsError, match="surgetank topics apply flights --grow"):
        fit(STATELESS, there)
    with pytest.raises(TopicsError, match="surgetank state reshard flights"):
        fit(flights, {spec.name: spec.partitions for spec in needed(flights)} | {flights.events.topic: 12})
