"""The latency from an event to its score: joins scores with events by source position, in columns.

The time of an event is its Kafka timestamp, which replay sets to the intended send time, so delays of the sender count.
The time of a score is when its reader received it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

_NO_TIME = np.nan


@dataclass(frozen=True, slots=True)
class Percentiles:
    """The number and percentiles of some durations in milliseconds; all 0 if there are none."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, milliseconds: Floats) -> "Percentiles":
        """Summarize durations, float64 [n]."""
        if not len(milliseconds):
            return cls(0, 0.0, 0.0, 0.0)
        p50, p99 = (round(float(value), 3) for value in np.percentile(milliseconds, [50, 99]))
        return cls(len(milliseconds), p50, p99, round(float(milliseconds.max()), 3))


class Latencies:
    """Collects the times of events and scores, which may be read in any order.

    Memory: 8 bytes per event and 16 per score.
    """

    def __init__(self) -> None:
        self._events: dict[int, Floats] = {}  # by partition: the time at each offset, NaN if unknown
        self._waiting: list[tuple[Int64s, Int64s, Floats]] = []
        self._arrived: list[Floats] = []
        self._latencies: list[Floats] = []

    def events(self, partition: Int64s, offset: Int64s, at_ms: npt.NDArray[np.int64]) -> None:
        """Add events: their positions in the source topic, and their Kafka timestamps in milliseconds."""
        for number in np.unique(partition).tolist():
            rows = partition == number
            offsets = offset[rows]
            times = self._ensure_length(number, int(offsets.max()) + 1)
            times[offsets] = at_ms[rows]
        waiting, self._waiting = self._waiting, []
        for scores in waiting:
            self._join(*scores)

    def scores(self, source_partition: Int64s, source_offset: Int64s, arrived_at: float) -> None:
        """Add scores that a reader received at ``arrived_at``, in seconds since the epoch."""
        self._join(source_partition, source_offset, np.full(len(source_offset), arrived_at * 1000))

    def percentiles(self, after: float = -np.inf, before: float = np.inf) -> Percentiles:
        """Return the percentiles of the scores that arrived from ``after`` on and before ``before``.

        Both are seconds since the epoch.
        """
        latencies = np.concatenate(self._latencies) if self._latencies else np.zeros(0)
        arrived = np.concatenate(self._arrived) if self._arrived else np.zeros(0)
        return Percentiles.of(latencies[(arrived >= after * 1000) & (arrived < before * 1000)])

    def _join(self, partition: Int64s, offset: Int64s, arrived_ms: Floats) -> None:
        sent = np.full(len(offset), _NO_TIME)
        for number in np.unique(partition).tolist():
            times = self._events.get(number)
            if times is None:
                continue
            rows = np.flatnonzero((partition == number) & (offset < len(times)))
            sent[rows] = times[offset[rows]]
        known = ~np.isnan(sent)
        if known.any():
            self._arrived.append(arrived_ms[known])
            self._latencies.append(arrived_ms[known] - sent[known])
        if not known.all():
            self._waiting.append((partition[~known], offset[~known], arrived_ms[~known]))

    def _ensure_length(self, partition: int, length: int) -> Floats:
        times = self._events.get(partition)
        if times is None or len(times) < length:
            grown = np.full(max(1024, 2 * length), _NO_TIME)
            if times is not None:
                grown[: len(times)] = times
            self._events[partition] = times = grown
        return times
