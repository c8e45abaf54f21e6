"""Which topics a pipeline needs, and which it can do without."""

import pytest

from surgetank.kafka.provisioning import needed, problems
from topology.flights import flights


@pytest.mark.parametrize(("topic", "role"), [(flights.timeline, "timeline"), (flights.shadow_scores, "shadow scores")])
def test_an_optional_topic_is_missed_by_a_check_and_not_by_a_worker(topic: str, role: str) -> None:
    """``topics check`` names it; a worker, which asks for what it cannot do without, starts."""
    there = {spec.name: spec.partitions for spec in needed(flights)}
    assert there.pop(topic) == (1 if role == "timeline" else flights.events.partitions)
    assert problems(flights, there) == [f"topic {topic!r} ({role}) is missing"]
    assert problems(flights, there, optional=False) == []


def test_shadow_scores_need_the_partitions_of_the_events() -> None:
    """A record lies in the partition of its event; a worker starts all the same."""
    there = {spec.name: spec.partitions for spec in needed(flights)} | {flights.shadow_scores: 1}
    (few,) = problems(flights, there)
    assert f"topic {flights.shadow_scores!r} (shadow scores) has 1 partitions, but" in few
    assert problems(flights, there, optional=False) == []


def test_commands_of_a_rollout_are_kept_for_good() -> None:
    """Their topic has one partition, which keeps their order; workers run without it."""
    (spec,) = (each for each in needed(flights) if each.name == flights.rollout)
    assert (spec.partitions, spec.optional, spec.config) == (1, True, {"cleanup.policy": "compact"})
    there = {each.name: each.partitions for each in needed(flights) if each != spec}
    assert problems(flights, there) == [f"topic {flights.rollout!r} (rollout) is missing"]


def test_what_holds_scores_is_missed_by_both() -> None:
    """Nothing else is optional."""
    for spec in needed(flights):
        there = {each.name: each.partitions for each in needed(flights) if each != spec}
        assert len(problems(flights, there)) == 1
        assert len(problems(flights, there, optional=False)) == (0 if spec.optional else 1)


def test_recorded_features_have_a_topic_where_they_are_recorded() -> None:
    """It is like that of the scores: there must be as many partitions as the events have, and nobody runs without."""
    assert flights.recorded not in {spec.name for spec in needed(flights)}
    there = {spec.name: spec.partitions for spec in needed(flights, recording=True)}
    assert there[flights.recorded] == flights.events.partitions
    assert problems(flights, there, recording=True) == []
    (few,) = problems(flights, there | {flights.recorded: 1}, recording=True)
    assert f"topic {flights.recorded!r} (features) has 1 partitions, but {flights.events.topic!r} has 8" in few
    del there[flights.recorded]
    assert problems(flights, there, optional=False, recording=True) == [
        f"topic {flights.recorded!r} (features) is missing"
    ]
