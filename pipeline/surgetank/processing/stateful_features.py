"""The stateful features of a pipeline: reads the table rows of a batch's keys, updates them in order and writes them.

Every event that can be decoded updates state, even if a later step fails, such as its model call. So the state after a
batch depends only on the records, and a replay gives the same state. The facts and events of a task are processed in
order of arrival; ``event_sequence`` defines this order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.declaration import PREDICTIONS, Pipeline
from surgetank.errors import StateClosed, StateCorrupt, StateDamaged
from surgetank.features.row_layout import NEWEST_TIME
from surgetank.features.spec import Float64s
from surgetank.features.tables import TableState
from surgetank.features.windows import advance, plausible
from surgetank.processing.event_sequence import RESERVED, Bools, EventSequence, Int64s, TaskEntries, milliseconds
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.records import (
    DecodedBatch,
    OutputRecords,
    RecordBatch,
    StateChanges,
    TaskEpoch,
    TaskId,
    TaskRecords,
    joined,
    large_binary,
    row_ranges,
)
from surgetank.settings import StateSettings
from surgetank.state.changelog import TABLE_VERSION, TableVersion
from surgetank.state.key_hash import group_keys
from surgetank.state.predictions import FRESH, PREDICTION, encode_version, predictions
from surgetank.state.row_serde import FixedWidthSerde, Rows, RowSerde
from surgetank.state.sparse_serde import SparseSerde
from surgetank.state.store_identity import TableSignature
from surgetank.state.table import TableWrite
from surgetank.state.tables import TaskTables
from surgetank.telemetry.metrics import Metrics

HOUR_MS = 3_600_000
# Rows expire only when events are not expected to be that much older than the newest event: one day late, in addition
# to the allowed clock skew into the future.
LATE_MS = 24 * HOUR_MS
# All rows of a table are examined for expiry before it pauses, until event time has advanced by this share of the
# retention: while event time stands still, no further row expires.
EXPIRY_PAUSE = 1 / 16

# The tables of several tasks are updated together while their rows fit into a processor's cache; that of one task alone
# is updated whole.
BLOCK_BYTES = 256 << 10


class StateStores(Protocol):
    """Provides the tables of the running tasks."""

    def tables(self, task_epoch: TaskEpoch) -> TaskTables | None:
        """Return the tables of a task epoch; None if the epoch has ended."""
        ...


class StatefulFeatures:
    """The stateful features of one pipeline, for the processing thread.

    Methods raise StateClosed if a task was revoked or rewound meanwhile; then the batch must not be committed. They
    raise StateDamaged, with the partition, for a damaged store.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        stores: StateStores,
        settings: StateSettings,
        *,
        metrics: Metrics,
        warnings: RecordWarnings,
    ) -> None:
        self._events_time = pipeline.events.time
        self._events_topic = pipeline.events.topic
        self._table_states = pipeline.table_states
        self._changelogs = pipeline.changelogs
        self._versions = {table: version.dump() for table, version in table_versions(pipeline).items()}
        self._versions_written: set[tuple[TaskEpoch, str]] = set()
        self._stores = stores
        self._is_plausible = plausible_times(settings)
        self._metrics = metrics
        self._warnings = warnings
        self._expiry_rows = settings.forget_rows
        self._slack_ms = LATE_MS + round(settings.future_hours_max * HOUR_MS)
        self._newest: dict[tuple[TaskId, str], float] = {}  # the latest event time by task and table
        self._expiries = _expiries(pipeline)
        self._expiry_from: dict[tuple[TaskId, str], float] = {}  # the event time from which rows are examined again
        self._turn = 0
        self._matrix: dict[str, Rows] = {}  # working table_state by table

    def compute(
        self,
        slices: Sequence[TaskRecords],
        records: RecordBatch,
        events: DecodedBatch,
        facts: Mapping[str, DecodedBatch],
        changes: StateChanges,
    ) -> dict[str, Float64s]:
        """Update all feature tables with a batch; return float64 [m] by aggregate name, for the m events."""
        tasks = row_ranges(slices)
        sequences: dict[str | None, EventSequence] = {}
        aggregates: dict[str, Float64s] = {}
        for table_state in self._table_states:
            source = table_state.table.facts
            topic = None if source is None else source.topic
            updating = self._events_topic if topic is None else topic
            if topic not in sequences:
                updates = None if source is None or topic is None else (facts[topic], source.time)
                sequence = EventSequence(records, tasks, events, self._events_time, updates, self._is_plausible)
                odd = sequence.implausible
                if len(odd):
                    self._metrics.implausible_times.add(len(odd), topic=updating)
                self._warnings.implausible_times(
                    records, sequence.rows[odd], sequence.times_ms[odd], sequence.time_unit, self._is_plausible
                )
                sequences[topic] = sequence
            aggregates |= self._update(table_state, sequences[topic], records, changes)
        if tasks and self._expiry_rows and self._expiries:
            self._expire(tasks, changes)
        return aggregates

    def put_scores(
        self,
        slices: Sequence[TaskRecords],
        records: RecordBatch,
        rows: Int64s,
        scores: npt.NDArray[np.float64],
        model_versions: Sequence[str],
        model: npt.NDArray[np.int32],
        times: pa.Array,
        scored_ms: int,
        changes: StateChanges,
    ) -> None:
        """Store the last score of each key, with the version of the model that computed it.

        ``rows`` int64 [k], ascending, have ``scores`` [k] and ``times`` [k]; ``model`` int32 [k] is the place of the
        model of each in ``model_versions``.
        """
        if PREDICTIONS not in self._changelogs:
            return
        event_ms, _ = milliseconds(times)
        versions = np.array([encode_version(version) for version in model_versions], dtype=np.bytes_)
        is_plausible = self._is_plausible(event_ms, records.arrived_ms[rows])
        tasks, usable = row_ranges(slices), np.ones(len(rows), dtype=np.bool_)
        bounds = np.searchsorted(rows, [first for _, first, _ in tasks] + [len(records)])
        key, first, starts = group_keys(records.keys, rows, bounds, usable, RESERVED)
        last = np.empty(len(first), dtype=np.int64)
        last[key[key >= 0]] = np.flatnonzero(key >= 0)
        for (task_epoch, _, _), start, stop in zip(tasks, starts.tolist(), starts[1:].tolist(), strict=False):
            if start == stop:
                continue
            at = last[start:stop]
            new = predictions(scores[at], event_ms[at], scored_ms, versions[model[at]])
            keys = records.keys.take(pa.array(first[start:stop]))
            self._write(task_epoch, PREDICTIONS, keys, new, records.offsets[rows[at]], changes)
            if (plausible_ms := event_ms[at][is_plausible[at]]).size:
                self._note_time(task_epoch, PREDICTIONS, float(plausible_ms.max()))

    def committed(self, task_epoch: TaskEpoch) -> dict[str, int]:
        """Return by topic the offset of the next record that the tables of a task on the disk do not include."""
        with _of(task_epoch):
            return self._tables(task_epoch).store.positions()

    def _update(
        self, table_state: TableState, sequence: EventSequence, records: RecordBatch, changes: StateChanges
    ) -> dict[str, Float64s]:
        """Update the rows of one table; return float64 [m] by aggregate name."""
        values = sequence.values(table_state)
        results = np.empty((len(sequence.rows), len(table_state.aggregates)))
        late = sum(
            self._update_block(table_state, sequence, block, values, results, records, changes)
            for block in sequence.blocks(BLOCK_BYTES // table_state.layout.row_bytes)
        )
        if late:
            self._metrics.late_events.add(late, table=table_state.table.name)
        return {each.name: results[sequence.events, at] for at, each in enumerate(table_state.aggregates)}

    def _update_block(
        self,
        table_state: TableState,
        sequence: EventSequence,
        block: Sequence[TaskEntries],
        values: Float64s,
        results: Float64s,
        records: RecordBatch,
        changes: StateChanges,
    ) -> int:
        """Read, update and write the rows of some tasks; return the number of late events."""
        name, base = table_state.table.name, block[0].first_key
        entries = slice(block[0].start, block[-1].stop)
        rows = self._rows(table_state, block[-1].first_key + len(block[-1].keys) - base)
        rows_of = [rows[task.first_key - base :][: len(task.keys)] for task in block]
        for task, read in zip(block, rows_of, strict=True):
            with _of(task.task_epoch):
                self._tables(task.task_epoch)[name].read(task.keys, read)
        key, writes = np.maximum(sequence.key[entries] - base, -1), sequence.writes[entries]
        deletes, times = sequence.deletes[entries], sequence.times_ms[entries]
        results[entries], late = advance(
            table_state.layout, rows, key, times, values[entries], sequence.reads[entries], writes, deletes
        )
        writing = np.flatnonzero((writes | deletes) & (key >= 0))
        offsets = np.full(len(rows), -1, dtype=np.int64)
        offsets[key[writing]] = records.offsets[sequence.rows[entries][writing]]  # the last entry of each key
        for task, new in zip(block, rows_of, strict=True):
            self._write_changed(task, name, new, offsets[task.first_key - base :][: len(task.keys)], changes)
        return late

    def _write_changed(self, task: TaskEntries, name: str, rows: Rows, offsets: Int64s, changes: StateChanges) -> None:
        """Write the rows of a task that the batch changed, and delete those that it deleted.

        ``offsets`` int64 [k] is -1 for the others. A row that includes an event has a newest time.
        """
        keys, changed = task.keys, offsets >= 0
        deleted = changed & np.isnan(rows[:, NEWEST_TIME])
        if deleted.any():
            changed &= ~deleted
            self._delete(task.task_epoch, name, keys.filter(pa.array(deleted)), changes)
        if not changed.any():
            return
        if not changed.all():
            keys, rows, offsets = keys.filter(pa.array(changed)), rows[changed], offsets[changed]
        self._write(task.task_epoch, name, keys, rows, offsets, changes)
        self._note_time(task.task_epoch, name, float(rows[:, NEWEST_TIME].max()))

    def _rows(self, table_state: TableState, keys: int) -> Rows:
        """Return a matrix of ``keys`` rows with any content, which the next call reuses."""
        matrix = self._matrix.get(table_state.table.name)
        if matrix is None or len(matrix) < keys:
            matrix = self._matrix[table_state.table.name] = np.empty((keys, table_state.layout.width))
        return matrix[:keys]

    def _write(
        self,
        task_epoch: TaskEpoch,
        name: str,
        keys: pa.LargeBinaryArray,
        rows: Rows,
        offsets: Int64s,
        changes: StateChanges,
    ) -> None:
        with _of(task_epoch):
            written = self._tables(task_epoch)[name].write(keys, rows, offsets, task_epoch[1])
        self._add_changes(_accepted(written, task_epoch), task_epoch, changes)

    def _delete(self, task_epoch: TaskEpoch, name: str, keys: pa.LargeBinaryArray, changes: StateChanges) -> None:
        with _of(task_epoch):
            written = self._tables(task_epoch)[name].delete(keys, task_epoch[1])
        self._add_changes(_accepted(written, task_epoch), task_epoch, changes)

    def _add_changes(self, written: TableWrite, task_epoch: TaskEpoch, changes: StateChanges) -> None:
        keys, values = written.keys, written.values
        if (task_epoch, written.table) not in self._versions_written:  # the first records of an epoch hold the version
            self._versions_written.add((task_epoch, written.table))
            keys = joined([large_binary([TABLE_VERSION]), keys])
            values = joined([large_binary([self._versions[written.table]]), values])
        partitions = np.full(len(keys), task_epoch[0].partition, dtype=np.int32)
        changes.changelog_records.append(OutputRecords(self._changelogs[written.table], partitions, keys, values))
        changes.writes[task_epoch] = written.number

    def _note_time(self, task_epoch: TaskEpoch, name: str, time_ms: float) -> None:
        self._newest[task_epoch[0], name] = max(time_ms, self._newest.get((task_epoch[0], name), time_ms))

    def _expire(self, tasks: Sequence[tuple[TaskEpoch, int, int]], changes: StateChanges) -> None:
        """Expire some rows of one table of one task, in turn, which bounds the cost per batch."""
        choices = [(task_epoch, name) for task_epoch, _, _ in tasks for name in self._expiries]
        self._turn += 1
        task_epoch, name = choices[self._turn % len(choices)]
        place = task_epoch[0], name
        newest = self._newest.get(place)
        if newest is None or newest < self._expiry_from.get(place, newest):
            return
        retention_ms, is_expired = self._expiries[name]
        now_ms = int(newest) - self._slack_ms
        with _of(task_epoch):
            table = self._tables(task_epoch)[name]
            written = table.expire(lambda rows: is_expired(rows, now_ms), self._expiry_rows, task_epoch[1])
        if table.scan_complete:
            self._expiry_from[place] = newest + retention_ms * EXPIRY_PAUSE
        if written is not None:
            self._add_changes(written, task_epoch, changes)

    def _tables(self, task_epoch: TaskEpoch) -> TaskTables:
        tables = self._stores.tables(task_epoch)
        if tables is None:
            raise StateClosed(f"task {task_epoch[0]} went back or was given up while its batch was computed")
        return tables


def plausible_times(settings: StateSettings) -> Callable[[Int64s, Int64s], Bools]:
    """Return a function that maps event and arrival times, int64 [n] in ms, to bool [n]: which may change state."""
    past_ms, future_ms = round(settings.past_days_max * 24 * HOUR_MS), round(settings.future_hours_max * HOUR_MS)
    return lambda times, arrived: plausible(times, arrived, past_ms, future_ms)


def row_serdes(pipeline: Pipeline) -> tuple[dict[str, RowSerde], dict[str, TableSignature]]:
    """Return the row serde and the signature of each table of a pipeline, by table name."""
    serdes: dict[str, RowSerde] = {}
    signatures: dict[str, TableSignature] = {}
    for table_state in pipeline.table_states:
        serdes[table_state.table.name] = SparseSerde(table_state.layout.fresh)
        signatures[table_state.table.name] = TableSignature(
            serdes[table_state.table.name].size, table_state.layout.fingerprint()
        )
    if pipeline.keeps_predictions:
        serdes[PREDICTIONS] = FixedWidthSerde(PREDICTION, FRESH)
        signatures[PREDICTIONS] = TableSignature(serdes[PREDICTIONS].size, str(PREDICTION.descr))
    return serdes, signatures


def table_versions(pipeline: Pipeline) -> dict[str, TableVersion]:
    """Return the version of each table of a pipeline, as written to changelogs, by table name."""
    signatures = row_serdes(pipeline)[1]
    declared = {table_state.table.name: table_state.layout.declaration() for table_state in pipeline.table_states}
    return {table: TableVersion(signature.fingerprint, declared.get(table)) for table, signature in signatures.items()}


def predictions_ms(pipeline: Pipeline) -> int | None:
    """Return the retention of last scores in ms of event time: that of the longest table; None: unlimited."""
    spans = [table_state.layout.retention_ms for table_state in pipeline.table_states]
    kept = [span for span in spans if span is not None]
    return max(kept) if pipeline.keeps_predictions and kept and len(kept) == len(spans) else None


def _expiries(pipeline: Pipeline) -> dict[str, tuple[int, Callable[[Rows, int], Bools]]]:
    """Return by table its retention in ms, and a function that marks rows unused by events from a time (ms) on.

    Tables without a retention are omitted.
    """
    found: dict[str, tuple[int, Callable[[Rows, int], Bools]]] = {
        table_state.table.name: (table_state.layout.retention_ms, table_state.layout.expired)
        for table_state in pipeline.table_states
        if table_state.layout.retention_ms is not None
    }
    longest = predictions_ms(pipeline)
    if longest is not None:
        found[PREDICTIONS] = longest, lambda rows, now_ms: rows["event_ms"] < now_ms - longest
    return found


def _accepted(written: TableWrite | None, task_epoch: TaskEpoch) -> TableWrite:
    if written is None:
        raise StateClosed(f"task {task_epoch[0]} went back while its batch was computed")
    return written


@contextmanager
def _of(task_epoch: TaskEpoch) -> Iterator[None]:
    """Raise StateDamaged with the task's partition in place of StateCorrupt."""
    try:
        yield
    except StateCorrupt as error:
        raise StateDamaged(str(error), task_epoch[0].partition) from error
