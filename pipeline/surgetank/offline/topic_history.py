"""The events of a pipeline's topics in an order in which a worker could have processed them.

Records of a partition are in the order of their offsets. Across the topics of a partition number the order is that of
the records' timestamps, facts before events of the same time: without a feature log nothing says how far a worker had
read the facts. Timestamps that producers set may go back; such a record counts as of the latest time before it.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.declaration import Pipeline
from surgetank.offline.history import History, OrderedEvents, milliseconds
from surgetank.offline.topic_records import OFFSET_BITS, read_topics
from surgetank.processing.stateful_features import plausible_times
from surgetank.settings import KafkaSettings, StateSettings

Int64s = npt.NDArray[np.int64]


def topic_history(
    kafka: KafkaSettings, pipeline: Pipeline, settings: StateSettings, columns: Sequence[str] = ()
) -> History:
    """Read the events, with further ``columns``, and the facts that update tables. Holds all events in memory.

    Raises BrokerError or TopicsError if a topic cannot be read.
    """
    logs = read_topics(kafka, pipeline, columns=columns)
    may_update, topics = plausible_times(settings), {}
    declared = (pipeline.events, *pipeline.table_facts)
    ordinals = arrival_order([(logs[each.topic].positions, logs[each.topic].arrived_ms) for each in declared])
    for events, ordinal in zip(declared, ordinals, strict=True):
        log = logs[events.topic]
        times = milliseconds(log.table[events.time], f"field {events.time!r} of the events of {events.topic!r}")
        rows = np.argsort(ordinal)
        topics[events.topic] = OrderedEvents(
            log.table.take(rows),
            ordinal[rows],
            may_update(times, log.arrived_ms)[rows],
            log.keys.take(pa.array(rows)),
            log.deletes[rows],
        )
    return History(topics)


def arrival_order(topics: Sequence[tuple[Int64s, Int64s]]) -> list[Int64s]:
    """Return the ordinals of the records of each topic, int64 [n]: events first, then topics of facts.

    A topic is its positions int64 [n], sorted, and the times of arrival int64 [n] in ms.
    """
    times = [_latest(positions >> OFFSET_BITS, arrived_ms) for positions, arrived_ms in topics]
    numbers = np.repeat(np.arange(len(topics)), [len(each) for each in times])
    positions = np.concatenate([positions for positions, _ in topics])
    ordinals = np.empty(len(positions), dtype=np.int64)
    ordinals[np.lexsort((positions, -numbers, np.concatenate(times)))] = np.arange(len(positions))
    return np.split(ordinals, np.cumsum([len(each) for each in times])[:-1])


def _latest(partitions: Int64s, arrived_ms: Int64s) -> Int64s:
    """Return int64 [n]: the latest time of arrival up to each record of its partition."""
    found = arrived_ms.copy()
    bounds = np.flatnonzero(np.diff(partitions)) + 1
    for part in np.split(found, bounds):
        np.maximum.accumulate(part, out=part)
    return found
