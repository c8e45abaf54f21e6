"""The table of a task's life."""

import pytest

from pipeline.tasks.states import TRANSITIONS, Event, State, after


def test_a_missing_pair_is_an_error() -> None:
    """What the table does not know cannot happen silently."""
    with pytest.raises(LookupError, match="a task that is closed cannot be opened"):
        after(State.CLOSED, Event.OPENED)


def test_closed_is_final_and_every_other_state_leads_there() -> None:
    """A closed task never comes back (a regained partition is a new task), and none is stuck open by the table."""
    assert not [pair for pair in TRANSITIONS if pair[0] is State.CLOSED]
    for state in set(State) - {State.CLOSED}:
        assert State.CLOSED in {target for (source, _), target in TRANSITIONS.items() if source is state}


def test_any_owned_task_can_be_lost() -> None:
    """The group may take a task away without asking, in every state."""
    for state in set(State) - {State.CLOSED}:
        assert after(state, Event.LOST) is State.CLOSED
