"""Events as producers with odd clocks and habits send them: each has its score, and no key's state is the worse."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa

from surgetank.drills.fleet import Member
from surgetank.drills.recording import Recording
from tests.support.live_pipeline import IN_PLAY
from tests.support.stateful_pipeline import Remembered

EVENTS = 60_000
HOUR_MS = 3_600_000
IN_2100_MS = 4_102_444_800_000

RememberedFactory = Callable[..., Remembered]


class Odd(Remembered):
    """Sends the real events in their order, but some twice, some an hour late, some from clocks in 1970 and 2100."""

    def events(self) -> Recording:
        """Return them."""
        recording = super().events()
        tables = (self._odd(table, each.time) for each, table in zip(recording.events, recording.tables, strict=True))
        return replace(recording, tables=tuple(tables))

    def _odd(self, table: pa.Table, time: str) -> pa.Table:
        number = np.arange(len(table), dtype=np.int64)
        table = table.take(pa.array(np.where(number % 97 == 1, number - 1, number)))
        times = table[time].cast(pa.int64()).to_numpy().copy()
        times[number % 7 == 3] -= HOUR_MS
        times[number % 101 == 50] = number[number % 101 == 50]
        times[number % 103 == 51] = IN_2100_MS + number[number % 103 == 51]
        place = table.schema.get_field_index(time)
        return table.set_column(place, time, pa.array(times).cast(table.schema.field(place).type))


def implausible(worker: Member) -> float:
    """Return how many events changed nothing because of their time."""
    return worker.total("surgetank_implausible_times_total")


def test_odd_clocks_and_repeated_ids_spoil_no_state(remembered: RememberedFactory) -> None:
    """Every event is scored, one sent twice is two; late ones count in their window, those of 1970 and 2100 nowhere."""
    under = remembered(Odd, **IN_PLAY)
    under.send(EVENTS // 2)
    first = under.worker()
    under.until(lambda: implausible(first) > 100, 60, "it saw some")
    under.fleet.kill(first)
    under.send(EVENTS // 2)

    worker = under.worker()

    found = under.audit()
    assert found.ok, (found, under.logs())
    assert found.repeated_ids > 100
    assert implausible(worker) > 0
    under.check_states()
    under.check_scores()
