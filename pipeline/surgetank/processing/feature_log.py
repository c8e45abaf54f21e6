"""Records the features of each scored event, so that they can be compared with features computed offline.

A feature record is produced in the transaction of its score, to the same partition number: there is exactly one for
each score. It also holds the offsets of the facts applied to the tables before the event. These cannot be derived
later, since a task processes facts and events in order of arrival.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.codec.base import Serializer
from surgetank.declaration import Pipeline
from surgetank.features.spec import Float32s, Float64s
from surgetank.features.tables import Aggregate
from surgetank.processing.event_reference import event_reference
from surgetank.records import DecodedBatch, OutputRecords, RecordBatch, TaskEpoch, TaskId, TaskRecords, row_ranges

Int64s = npt.NDArray[np.int64]
Start = Callable[[TaskEpoch], Mapping[str, int]]  # the start offsets of a task epoch, by topic


class FeatureLog:
    """Creates the feature records of one pipeline. Call it in the processing thread, for every batch.

    ``serializer`` writes the schema ``features``; ``start`` is called at the first batch of each task epoch if facts
    feed a table.
    """

    def __init__(self, pipeline: Pipeline, serializer: Serializer, start: Start) -> None:
        self._events = pipeline.events
        self._topic = pipeline.recorded
        self._fingerprint = pipeline.spec.fingerprint()
        logged = pipeline.spec.logged
        self._width = len(logged)
        self._aggregates = [(at, each.name) for at, each in enumerate(logged) if isinstance(each, Aggregate)]
        self._serializer = serializer
        self._taken = _Taken([fact.topic for fact in pipeline.table_facts], start)

    def record(
        self,
        tasks: Sequence[TaskRecords],
        batch: DecodedBatch,
        matrix: Float32s,
        aggregates: Mapping[str, Float64s],
        kept: Int64s,
        scores: OutputRecords,
    ) -> OutputRecords:
        """Return a record for each of k scores.

        ``batch`` has m events, ``matrix`` float32 [m, F] their features and ``aggregates`` float64 [m] by name;
        ``kept`` int64 [k] are the positions of the events of ``scores``. Raises the errors of ``start``.
        """
        rows = batch.rows[kept]
        taken = self._taken.before(tasks, batch.records, rows)
        values = np.empty((len(kept), self._width))
        values[:, : matrix.shape[1]] = matrix[kept]
        for at, name in self._aggregates:
            values[:, at] = aggregates[name][kept]
        columns = batch.columns.select([self._events.id, self._events.time])
        if len(kept) != len(batch):
            columns = columns.take(pa.array(kept))
        columns = self._columns(batch.records, rows, columns, values, taken)
        return OutputRecords(self._topic, scores.partitions, scores.keys, self._serializer.serialize(columns))

    def _columns(
        self, records: RecordBatch, rows: Int64s, columns: pa.RecordBatch, values: Float64s, taken: Int64s
    ) -> pa.RecordBatch:
        arrays = event_reference(self._events, records, rows, columns) | {
            "fingerprint": pa.repeat(self._fingerprint, len(rows)),
            "values": self._lists("values", values, np.isnan(values)),
            "facts": self._lists("facts", taken),
        }
        return pa.RecordBatch.from_pydict(arrays)

    def _lists(self, name: str, of: np.ndarray, missing: np.ndarray | None = None) -> pa.Array:
        """Return the rows of a matrix as a column of lists."""
        rows, width = of.shape
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * np.int32(width))
        items = pa.array(of.reshape(-1), mask=None if missing is None else missing.reshape(-1))
        return pa.ListArray.from_arrays(offsets, items, type=self._serializer.schema.field(name).type)


class _Taken:
    """The offsets up to which the facts of each task were applied."""

    def __init__(self, topics: Sequence[str], start: Start) -> None:
        self._topics = topics
        self._start = start
        self._reached: dict[TaskId, tuple[int, dict[str, int]]] = {}  # epoch, next offset by topic

    def before(self, tasks: Sequence[TaskRecords], records: RecordBatch, rows: Int64s) -> Int64s:
        """Return int64 [k, T]: for each of ``rows`` [k], ascending, the offset after the last fact before it."""
        found = np.zeros((len(rows), len(self._topics)), dtype=np.int64)
        for column, topic in enumerate(self._topics):
            facts = records.of_topic(topic)
            for task_epoch, first, end in row_ranges(tasks):
                ours = facts[slice(*np.searchsorted(facts, (first, end)))]
                asking = slice(*np.searchsorted(rows, (first, end)))
                reached = self._of(task_epoch)
                behind = np.concatenate([[reached.get(topic, 0)], records.offsets[ours] + 1])
                found[asking, column] = behind[np.searchsorted(ours, rows[asking])]
                reached[topic] = int(behind[-1])
        return found

    def _of(self, task_epoch: TaskEpoch) -> dict[str, int]:
        task, epoch = task_epoch
        if task not in self._reached or self._reached[task][0] != epoch:
            self._reached[task] = epoch, dict(self._start(task_epoch))
        return self._reached[task][1]
