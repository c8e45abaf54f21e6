"""The rows of one changelog partition, held in memory."""

from dataclasses import dataclass

from surgetank.errors import StateCorrupt
from surgetank.kafka.topic_reader import TopicReader
from surgetank.migration.partition_history import PartitionHistory
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings
from surgetank.state.changelog import PARTITION_HISTORY, TABLE_VERSION, TableVersion


@dataclass(frozen=True, slots=True)
class ChangelogRows:
    """The last value of each key of a changelog partition, its table version and its partition history."""

    rows: dict[bytes, bytes]
    meaning: TableVersion | None
    growth: PartitionHistory | None

    @classmethod
    def read(cls, kafka: KafkaSettings, source: TopicPartition, bounds: tuple[int, int]) -> "ChangelogRows":
        """Read the partition within ``bounds`` (first offset, end offset).

        Raises BrokerError or TopicsError if it cannot be read, StateCorrupt for a record without key.
        """
        low, end = bounds
        last: dict[bytes | None, bytes | None] = {}
        if low < end:
            with TopicReader(kafka, [source.topic], start={source: low}) as reader:
                for records in reader.catch_up({source: end}):
                    last.update(zip(records.keys.to_pylist(), records.values.to_pylist(), strict=True))
        if None in last:
            raise StateCorrupt(f"changelog {source} has a record without a key, which no worker writes")
        meaning, growth = last.pop(TABLE_VERSION, None), last.pop(PARTITION_HISTORY, None)
        return cls(
            {key: value for key, value in last.items() if key is not None and value is not None},
            None if meaning is None else TableVersion.load(meaning),
            None if growth is None else PartitionHistory.load(growth),
        )
