"""All runs of the judge's simulation: delays until bad versions are rolled back, and false alarms about good ones.

Run as a module it prints a table, and exits with status 1 if a figure of the first part is missed. The second part is
what else an operator should know: what smaller effects and sticky keys cost.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from surgetank.rollout.judge.simulation import Scenario, seconds_until_alarm

STICKY = 4000


@dataclass(frozen=True, slots=True)
class Row:
    """A scenario and what must be reached: ``share_min`` of the runs within the scenario's seconds, 0 to 1.

    ``share_max``: for versions that are alike. ``median_max``: seconds. None: told, not required.
    """

    name: str
    scenario: Scenario
    share_min: float | None = None
    share_max: float | None = None
    median_max: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The delays of the runs, in seconds, None where nothing was found."""

    row: Row
    delays: list[int | None]

    @property
    def seen(self) -> list[int]:
        """The delays that there are, ascending."""
        return sorted(delay for delay in self.delays if delay is not None)

    @property
    def median(self) -> float:
        """The median delay of all runs; infinite if half of them found nothing."""
        middle = len(self.delays) // 2
        return self.seen[middle] if middle < len(self.seen) else float("inf")

    @property
    def reached(self) -> bool:
        """Whether what must be reached is."""
        row, share = self.row, len(self.seen) / len(self.delays)
        return (
            (row.share_min is None or share >= row.share_min)
            and (row.share_max is None or share <= row.share_max)
            and (row.median_max is None or self.median <= row.median_max)
        )


REQUIRED = (
    Row("errors 5 % to 10 %", Scenario(30, errors=0.05, factor=2), share_min=0.95),
    Row("errors 1 % to 3 %", Scenario(30, errors=0.01, factor=3), share_min=0.95),
    Row("errors 1 % to 2 %", Scenario(60, errors=0.01, factor=2), share_min=0.95),
    Row("scores +0.1 sd", Scenario(45, shift=0.1), share_min=0.95),
    Row("shadow, errors 1 % to 1.2 %", Scenario(30, share=None, factor=1.2), share_min=0.95, median_max=5),
    Row("alike", Scenario(600), share_max=0.01),
    Row("alike, sticky keys", Scenario(600, keys=STICKY), share_max=0.01),
    Row("alike, 1 % of the keys", Scenario(600, share=0.01, keys=STICKY), share_max=0.01),
    Row("alike, shadow", Scenario(600, share=None), share_max=0.01),
    Row("alike, shadow, sticky keys", Scenario(600, share=None, keys=STICKY), share_max=0.01),
)
TOLD = (
    Row("errors 1 % to 1.2 %", Scenario(60, factor=1.2)),
    Row("errors 10 % to 12 %", Scenario(60, errors=0.1, factor=1.2)),
    Row("scores -0.05 sd", Scenario(60, shift=-0.05)),
    Row("sticky, errors 5 % to 10 %", Scenario(60, errors=0.05, factor=2, keys=STICKY)),
    Row("sticky, errors 1 % to 3 %", Scenario(60, factor=3, keys=STICKY)),
    Row("sticky, scores +0.3 sd", Scenario(60, shift=0.3, keys=STICKY)),
    Row("sticky, shadow, 1 % to 1.2 %", Scenario(60, share=None, factor=1.2, keys=STICKY)),
)


def run(row: Row, runs: int, processes: int = 1) -> Result:
    """Return the delays of the runs with the seeds 0 to ``runs`` - 1."""
    one = partial(seconds_until_alarm, row.scenario)
    if processes == 1:
        return Result(row, [one(seed) for seed in range(runs)])
    with ProcessPoolExecutor(processes) as pool:
        return Result(row, list(pool.map(one, range(runs), chunksize=max(1, runs // 64))))


def line(result: Result) -> str:
    """Return a line of the table, at most 80 characters."""
    seen, row, runs = result.seen, result.row, len(result.delays)
    bounds = []
    if row.share_min is not None:
        bounds.append(f">= {round(row.share_min * runs):,}")
    if row.share_max is not None:
        bounds.append(f"<= {round(row.share_max * runs):,}")
    if row.median_max is not None:
        bounds.append(f"median {row.median_max:g}")
    median = f"{result.median:g}" if result.median < float("inf") else "-"
    state = "" if result.reached else "  MISSED"
    columns = f"{row.name:<29}{row.scenario.seconds:>6}{len(seen):>7,}{median:>8}"
    return f"{columns}   {', '.join(bounds) or '-'}{state}"


def main() -> int:
    """Print the table; return 1 if a figure that must be reached is not."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    wanted = parser.parse_args()
    missed = False
    print(f"{wanted.runs:,} runs each, 5 % of 2,000 rows/s, six metrics, looked at every second")
    print(f"{'what':<29}{'within':>6}{'found':>7}{'median':>8}   must")
    for rows in (REQUIRED, TOLD):
        for row in rows:
            result = run(row, wanted.runs, wanted.processes)
            missed |= not result.reached
            print(line(result), flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
