"""A process that writes to a store until it is killed, or until there is no room: what the tests of crashes start.

Writes are functions of their number, so that what survives can be compared with the positions that it names.
Each number is reported when its write is done.
"""

import resource
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from surgetank.errors import SurgetankError
from tests.unit.state.stores import assert_true_to_its_positions, opened, positions, step

BALLAST = "ballast"
FILE_BYTES = 24 << 10


def show(number: int) -> None:
    """Print a number at once."""
    print(number, flush=True)


def write(path: Path, most: int, report: Callable[[int], None] = show) -> None:
    """Continue where the store stands, for at most so many writes; close it, also when a write fails.

    A store that is not closed keeps its lock for as long as Python keeps the failed write's frames: since Python 3.13
    they are part of a cycle.
    """
    with closing(opened(path)) as store:
        number = store.positions().get("payments.events", 0) // 10
        for each in range(number + 1, number + most + 1):
            store.write(step(each), positions(each))
            report(each)


def fill(path: Path) -> None:
    """Write until there is no room, make room, and go on: print the error and how far it went, before and after."""
    try:
        write(path, 100_000)
    except SurgetankError as error:
        print(f"{type(error).__name__} exit {error.exit_code}: {error}")
    (path.parent / BALLAST).unlink(missing_ok=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    store = opened(path)
    print("kept", assert_true_to_its_positions(store))
    store.close()
    write(path, 40)
    store = opened(path)
    print("then", assert_true_to_its_positions(store))
    store.close()


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    if what == "fill small files":
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, resource.RLIM_INFINITY))
    fill(where)
