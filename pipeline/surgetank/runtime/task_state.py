"""The states of a task and all transitions between them; a missing pair is an error.

::

    assigned ──> OPENING ──opened──────────> RUNNING ──revoked──> CLOSING ──closed──> CLOSED
                  ^ |  \\                     ^ |                    |
                  | |   `--claimed--> RESTORING |                    |
                  | `--revoked/lost------|------+---lost------------>+---lost-----> CLOSED
                  `----rewound-----------+------'
"""

from enum import StrEnum


class TaskState(StrEnum):
    """The state of a task."""

    OPENING = "opening"  # owned; its stale owners are being fenced and its stable offsets read
    RESTORING = "restoring"  # its offsets are known and claimed; its tables are read from their changelogs
    RUNNING = "running"  # its records are fetched, scored and committed
    CLOSING = "closing"  # revoked: no new batches, its open work is committed
    CLOSED = "closed"  # not owned; its records in flight are discarded


class TaskEvent(StrEnum):
    """An event of a task."""

    CLAIMED = "claimed"  # its start offsets are known and claimed, its tables must be restored
    OPENED = "opened"  # its start offsets are known and claimed, its tables match them
    REWOUND = "rewound"  # its open transaction was aborted: it returns to the committed offsets
    REVOKED = "revoked"  # the group revokes it
    CLOSED = "closed"  # all its work is committed, or the deadline for that has passed
    LOST = "lost"  # another member may own it already


TRANSITIONS: dict[tuple[TaskState, TaskEvent], TaskState] = {
    (TaskState.OPENING, TaskEvent.CLAIMED): TaskState.RESTORING,
    (TaskState.OPENING, TaskEvent.OPENED): TaskState.RUNNING,
    (TaskState.OPENING, TaskEvent.REWOUND): TaskState.OPENING,
    (TaskState.OPENING, TaskEvent.REVOKED): TaskState.CLOSED,
    (TaskState.OPENING, TaskEvent.LOST): TaskState.CLOSED,
    (TaskState.RESTORING, TaskEvent.OPENED): TaskState.RUNNING,
    (TaskState.RESTORING, TaskEvent.REWOUND): TaskState.OPENING,
    (TaskState.RESTORING, TaskEvent.REVOKED): TaskState.CLOSED,
    (TaskState.RESTORING, TaskEvent.LOST): TaskState.CLOSED,
    (TaskState.RUNNING, TaskEvent.REWOUND): TaskState.OPENING,
    (TaskState.RUNNING, TaskEvent.REVOKED): TaskState.CLOSING,
    (TaskState.RUNNING, TaskEvent.LOST): TaskState.CLOSED,
    (TaskState.CLOSING, TaskEvent.REWOUND): TaskState.CLOSED,
    (TaskState.CLOSING, TaskEvent.CLOSED): TaskState.CLOSED,
    (TaskState.CLOSING, TaskEvent.LOST): TaskState.CLOSED,
}


def next_state(state: TaskState, event: TaskEvent) -> TaskState:
    """Return the next state. Raises LookupError for a pair that is not in the table."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise LookupError(f"a task that is {state} cannot be {event}; this is a bug") from None
