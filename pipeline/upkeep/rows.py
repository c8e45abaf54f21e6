"""The rows of one partition of a changelog, all of them in memory."""

from dataclasses import dataclass

from pipeline.batch import Source
from pipeline.errors import StateCorrupt
from pipeline.kafka.reading import TopicReader
from pipeline.settings import KafkaSettings
from pipeline.state.changelog import GROWN, MEANING, Meaning
from pipeline.upkeep.growth import Growth


@dataclass(frozen=True, slots=True)
class Part:
    """What stands last under each key of a partition of a changelog: rows, what they mean, how keys moved."""

    rows: dict[bytes, bytes]
    meaning: Meaning | None
    growth: Growth | None

    @classmethod
    def read(cls, kafka: KafkaSettings, source: Source, bounds: tuple[int, int]) -> "Part":
        """Read it. Raises BrokerError or TopicsError if it cannot be read, StateCorrupt for a record without key."""
        low, end = bounds
        last: dict[bytes | None, bytes | None] = {}
        if low < end:
            with TopicReader(kafka, [source.topic], start={source: low}) as reader:
                for records in reader.catch_up({source: end}):
                    last.update(zip(records.keys, records.values, strict=True))
        if None in last:
            raise StateCorrupt(f"changelog {source} has a record without key, which no worker writes")
        meaning, growth = last.pop(MEANING, None), last.pop(GROWN, None)
        return cls(
            {key: value for key, value in last.items() if key is not None and value is not None},
            None if meaning is None else Meaning.load(meaning),
            None if growth is None else Growth.load(growth),
        )
