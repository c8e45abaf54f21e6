"""Reads the events and the facts of a pipeline from their topics, completely, with the columns that features need."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.declaration import Events, Pipeline
from surgetank.drills.wire import event_decoder, fact_decoder
from surgetank.kafka.topic_reader import TopicReader
from surgetank.offline.history import required_columns
from surgetank.records import DecodedBatch, RecordBatch, joined, large_binary
from surgetank.settings import KafkaSettings

Int64s = npt.NDArray[np.int64]
Decode = Callable[[RecordBatch], DecodedBatch]

OFFSET_BITS = 44  # the low bits of a position are the offset, the others the partition
_EMPTY = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class TopicRecords:
    """The n decodable records of a topic, sorted by ``positions`` int64 [n].

    ``arrived_ms`` is int64 [n], ``keys`` large_binary [n]. ``deletes`` is bool [n]: whether it is a fact that deletes
    the state of its key; of its columns, only the time has a value, 0.
    """

    table: pa.Table
    positions: Int64s
    arrived_ms: Int64s
    keys: pa.LargeBinaryArray
    deletes: npt.NDArray[np.bool_]

    @classmethod
    def read(
        cls, kafka: KafkaSettings, topic: str, decode: Decode, columns: Sequence[str], facts: Events | None = None
    ) -> "TopicRecords":
        """Read the given columns of a whole topic; ``facts`` is its declaration if it is a topic of facts."""
        tables, positions, arrived = [_columns(decode(RecordBatch.of(())), columns)], [_EMPTY], [_EMPTY]
        keys, deletes = [large_binary([])], [np.zeros(0, dtype=np.bool_)]
        with TopicReader(kafka, [topic]) as reader:
            for records in reader.catch_up():
                batch = decode(records)
                tables.append(_columns(batch, columns))
                rows = np.concatenate([batch.rows, batch.deletes])
                if facts is not None and len(batch.deletes):
                    tables.append(_tombstones(len(batch.deletes), tables[0].schema, facts.time))
                positions.append((records.partitions << OFFSET_BITS)[rows] + records.offsets[rows])
                arrived.append(records.arrived_ms[rows])
                keys.append(records.keys.take(pa.array(rows)))
                deletes.append(np.arange(len(rows)) >= len(batch))
        places = np.concatenate(positions)
        order = np.argsort(places)
        return cls(
            pa.concat_tables(tables, promote_options="default").take(order),
            places[order],
            np.concatenate(arrived)[order],
            joined(keys).take(pa.array(order)),
            np.concatenate(deletes)[order],
        )

    def __len__(self) -> int:
        return len(self.positions)


def read_topics(
    kafka: KafkaSettings,
    pipeline: Pipeline,
    report_status: Callable[[str], None] = lambda _: None,
    columns: Sequence[str] = (),
) -> dict[str, TopicRecords]:
    """Return the decodable records of the events, with further ``columns``, and of the facts that update tables.

    Raises BrokerError or TopicsError if a topic cannot be read, KeyError if the events lack a column.
    """
    facts = {each.topic: each for each in pipeline.table_facts}
    found: dict[str, TopicRecords] = {}
    for topic, required in required_columns(pipeline).items():
        report_status(f"reading {topic}")
        decode = fact_decoder(facts[topic]) if topic in facts else event_decoder(pipeline.events)
        wanted = required if topic in facts else list(dict.fromkeys([*required, *columns]))
        found[topic] = TopicRecords.read(kafka, topic, decode, wanted, facts.get(topic))
    return found


def _tombstones(n: int, schema: pa.Schema, time: str) -> pa.Table:
    """Return the rows of n facts that delete: the time 0, null in all other columns."""
    times = pa.array(np.zeros(n, dtype=np.int64)).view(schema.field(time).type)
    return pa.table([times if each.name == time else pa.nulls(n, each.type) for each in schema], names=schema.names)


def _columns(batch: DecodedBatch, names: Sequence[str]) -> pa.Table:
    return pa.Table.from_batches([batch.columns.select(names)])
