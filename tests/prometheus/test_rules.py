"""The shipped rules, run by promtool: each alert fires within its limit and ends; normal operation raises no alert."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ops.alerts import objectives as o
from ops.alerts.rules import ALERTS
from tests.support.alert_faults import FAULTS
from tests.support.prometheus_tools import RULES, check_rules, said, tool
from tests.support.simulated_metrics import World

BY_NAME = {alert.name: alert for alert in ALERTS}
HOUR = 3600
DAY = 24 * HOUR
OTHERS_WITHIN = {  # they look at hours; the rest: 9 minutes
    "ScoredLateSlowBurn": 15 * HOUR,
    "DiskFillsUp": 3.5 * HOUR,
    "FactsPartitioner": 1.1 * HOUR,
    "ModelVersionsMixed": 0.6 * HOUR,
}


def firing(matchers: str = 'alertname!=""') -> str:
    """Return an expression that is 1 while an alert with these matchers fires."""
    return f'ALERTS{{alertstate="firing",{matchers}}}'


def fired(seconds: int) -> str:
    """Return an expression that counts, by name, the alerts that fired in the last ``seconds``."""
    return f"sum by (alertname) (count_over_time({firing()}[{seconds}s]))"


def one(expr: str, second: float) -> dict[str, Any]:
    """Expect a result."""
    return {"expr": f"max({expr})", "eval_time": f"{int(second)}s", "exp_samples": [{"labels": "{}", "value": 1}]}


def none(expr: str, second: float) -> dict[str, Any]:
    """Expect no result."""
    return {"expr": expr, "eval_time": f"{int(second)}s", "exp_samples": []}


def seconds_to_fire(name: str) -> float:
    """Return the seconds after a fault within which an alert must fire, so that the page is within its limit."""
    within = o.PAGED_WITHIN.get(name)
    if within is None:
        return OTHERS_WITHIN.get(name, 540)
    return within - o.PAGER_WAIT_SECONDS


def test_promtool_accepts_the_rules() -> None:
    """Syntax, templates and label names."""
    assert "SUCCESS" in said([tool("promtool"), "check", "rules", str(RULES)])


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_an_alert_fires_in_time_and_ends(name: str, tmp_path: Path) -> None:
    """It does not fire before the fault, fires within its limit, and ends after the fault."""
    fault = FAULTS[name]
    world = World(fault.calm + fault.lasts + fault.over, fault.step)
    fault.spoil(world, world.at(fault.calm, fault.lasts))
    which = f'alertname="{name}",severity="{BY_NAME[name].severity}",{fault.labels}'
    check_rules(
        tmp_path,
        fault.step,
        world.series(),
        [
            none(fired(fault.calm), fault.calm),
            one(firing(which), fault.calm + seconds_to_fire(name)),
            none(firing(f'alertname="{name}"'), fault.calm + fault.lasts + fault.over),
        ],
    )


def a_deploy(world: World, second: float) -> None:
    """Restart all workers, one after another, a minute apart."""
    for number, worker in enumerate(world.workers):
        world.restart(worker, second + 60 * number)


def traffic(world: World, daily: float) -> None:
    """Vary the traffic: daily and weekly seasons, and a few invalid events."""
    day = 1 + daily * np.sin(2 * np.pi * (world.seconds / DAY - 0.3))
    weekly = np.where(world.seconds // DAY % 7 == 6, 0.6, 1.0)
    for worker in world.workers:
        worker.rate *= day * weekly
        worker.dead["undecodable"] = world.random.uniform(0, 0.002, world.steps)
        worker.late = np.where(world.random.random(world.steps) < 0.01, 0.005, 0.0)
    world.lag *= day


def a_normal_day() -> World:
    """Return a day with daily season, two surges that drain, and a status that is warn for a while."""
    world = World(DAY, 60)
    traffic(world, 0.8)
    world.surge(9 * HOUR, 12.0, 240)
    world.surge(17 * HOUR, 20.0, 180)
    world.status[2, world.at(9 * HOUR, 120)] = 1
    return world


def a_deploy_of_everything() -> World:
    """Return an hour in which three workers are restarted one after another, twice, the second time with a model."""
    world = World(HOUR, 5, workers=3, partitions=6)
    a_deploy(world, 900)
    a_deploy(world, 2100)
    for worker in world.workers:
        worker.model_version[worker.born[-1] :] = 2
    return world


def a_planned_scale_up() -> World:
    """Return an hour in which a third and a fourth worker start, and restore their state for a minute."""
    world = World(HOUR, 5, partitions=8)
    for second in (1200, 1260):
        fresh = world.worker(60)
        fresh.born = [world.at(second).start]
        fresh.ready[world.at(second, 75)] = 0
        fresh.remaining[world.at(second, 60)] = 1e5
        world.workers.append(fresh)
        world.lag[:, world.at(second, 20)] += 4
        for worker in world.workers:
            worker.rebalances[world.at(second).start] += 1
    return world


def a_worker_killed_in_a_surge() -> World:
    """Return the first five minutes of a Prometheus: a slow start, and a surge with half of the partitions unowned."""
    world = World(300, 5)
    for worker in world.workers:
        worker.late[world.at(0, 20)] = 0.9
    world.surge(60, 7.0, 60)
    world.workers[1].gone[world.at(70, 30)] = True
    world.workers[0].late[world.at(80, 10)] = 0.5
    for worker in world.workers:
        worker.rebalances[world.at(78).start] += 1
    return world


def a_day_without_an_event() -> World:
    """Return idle workers: all shares have the denominator 0."""
    world = World(DAY, 60)
    world.lag[:] = 0
    for worker in world.workers:
        worker.rate[:] = 0
        worker.commits[:] = 0
    return world


def a_canary_for_hours() -> World:
    """Return four hours with a canary in two of them; the same version is the primary of all workers."""
    world = World(4 * HOUR, 60)
    for worker in world.workers:
        worker.canary[world.at(HOUR, 2 * HOUR)] = 1
    return world


def a_quiet_week() -> World:
    """Return seven days of traffic with a deploy on each working day, a surge a day and one scale-up."""
    world = World(7 * DAY, 60)
    traffic(world, 0.7)
    for day in range(5):
        a_deploy(world, day * DAY + 10 * HOUR)
        world.surge(day * DAY + 14 * HOUR, 8.0 + 2 * day, 180)
    third = world.worker(50)
    third.born = [world.at(2.5 * DAY).start]
    world.workers.append(third)
    world.workers[0].disk = np.linspace(2**30, 8 * 2**30, world.steps)
    return world


@pytest.mark.parametrize(
    "quiet",
    [
        a_normal_day,
        a_deploy_of_everything,
        a_planned_scale_up,
        a_worker_killed_in_a_surge,
        a_day_without_an_event,
        a_canary_for_hours,
        a_quiet_week,
    ],
)
def test_normal_operation_raises_no_alert(quiet: Callable[[], World], tmp_path: Path) -> None:
    """No page, ticket or notice in the whole time."""
    world = quiet()
    end = int(world.seconds[-1])
    check_rules(
        tmp_path,
        world.step,
        world.series(),
        [none(fired(end), end)],
    )


def test_the_recorded_series_exist_without_alerts(tmp_path: Path) -> None:
    """The rules of the test above have data: the recorded series have the expected values."""
    world = a_planned_scale_up()
    end = int(world.seconds[-1])
    expected = [
        {"expr": expr, "eval_time": f"{end}s", "exp_samples": [{"labels": "{}", "value": value}]}
        for expr, value in (
            ("count(surgetank:lag_seconds)", 8),
            ("count(surgetank:lag_status == 0)", 8),
            ("count(surgetank:events_late:rate1h == 0)", 1),
            ("scalar(surgetank:events_timed:rate2m) > bool 250", 1),
            ("count(surgetank:events_dead:rate2m)", 3),
        )
    ]
    check_rules(tmp_path, world.step, world.series(), expected)
