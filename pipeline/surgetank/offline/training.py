"""Training data of a pipeline: the model's input for recorded events, as a worker computes it.

data = training_matrix(pipeline, Path("recorded"), columns=["fraud"])
classifier.fit(data.matrix, data.events["fraud"].to_numpy())
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from surgetank.declaration import Pipeline
from surgetank.features.spec import Float32s
from surgetank.offline.backfill import compute_aggregates, matrices
from surgetank.offline.history import History
from surgetank.settings import Settings


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The n events in processing order, with at least the columns that features need, and their inputs.

    ``matrix`` is float32 [n, F], NaN for missing values, its columns in the order of ``pipeline.spec.names``.
    """

    events: pa.Table
    matrix: Float32s


def training_matrix(
    pipeline: Pipeline,
    source: Path | Mapping[str, pa.Table] | Settings,
    *,
    columns: Sequence[str] = (),
    arrived: str | None = None,
) -> TrainingData:
    """Return the model's inputs of all events of a source, for any pipeline, with tables or without.

    ``source`` is a folder of files as ``surgetank features backfill --events`` reads them, a table of events by topic
    (the pipeline's events and the facts that update its tables), or the settings of workers: then all topics are read
    from their beginning. ``columns`` are further columns of the events in files or topics to return, such as a label;
    tables keep theirs. ``arrived`` names a column with the arrival time in files and tables, which is the order of
    processing; None: order by event time. In topics, the arrival time is the timestamp of the record.

    Raises TopologyError if a topic or column is missing or has the wrong type, StartupError if the pipeline has tables
    and DuckDB is not installed, BrokerError or TopicsError if a topic cannot be read, ValueError for ``arrived`` with
    topics.
    """
    history = _history(pipeline, source, columns, arrived)
    aggregates = compute_aggregates(pipeline, history)
    events = history.topics[pipeline.events.topic]
    empty = np.zeros((0, len(pipeline.spec.names)), dtype=np.float32)
    parts = [matrix for _, matrix in matrices(pipeline, events, aggregates)]
    return TrainingData(events.table, np.concatenate([empty, *parts]))


def _history(
    pipeline: Pipeline,
    source: Path | Mapping[str, pa.Table] | Settings,
    columns: Sequence[str],
    arrived: str | None,
) -> History:
    if isinstance(source, Path):
        return History.read(source, pipeline, arrived, columns)
    if isinstance(source, Mapping):
        return History.of_tables(source, pipeline, arrived)
    if arrived is not None:
        raise ValueError("records of topics are ordered by their timestamps; do not give arrived")
    from surgetank.offline.topic_history import topic_history  # the client and compiled code take a second to load

    return topic_history(source.kafka, pipeline, source.state, columns)
