"""The life of a task, as a table. Everything that may happen to a task is here; a missing pair is an error.

::

    gained ──> OPENING ──opened──────────> RUNNING ──revoked──> CLOSING ──closed──> CLOSED
                ^ |  \\                     ^ |                    |
                | |   `--claimed--> RESTORING |                    |
                | `--revoked/lost------|------+---lost------------>+---lost-----> CLOSED
                `----rewound-----------+------'
"""

from enum import StrEnum


class TaskState(StrEnum):
    """Where a task is."""

    OPENING = "opening"  # owned; its stable offsets are being read, its predecessor's leftovers are fenced
    RESTORING = "restoring"  # its offsets are known and claimed; its tables are read from their changelogs
    RUNNING = "running"  # its records are fetched, scored and committed
    CLOSING = "closing"  # being given up: nothing new is handed out, what is open is committed
    CLOSED = "closed"  # not ours; whatever is still in flight for it is thrown away


class TaskEvent(StrEnum):
    """What may happen to a task."""

    CLAIMED = "claimed"  # its start offsets are known and claimed, its tables are not here
    OPENED = "opened"  # its start offsets are known and claimed, its tables are as they were there
    REWOUND = "rewound"  # its open transaction was aborted: back to the committed offsets
    REVOKED = "revoked"  # the group asks for it back
    CLOSED = "closed"  # all of it is committed, or the deadline for that has passed
    LOST = "lost"  # the group gave it away without asking


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
    """Return the state that follows. Raises LookupError for a pair that the table does not know."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise LookupError(f"a task that is {state} cannot be {event}; this is a bug") from None
