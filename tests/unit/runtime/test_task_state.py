"""The table of a task's life."""

import pytest

from surgetank.runtime.task_state import TRANSITIONS, TaskEvent, TaskState, next_state


def test_a_missing_pair_is_an_error() -> None:
    """What the table does not know cannot happen silently."""
    with pytest.raises(LookupError, match="a task that is closed cannot be opened"):
        next_state(TaskState.CLOSED, TaskEvent.OPENED)


def test_closed_is_final_and_every_other_state_leads_there() -> None:
    """A closed task never comes back (a regained partition is a new task), and none is stuck open by the table."""
    assert not [pair for pair in TRANSITIONS if pair[0] is TaskState.CLOSED]
    for state in set(TaskState) - {TaskState.CLOSED}:
        assert TaskState.CLOSED in {target for (source, _), target in TRANSITIONS.items() if source is state}


def test_any_owned_task_can_be_lost() -> None:
    """The group may take a task away without asking, in every state."""
    for state in set(TaskState) - {TaskState.CLOSED}:
        assert next_state(state, TaskEvent.LOST) is TaskState.CLOSED
