"""The faults that a chaos run injects and their times: a pure function of a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """A fault that is injected into the system."""

    KILL_WORKER = "kill_worker"  # SIGKILL; a new worker is started
    KILL_BROKER = "kill_broker"  # SIGKILL; restarted after a while; never two at once
    FREEZE_WORKER = "freeze_worker"  # SIGSTOP past the session timeout, then SIGCONT: a zombie that must be fenced
    STOP_WORKER = "stop_worker"  # SIGTERM; a new worker is started
    ADD_WORKER = "add_worker"  # one more worker, up to a limit


# In percent: mostly kills, because the number of kills is the length of a run.
_WEIGHTS = {
    Fault.KILL_WORKER: 55,
    Fault.KILL_BROKER: 15,
    Fault.FREEZE_WORKER: 10,
    Fault.STOP_WORKER: 10,
    Fault.ADD_WORKER: 10,
}
KILLS = frozenset({Fault.KILL_WORKER, Fault.KILL_BROKER})


@dataclass(frozen=True, slots=True)
class ScheduledFault:
    """One fault, ``after`` seconds from the previous one. ``target`` in [0, 1) selects a worker or broker."""

    fault: Fault
    after: float
    target: float


def schedule(seed: int, kills: int, *, brokers: int, mean_seconds: float) -> Iterator[ScheduledFault]:
    """Yield faults until ``kills`` of them were kills. Equal arguments give equal faults."""
    chance = random.Random(seed)
    weights = {fault: w for fault, w in _WEIGHTS.items() if fault is not Fault.KILL_BROKER or brokers >= 3}
    killed = 0
    while killed < kills:
        (fault,) = chance.choices(list(weights), list(weights.values()))
        killed += fault in KILLS
        # Random times include two faults at once, and a fault during the recovery from the previous one.
        yield ScheduledFault(fault, min(chance.expovariate(1 / mean_seconds), 4 * mean_seconds), chance.random())
