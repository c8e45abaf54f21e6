"""The steps of a worker's batch in this process, without Kafka: records in, scores out."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from surgetank.clock import SystemClock
from surgetank.codec.schema_repository import project_schemas
from surgetank.codec.score_schema import project_score_deserializer
from surgetank.declaration import Pipeline
from surgetank.kafka.task_limit import TaskLimit
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.processing.stateful_features import StatefulFeatures, row_serdes
from surgetank.record_compression import RecordBytes
from surgetank.records import (
    OutputRecords,
    PartitionRecords,
    RecordBatch,
    TaskEpoch,
    TaskId,
    TaskRecords,
    TopicPartition,
)
from surgetank.serving import bundle
from surgetank.serving.router import SingleModelRouter
from surgetank.serving.scorer import Scorer
from surgetank.settings import Settings
from surgetank.state.store import Store, StoreMemory
from surgetank.state.store_identity import StoreIdentity
from surgetank.state.tables import TaskTables
from surgetank.telemetry.metrics import Metrics
from surgetank.worker.model_parts import model_of
from surgetank.worker.processing_parts import TopicLimits, batch_processor
from surgetank.worker.wire_parts import wire_parts
from tests.unit.state.stores import SMALL

BYTES_MAX = 1 << 30


class _Tables:
    """The tables of the only task."""

    def __init__(self, tables: TaskTables) -> None:
        self._tables = tables

    def tables(self, task_epoch: TaskEpoch) -> TaskTables:
        """Return them."""
        return self._tables


def worker_scores(
    pipeline: Pipeline, folder: Path, batches: Iterable[Sequence[PartitionRecords]], state: Path
) -> pa.Table:
    """Return the scores of the records of one task, as a worker with the bundle in ``folder`` computes them."""
    settings, clock, metrics = Settings(), SystemClock(), Metrics()
    warnings, stateful, tables = RecordWarnings(clock), None, None
    if pipeline.changelogs:
        serdes, signatures = row_serdes(pipeline)
        store = Store.open(state, StoreIdentity(pipeline.name, 0, 1, signatures), StoreMemory(SMALL))
        tables = TaskTables(store, serdes, SMALL, 1)
        stateful = StatefulFeatures(pipeline, _Tables(tables), settings.state, metrics=metrics, warnings=warnings)
    processor = batch_processor(
        pipeline,
        wire_parts(pipeline, settings, clock),
        stateful=stateful,
        scorer=Scorer(SingleModelRouter(model_of(bundle.read(folder), pipeline, settings)), clock),
        limits=TopicLimits(BYTES_MAX, RecordBytes(BYTES_MAX, 0), None, {}, frozenset(), BYTES_MAX, TaskLimit(1, "")),
        clock=clock,
        metrics=metrics,
        warnings=warnings,
        on_scored=lambda _matrix, _scores: None,
        shadow=None,
    )
    found = []
    for batch in batches:
        task = TaskRecords(TaskId(pipeline.name, 0), 1, tuple(batch))
        output = processor.process([task])
        assert not output.dead
        if tables is not None:
            tables.commit(output.changes.writes.get(task.key, 0), {})
        found += [decoded_scores(pipeline, each) for each in output.outgoing if each.topic == pipeline.scores.topic]
    if tables is not None:
        tables.store.close()
    return pa.Table.from_batches(found)


def decoded_scores(pipeline: Pipeline, written: OutputRecords) -> pa.RecordBatch:
    """Return score records in columns."""
    decoder = project_score_deserializer(project_schemas(), pipeline, value_bytes_max=BYTES_MAX)
    zeros = np.zeros(len(written), dtype=np.int64)
    records = PartitionRecords(TopicPartition(written.topic, 0), 0, zeros, zeros, written.keys, written.values)
    return decoder.deserialize(RecordBatch.of_partitions([records]))[0].columns
