"""One fault per alert that must fire: the change to the simulated world and its start."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ops.alerts import objectives as o
from tests.support.simulated_metrics import World

CALM = 300  # seconds before the fault
HOUR = 3600


@dataclass(frozen=True, slots=True)
class Fault:
    """``spoil`` changes the world between two seconds. ``labels`` are some labels that the alert must carry.

    The alert must have ended ``over`` seconds after the end of the fault.
    """

    spoil: Callable[[World, slice], None]
    labels: str = 'pipeline="flights"'
    calm: int = CALM
    lasts: int = 600
    step: int = 5
    over: int = 900


def _lag(values: Callable[[World, slice], np.ndarray]) -> Callable[[World, slice], None]:
    def spoil(world: World, when: slice) -> None:
        world.lag[1, when] += values(world, when)

    return spoil


def _status(value: int) -> Callable[[World, slice], None]:
    """Stop the progress of partition 1; its status changes after 30 s, the window of the lag rules."""

    def spoil(world: World, when: slice) -> None:
        world.lag[1, when] += world.ramp(when, 1.0)
        world.status[1, when.start + 30 // world.step : when.stop] = value

    return spoil


def _dead(reason: str, share: float) -> Callable[[World, slice], None]:
    def spoil(world: World, when: slice) -> None:
        world.workers[0].dead[reason][when] = share

    return spoil


def _implausible(world: World, when: slice) -> None:
    for worker in world.workers:
        worker.implausible[when] = 0.5


def _late(share: float) -> Callable[[World, slice], None]:
    def spoil(world: World, when: slice) -> None:
        for worker in world.workers:
            worker.late[when] = share

    return spoil


def _anomaly(signal: str) -> Callable[[World, slice], None]:
    def spoil(world: World, when: slice) -> None:
        world.anomalies[signal][when] = 1

    return spoil


def _crash_loop(world: World, when: slice) -> None:
    for second in range(int(world.seconds[when.start]), int(world.seconds[when.stop]), 120):
        world.restart(world.workers[1], second, 20)


def _silent(world: World, when: slice) -> None:
    world.workers[1].gone[when] = True


def _storm(world: World, when: slice) -> None:
    for worker in world.workers:
        worker.rebalances[when.start : when.stop : 15 // world.step] += 1


def _aborting(world: World, when: slice) -> None:
    for worker in world.workers:
        worker.aborts[when] = 2


def _restoring(world: World, when: slice) -> None:
    world.workers[0].remaining[when] = np.linspace(1e6, 1, when.stop - when.start)


def _filling(world: World, when: slice) -> None:
    grows = np.linspace(1.0, o.STATE_DISK_BYTES_MAX / 2**30, when.stop - when.start)
    world.workers[0].disk[when] = grows * 2**30


def _expired(world: World, when: slice) -> None:
    """Let the first task of a new process find that events are gone: their counter starts with them."""
    world.restart(world.workers[1], world.seconds[when.start])
    worker = world.workers[1]
    worker.expired[worker.born[-1]] = 500


def _open_transaction(world: World, when: slice) -> None:
    world.open_transaction[1, when] = world.ramp(when, 1.0)


def _foreign_member(world: World, when: slice) -> None:
    for worker in world.workers:
        worker.foreign_members[when] = 1


def _foreign_offsets(world: World, when: slice) -> None:
    """Let a new process find them: its counter starts with them."""
    world.restart(world.workers[1], world.seconds[when.start])
    worker = world.workers[1]
    worker.foreign_offsets[worker.born[-1]] = 2


def _undecided(world: World, when: slice) -> None:
    for worker in world.workers:
        worker.copartitioning[when] = 1


def _slow_clock(world: World, when: slice) -> None:
    world.workers[1].clock_difference[when] = -3600


def _blind(world: World, when: slice) -> None:
    world.exporter_up[when] = 0


def _other_model(world: World, when: slice) -> None:
    world.workers[1].model_version[when] = 2


FAULTS: dict[str, Fault] = {
    "LagSecondsHigh": Fault(_lag(lambda world, when: world.ramp(when, 1.0)), 'group="flights"'),
    "LagGrowing": Fault(_lag(lambda world, when: world.ramp(when, 0.2)), 'group="flights"'),
    "CapacityRunsOut": Fault(
        _lag(lambda world, when: world.ramp(when, 0.06)), 'group="flights",severity="ticket"', lasts=900
    ),
    "PartitionStalled": Fault(_status(2), 'group="flights",topic="flights.boarding"'),
    "PartitionStopped": Fault(_status(3), 'group="flights",topic="flights.boarding"'),
    "ScoredLateFastBurn": Fault(
        _late(0.6), calm=HOUR + 60, step=10, over=2400
    ),  # full windows; the slow pair has a window of half an hour; its group is read every 10 s
    "ScoredLateSlowBurn": Fault(_late(0.005), calm=12 * HOUR, lasts=18 * HOUR, step=60, over=12 * HOUR),
    "DeadLetterShareHigh": Fault(_dead("undecodable", 0.05)),
    "EventsExpired": Fault(_expired),
    "EventsWaitForTransaction": Fault(_open_transaction, 'group="flights",topic="flights.boarding"'),
    "TransactionLeftOpen": Fault(_open_transaction, 'group="flights",topic="flights.boarding"', lasts=1200),
    "ForeignGroupMember": Fault(_foreign_member),
    "OffsetsSetByOthers": Fault(_foreign_offsets),
    "FactsPartitioner": Fault(_undecided, 'pipeline="flights",topic="flights.facts"', lasts=2 * HOUR, step=30),
    "WorkerClockWrong": Fault(_slow_clock, 'instance="worker-1:9100"'),
    "ModelErrors": Fault(_dead("model_error", 0.005)),
    "NotANumberShareHigh": Fault(_dead("not_a_number", 0.005)),
    "ImplausibleTimes": Fault(_implausible, 'pipeline="flights",topic="flights.boarding"'),
    "RestoreTakesLong": Fault(_restoring),
    "RebalanceStorm": Fault(_storm, lasts=900, over=1200),
    "WorkerRestarts": Fault(_crash_loop, 'instance="worker-1:9100"', lasts=900, over=1200),
    "ModelVersionsMixed": Fault(_other_model, lasts=HOUR),
    "TransactionsAborted": Fault(_aborting, lasts=900),
    "DiskFillsUp": Fault(_filling, 'instance="worker-0:9100"', lasts=4 * HOUR, step=30, over=2 * HOUR),
    "AnomalyArrivalRate": Fault(_anomaly("arrival_rate"), 'pipeline="flights",signal="arrival_rate"'),
    "AnomalyLatency": Fault(_anomaly("latency")),
    "AnomalyErrorRate": Fault(_anomaly("error_rate")),
    "AnomalyScores": Fault(_anomaly("score_ks")),
    "AnomalyInputs": Fault(_anomaly("missing:distance"), 'pipeline="flights",signal="missing:distance"'),
    "WorkerNotReady": Fault(_silent, 'instance="worker-1:9100"'),
    "ExporterDown": Fault(_blind, 'severity="page"'),
}
