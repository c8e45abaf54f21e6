"""The order in which the tables of a batch process its events and facts: the order of their arrival."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.features.spec import Float64s
from surgetank.features.tables import TableState
from surgetank.records import DecodedBatch, RecordBatch, TaskEpoch
from surgetank.state.changelog import RESERVED_KEYS
from surgetank.state.key_hash import group_keys

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RESERVED = [key for key in RESERVED_KEYS if key is not None]  # null has no key either

_PER_MS = {"s": 1 / 1000, "ms": 1, "us": 1_000, "ns": 1_000_000}


class TaskEntries(NamedTuple):
    """The entries [start, stop) of one task in a sequence, and its distinct keys, numbered from ``first_key`` on."""

    task_epoch: TaskEpoch
    start: int
    stop: int
    first_key: int
    keys: pa.LargeBinaryArray


class EventSequence:
    """The entries of a batch for the tables with the same facts, in processing order.

    ``rows`` int64 [n] are row numbers in the RecordBatch, and by entry: ``key`` (the number of the key, -1: none),
    ``times_ms``, ``reads``, ``writes`` and ``deletes``. ``events`` selects the entries of the events, in their order,
    and ``updates`` the entries that the columns of ``batch`` belong to; ``implausible`` int64 [i] are those that do not
    write because of their time, and ``time_unit`` is the unit of their field, by Arrow's name. ``tasks`` are the
    entries by task, in order.
    """

    def __init__(
        self,
        records: RecordBatch,
        tasks: Sequence[tuple[TaskEpoch, int, int]],
        events: DecodedBatch,
        events_time: str,
        facts: tuple[DecodedBatch, str] | None,
        is_plausible: Callable[[Int64s, Int64s], Bools],
    ) -> None:
        times, known = milliseconds(events.columns.column(events_time))
        self.time_unit: str = events.columns.column(events_time).type.unit
        self.batch = events
        self.events: Int64s | slice = slice(None)
        self.updates: Int64s | slice = slice(None)
        if facts is None:
            self.rows = events.rows
            self.reads = updating = np.ones(len(events), dtype=np.bool_)
            self.deletes = np.zeros(len(events), dtype=np.bool_)
        else:
            self.batch, name = facts
            fact_times, fact_known = milliseconds(self.batch.columns.column(name))
            self.time_unit = self.batch.columns.column(name).type.unit
            deletes = self.batch.deletes
            rows = np.concatenate([events.rows, self.batch.rows, deletes])
            order = np.argsort(rows, kind="stable")  # order of arrival
            self.rows = rows[order]
            self.reads = order < len(events)
            self.deletes = order >= len(events) + len(self.batch)
            updating = ~(self.reads | self.deletes)
            self.events, self.updates = np.flatnonzero(self.reads), np.flatnonzero(updating)
            times = np.concatenate([times, fact_times, np.zeros_like(deletes)])[order]
            known = np.concatenate([known, fact_known, np.ones(len(deletes), dtype=np.bool_)])[order]
        self.times_ms = times
        self.writes = updating & is_plausible(times, records.arrived_ms[self.rows])
        self.implausible = np.flatnonzero(updating & known & ~self.writes)
        bounds = np.searchsorted(self.rows, [first for _, first, _ in tasks] + [len(records)])
        self.key, first, starts = group_keys(records.keys, self.rows, bounds, known, RESERVED)
        keys = records.keys.take(pa.array(first))
        self.tasks = [
            TaskEntries(
                task_epoch, bounds[i], bounds[i + 1], starts[i], keys.slice(starts[i], starts[i + 1] - starts[i])
            )
            for i, (task_epoch, _, _) in enumerate(tasks)
        ]

    def blocks(self, keys_max: int) -> Iterator[list[TaskEntries]]:
        """Yield consecutive tasks with up to ``keys_max`` keys together, or a single task with more."""
        block: list[TaskEntries] = []
        for task in self.tasks:
            if block and task.first_key + len(task.keys) - block[0].first_key > keys_max:
                yield block
                block = []
            block.append(task)
        if block:
            yield block

    def values(self, table_state: TableState) -> Float64s:
        """Return float64 [n, V], NaN for entries that do not update the table."""
        numbers = table_state.numbers(self.batch.columns)
        if isinstance(self.updates, slice):
            return numbers
        values = np.full((len(self.rows), numbers.shape[1]), np.nan)
        values[self.updates] = numbers
        return values


def milliseconds(times: pa.Array) -> tuple[Int64s, Bools]:
    """Return times in ms, int64 [n], 0 for null; and bool [n], True where not null."""
    known = times.is_valid().to_numpy(zero_copy_only=False)
    ticks = times.view(pa.int64())
    found = (ticks.fill_null(0) if ticks.null_count else ticks).to_numpy(zero_copy_only=False)
    each = _PER_MS[times.type.unit]
    return (found * 1000 if each < 1 else found if each == 1 else found // each), known
