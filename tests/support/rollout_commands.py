"""Commands of a rollout and records of its topic, for tests."""

import itertools
from typing import Any

import numpy as np

from surgetank.records import RecordBatch, TopicPartition, large_binary
from surgetank.rollout.commands import Action, Command
from surgetank.rollout.rollout_log import RolloutLog

MODEL = "flights-late"
TOPIC = "flights.rollout"
_NUMBERS = itertools.count()


def command(action: Action | str, **fields: Any) -> Command:
    """Return a command with a new id; those that begin a canary have a share of 5 %."""
    action = Action(action)
    values: dict[str, Any] = {"id": f"c{next(_NUMBERS)}", "model": MODEL, "who": "alice", "at": 0, "revision": 0}
    values |= {"percent": 5.0} if action is Action.CANARY else {}
    return Command(action=action, **(values | fields))


def log_of(*commands: Command, model: str = MODEL) -> RolloutLog:
    """Return a log with these commands, each made against the revision before it unless it has one."""
    found = RolloutLog(model)
    for offset, each in enumerate(commands):
        current = each if each.revision else each.model_copy(update={"revision": found.state.revision})
        found.add(offset, current.encode())
    return found


def batch(values: list[bytes | None], first: int = 0) -> RecordBatch:
    """Return records with these values, the first one at this offset."""
    n = len(values)
    return RecordBatch(
        (TopicPartition(TOPIC, 0),),
        np.zeros(n, dtype=np.int32),
        np.arange(first, first + n, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
        large_binary([b"key"] * n),
        large_binary(values),
    )
