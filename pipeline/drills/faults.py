"""Which faults a chaos run injects, and when: a pure function of a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What is done to the system."""

    KILL_WORKER = "kill_worker"  # SIGKILL; another one is started in its place
    KILL_BROKER = "kill_broker"  # SIGKILL; started again after a while; never two at once
    FREEZE_WORKER = "freeze_worker"  # SIGSTOP past the session timeout, then SIGCONT: a zombie that must be fenced
    STOP_WORKER = "stop_worker"  # SIGTERM; another one is started in its place
    ADD_WORKER = "add_worker"  # one more, up to a bound


# Out of a hundred: mostly kills, since they are what is counted.
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
    """One fault: ``after`` seconds from the one before; ``target`` in [0, 1) picks among those there are."""

    fault: Fault
    after: float
    target: float


def schedule(seed: int, kills: int, *, brokers: int, mean_seconds: float) -> Iterator[ScheduledFault]:
    """Yield blows until there were as many kills as asked for. The same arguments give the same blows."""
    chance = random.Random(seed)
    weights = {fault: w for fault, w in _WEIGHTS.items() if fault is not Fault.KILL_BROKER or brokers >= 3}
    killed = 0
    while killed < kills:
        (fault,) = chance.choices(list(weights), list(weights.values()))
        killed += fault in KILLS
        # At random moments: also two at once, also in the middle of the recovery from the one before.
        yield ScheduledFault(fault, min(chance.expovariate(1 / mean_seconds), 4 * mean_seconds), chance.random())
