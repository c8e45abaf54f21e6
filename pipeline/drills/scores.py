"""Reads the committed scores of a pipeline in batches, as a consumer of them does."""

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
    """Scores that were received at ``arrived_at``, in seconds since the epoch.

    ``columns`` has one row per score, with the fields of its schema; ``unreadable`` records did not decode.
    """

    columns: pa.RecordBatch
    arrived_at: float
    unreadable: int

    def __len__(self) -> int:
        return int(self.columns.num_rows)


class ScoreReader:
    """Reads scores from the beginning, or from now on. Use it as a context manager, or close it.

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
        """Wait up to ``timeout`` seconds for a score; return it with those that are available already."""
        records = self._reader.read(rows, timeout)
        arrived_at = self._clock.now()
        batch = self._decode(records)
        return ReadScores(batch.columns, arrived_at, len(records) - len(batch))

    def ends(self) -> Offsets:
        """Return the current end offsets of the score topic."""
        return self._reader.ends()

    def reached(self, ends: Offsets) -> bool:
        """Return whether everything before those offsets was read."""
        return self._reader.reached(ends)

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
