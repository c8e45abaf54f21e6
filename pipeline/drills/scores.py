"""Reads the scores of a pipeline as their consumers do: committed ones only, whole batches at a time."""

from dataclasses import dataclass
from typing import Self

import pyarrow as pa

from pipeline.clock import Clock, SystemClock
from pipeline.declaration import Pipeline
from pipeline.drills.wire import SCORE, decoder
from pipeline.kafka.topic_reader import Offsets, TopicReader, Where
from pipeline.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class ReadScores:
    """Scores that were in hand at ``arrived_at``, in seconds since the epoch.

    ``columns`` has one row per score, with the fields of its contract; ``unreadable`` records were no scores.
    """

    columns: pa.RecordBatch
    arrived_at: float
    unreadable: int

    def __len__(self) -> int:
        return int(self.columns.num_rows)


class ScoreReader:
    """Reads scores from the first one, or from now on. Close it, or use it as a context.

    Raises BrokerError if no broker answers, TopicsError if the topic is missing.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        pipeline: Pipeline,
        *,
        start: Where = "earliest",
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._decode = decoder(SCORE)
        self._reader = TopicReader(kafka, [pipeline.scores.topic], start=start)

    def read(self, rows: int = 10_000, timeout: float = 0.5) -> ReadScores:
        """Wait up to ``timeout`` seconds for a first score; return it and those that are here already."""
        records = self._reader.read(rows, timeout)
        arrived_at = self._clock.now()
        batch = self._decode(records)
        return ReadScores(batch.columns, arrived_at, len(records) - len(batch))

    def ends(self) -> Offsets:
        """Return where the score topic ends now."""
        return self._reader.ends()

    def reached(self, ends: Offsets) -> bool:
        """Return whether everything before those ends was read."""
        return self._reader.reached(ends)

    def close(self) -> None:
        """Leave Kafka."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
