"""Recorded events of a pipeline in the order in which a worker processes them: the input of offline features.

A worker processes the events of a partition in the order of their offsets, and facts as they arrive. A recording has
no offsets or arrival order, so all topics are ordered by one time: the event time, or a column with the arrival time
if the recording has one. Ties are in the order of the topics, then of the rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds

from surgetank.declaration import Pipeline
from surgetank.drills.recording import Recording
from surgetank.errors import TopologyError
from surgetank.event_columns import root_columns
from surgetank.features.spec import Input
from surgetank.processing.event_filter import holding

Int64s = npt.NDArray[np.int64]

FORMATS = {".parquet": "parquet", ".arrow": "ipc", ".feather": "ipc"}

_TO_MS = {"s": (1_000, 1), "ms": (1, 1), "us": (1, 1_000), "ns": (1, 1_000_000)}


@dataclass(frozen=True, slots=True)
class OrderedEvents:
    """The n events of one topic in processing order. ``ordinal`` is int64 [n], sorted: positions among all topics.

    ``may_update`` is bool [n]: whether an event may update state, by its arrival time; None: all may. ``keys`` is
    large_binary [n]: the keys of the records, by which workers keep state, null without a key; None, as in files, which
    have no records: the declared field holds the key. ``deletes`` is bool [n]: whether it is a fact that deletes the
    state of its key and has no other columns; None: none does.
    """

    table: pa.Table
    ordinal: Int64s
    may_update: npt.NDArray[np.bool_] | None = None
    keys: pa.Array | None = None
    deletes: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.ordinal)

    def take(self, rows: Int64s) -> "OrderedEvents":
        """Return the events at ``rows`` int64 [k], ascending."""
        return OrderedEvents(
            self.table.take(pa.array(rows)),
            self.ordinal[rows],
            None if self.may_update is None else self.may_update[rows],
            None if self.keys is None else self.keys.take(pa.array(rows)),
            None if self.deletes is None else self.deletes[rows],
        )


@dataclass(frozen=True, slots=True)
class History:
    """The events of a pipeline and of the facts that update its tables, by topic."""

    topics: Mapping[str, OrderedEvents]

    @classmethod
    def of(cls, recording: Recording, pipeline: Pipeline) -> "History":
        """Take a recording, which is ordered by event time. Raises TopologyError if a topic is missing."""
        topic_numbers = {topic: k for k, topic in enumerate(recording.topics)}
        for topic in required_columns(pipeline):
            if topic not in topic_numbers:
                raise TopologyError(
                    f"the recording of pipeline {pipeline.name!r} has no events of {topic!r}; "
                    f"it has: {', '.join(topic_numbers)}"
                )
        tables = _declared_columns(dict(zip(recording.topics, recording.tables, strict=True)), pipeline)
        return cls(
            {
                topic: _only(
                    pipeline,
                    topic,
                    OrderedEvents(tables[topic], np.flatnonzero(recording.kind == k).astype(np.int64)),
                )
                for topic, k in topic_numbers.items()
            }
        )

    @classmethod
    def read(
        cls, folder: Path, pipeline: Pipeline, arrived: str | None = None, columns: Sequence[str] = ()
    ) -> "History":
        """Read the files of a folder: ``<topic>.parquet``, ``.arrow`` or ``.feather``, or a folder ``<topic>`` of them.

        ``arrived`` names the column with the arrival time in all of them; None: order by event time. Only the required
        columns are read, and ``columns`` of the events. Raises TopologyError, naming the missing topic or column.
        """
        tables: dict[str, pa.Table] = {}
        for topic, required in required_columns(pipeline).items():
            further = columns if topic == pipeline.events.topic else ()
            tables[topic] = _load(folder, topic, dict.fromkeys([*required, *further, arrived or required[0]]))
        return cls.of_tables(tables, pipeline, arrived)

    @classmethod
    def of_tables(cls, tables: Mapping[str, pa.Table], pipeline: Pipeline, arrived: str | None = None) -> "History":
        """Take the events and facts of a pipeline by topic, ordered by ``arrived`` as in ``read``.

        Raises TopologyError, naming the missing topic or column.
        """
        required = required_columns(pipeline)
        tables = _declared_columns(tables, pipeline)
        times: list[Int64s] = []
        for topic, columns in required.items():
            if topic not in tables:
                raise TopologyError(
                    f"there are no events of {topic!r}, which pipeline {pipeline.name!r} needs; "
                    f"there are: {', '.join(tables)}"
                )
            order = arrived or columns[0]
            for column in (*columns, order):
                _check_column(column, tables[topic].schema, f"the events of {topic!r}")
            times.append(milliseconds(tables[topic][order], f"column {order!r} of the events of {topic!r}"))
        joined = np.concatenate(times)
        ordinals = np.empty(len(joined), dtype=np.int64)
        ordinals[np.argsort(joined, kind="stable")] = np.arange(len(joined))
        topics: dict[str, OrderedEvents] = {}
        ends = np.cumsum([len(each) for each in times])[:-1]
        for topic, ordinal in zip(required, np.split(ordinals, ends), strict=True):
            rows = np.argsort(ordinal)
            topics[topic] = _only(pipeline, topic, OrderedEvents(tables[topic].take(rows), ordinal[rows]))
        return cls(topics)


def _declared_columns(tables: Mapping[str, pa.Table], pipeline: Pipeline) -> dict[str, pa.Table]:
    """Return the tables with the columns that a declaration can name, by topic."""
    declared = {each.topic: each for each in (pipeline.events, *pipeline.table_facts)}
    return {
        topic: declared[topic].columns(table.schema, partial=True).of(table) if topic in declared else table
        for topic, table in tables.items()
    }


def rows_holding(condition: Input, table: pa.Table) -> Int64s:
    """Return int64 [k], ascending: the rows for which a condition of the declaration holds.

    Raises TopologyError if the table lacks a column of the condition.
    """
    condition.check(table.schema)
    parts = [holding(condition, batch) for batch in table.to_batches()]
    return np.flatnonzero(np.concatenate([np.zeros(0, dtype=np.bool_), *parts]))


def _only(pipeline: Pipeline, topic: str, events: OrderedEvents) -> OrderedEvents:
    """Return the events that the declaration of their topic takes."""
    declared = next((each for each in (pipeline.events, *pipeline.table_facts) if each.topic == topic), None)
    if declared is None or declared.only is None:
        return events
    return events.take(rows_holding(declared.only, events.table))


def _check_column(column: str, schema: pa.Schema, what: str) -> None:
    if column not in schema.names:
        raise TopologyError(f"{what} have no column {column!r}; they have: {', '.join(schema.names)}")


def required_columns(pipeline: Pipeline) -> dict[str, list[str]]:
    """Return by topic the columns that the features need, the event time first; the events are the first topic."""
    own = pipeline.events
    conditions = [each.inputs for each in (own.only, pipeline.score_only) if each is not None]
    found = {own.topic: [own.time, own.id, *([own.key] if own.key else []), *pipeline.spec.inputs, *chain(*conditions)]}
    for table_state in pipeline.table_states:
        facts = table_state.table.facts
        if facts is not None:
            source_columns = [column for each in table_state.aggregates for column in each.source_columns]
            filtering = () if facts.only is None else facts.only.inputs
            found.setdefault(facts.topic, [facts.time, str(facts.key)]).extend((*source_columns, *filtering))
    return {topic: list(dict.fromkeys(columns)) for topic, columns in found.items()}


def milliseconds(times: pa.ChunkedArray, what: str) -> Int64s:
    """Return int64 [n]: timestamps of any unit in ms since the epoch, rounded down; without a zone they are UTC.

    Raises TopologyError for another type or a null.
    """
    if not pa.types.is_timestamp(times.type):
        raise TopologyError(f"{what} is {times.type}; it must be a timestamp")
    if times.null_count:
        raise TopologyError(f"{what} is null in {times.null_count:,} events; every event must have a time")
    times_by, divided_by = _TO_MS[times.type.unit]
    ticks: Int64s = times.combine_chunks().view(pa.int64()).to_numpy()
    return ticks * times_by // divided_by


def _load(folder: Path, topic: str, columns: Iterable[str]) -> pa.Table:
    files = _files(folder, topic)
    ending = files[0].suffix
    if any(each.suffix != ending for each in files):
        raise TopologyError(f"{folder / topic} has files of several formats; keep one format: {', '.join(FORMATS)}")
    source = ds.dataset([str(each) for each in files], format=FORMATS[ending])
    columns = root_columns(list(columns), source.schema)
    for column in columns:
        _check_column(column, source.schema, f"the events of {topic!r} in {folder}")
    return source.to_table(columns=list(columns)).combine_chunks()


def _files(folder: Path, topic: str) -> Sequence[Path]:
    """Return the files of a topic, ordered by name."""
    if (folder / topic).is_dir():
        within = sorted(each for each in (folder / topic).iterdir() if each.suffix in FORMATS)
        if within:
            return within
    alone = [path for ending in FORMATS if (path := folder / f"{topic}{ending}").is_file()]
    if not alone:
        endings = ", ".join(FORMATS)
        raise TopologyError(
            f"{folder} has no events of {topic!r}: put a file {topic}.parquet there, or a folder {topic} of files "
            f"({endings})"
        )
    return alone
