"""The life of a task, as a table. Everything that may happen to a task is here; a missing pair is an error.

::

    gained ──> OPENING ──opened──────────> RUNNING ──revoked──> CLOSING ──closed──> CLOSED
                ^ |  \\                     ^ |                    |
                | |   `--claimed--> RESTORING |                    |
                | `--revoked/lost------|------+---lost------------>+---lost-----> CLOSED
                `----rewound-----------+------'
"""

from enum import StrEnum


class State(StrEnum):
    """Where a task is."""

    OPENING = "opening"  # owned; its stable offsets are being read, its predecessor's leftovers are fenced
    RESTORING = "restoring"  # its offsets are known and claimed; its tables are read from their changelogs
    RUNNING = "running"  # its records are fetched, scored and committed
    CLOSING = "closing"  # being given up: nothing new is handed out, what is open is committed
    CLOSED = "closed"  # not ours; whatever is still in flight for it is thrown away


class Event(StrEnum):
    """What may happen to a task."""

    CLAIMED = "claimed"  # its start offsets are known and claimed, its tables are not here
    OPENED = "opened"  # its start offsets are known and claimed, its tables are as they were there
    REWOUND = "rewound"  # its open transaction was aborted: back to the committed offsets
    REVOKED = "revoked"  # the group asks for it back
    CLOSED = "closed"  # all of it is committed, or the deadline for that has passed
    LOST = "lost"  # the group gave it away without asking


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.OPENING, Event.CLAIMED): State.RESTORING,
    (State.OPENING, Event.OPENED): State.RUNNING,
    (State.OPENING, Event.REWOUND): State.OPENING,
    (State.OPENING, Event.REVOKED): State.CLOSED,
    (State.OPENING, Event.LOST): State.CLOSED,
    (State.RESTORING, Event.OPENED): State.RUNNING,
    (State.RESTORING, Event.REWOUND): State.OPENING,
    (State.RESTORING, Event.REVOKED): State.CLOSED,
    (State.RESTORING, Event.LOST): State.CLOSED,
    (State.RUNNING, Event.REWOUND): State.OPENING,
    (State.RUNNING, Event.REVOKED): State.CLOSING,
    (State.RUNNING, Event.LOST): State.CLOSED,
    (State.CLOSING, Event.REWOUND): State.CLOSED,
    (State.CLOSING, Event.CLOSED): State.CLOSED,
    (State.CLOSING, Event.LOST): State.CLOSED,
}


def after(state: State, event: Event) -> State:
    """Return the state that follows. Raises LookupError for a pair that the table does not know."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise LookupError(f"a task that is {state} cannot be {event}; this is a bug") from None
