"""A worker's lag on its own partitions, as metrics: judged with each look of its monitor, aged when somebody asks.

The oldest record that is not committed was fetched by this worker nearly always, so its time is known exactly and
costs nothing: it waits in the inbox, or it was handed out. The age is taken when the page is asked for; a look every
two seconds would tell one that is two seconds old.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from pipeline.clock import Clock
from pipeline.lag.end_offset_history import EndOffsetHistory
from pipeline.lag.lag_evaluator import LagEvaluator, PartitionOffsets, PartitionStatus
from pipeline.lag.seconds import LagSeconds, lag_seconds
from pipeline.records import TopicPartition
from pipeline.telemetry.kinds import Gauge
from pipeline.telemetry.metrics import Metrics

_ME = ""  # the one group of this book

Head = tuple[int, int]  # offset and time (milliseconds since the epoch) of a record
Standings = Mapping[TopicPartition, tuple[int, Head | None]]


class _Seen(NamedTuple):
    """What the last look knew of a partition: ``end`` is None if no broker told it, ``head`` if nothing was fetched."""

    committed: int
    end: int | None
    head: Head | None


class WorkerLag:
    """Fills the lag metrics of a worker.

    ``standings`` gives what is committed of each partition of an open task, and the oldest record of it that is held.
    """

    def __init__(self, metrics: Metrics, clock: Clock, standings: Callable[[], Standings]) -> None:
        self._metrics = metrics
        self._clock = clock
        self._standings = standings
        self._lock = threading.Lock()
        self._book = LagEvaluator()
        self._seen: dict[TopicPartition, _Seen] = {}

    def look(self, owned: Collection[TopicPartition], ends: Mapping[TopicPartition, int]) -> None:
        """Judge the owned partitions. One that is being opened stands where it stood; a new one is not known yet."""
        standings = self._standings()
        with self._lock:
            now = self._clock.monotonic()
            self._keep(owned)
            for source in owned:
                if source in standings:
                    committed, head = standings[source]
                    self._seen[source] = _Seen(committed, ends.get(source), head)
                elif source in self._seen:
                    self._seen[source] = self._seen[source]._replace(end=ends.get(source))
            self._book.see_ends(now, {source: ends[source] for source in self._seen if source in ends})
            known = [
                PartitionOffsets(s, 0, seen.end, seen.committed)
                for s, seen in self._seen.items()
                if seen.end is not None
            ]
            # Whoever looks is there: this worker can stall, not stop.
            verdicts = self._book.judge(now, _ME, known, members=True)
            self._book.forget(now)
        self._tell(verdicts)
        self.refresh()

    def forget(self, sources: Iterable[TopicPartition]) -> None:
        """Tell of these partitions no more."""
        gone = set(sources)
        with self._lock:
            self._keep([source for source in self._seen if source not in gone])
        for gauge in self._gauges:
            for source in gone:
                gauge.remove(topic=source.topic, partition=source.partition)

    def refresh(self) -> None:
        """Say how old the oldest record of each partition is now."""
        standings = self._standings()
        with self._lock:
            ages = {source: self._age(source, seen, standings.get(source)) for source, seen in self._seen.items()}
        known = {(source.topic, str(source.partition)): age for source, age in ages.items() if age is not None}
        self._metrics.lag_seconds.replace({key: age.seconds for key, age in known.items()})
        self._metrics.lag_seconds_how.replace({key: age.how for key, age in known.items()})

    def _age(self, source: TopicPartition, seen: _Seen, standing: tuple[int, Head | None] | None) -> LagSeconds | None:
        now = self._clock.monotonic()
        trail = self._book.trails.get(source) or EndOffsetHistory()
        committed, head = standing if standing is not None else (seen.committed, seen.head)
        if head is not None:
            offset, at_ms = head
            record_at = now - (self._clock.now() - at_ms / 1000)
            return lag_seconds(now, offset, offset + 1, trail, record_at)
        return lag_seconds(now, committed, seen.end, trail) if seen.end is not None else None

    def _keep(self, sources: Iterable[TopicPartition]) -> None:
        """Forget all partitions but these."""
        kept = set(sources)
        windows = self._book.windows.get(_ME, {})
        for source in self._seen.keys() - kept:
            del self._seen[source]
            windows.pop(source, None)

    def _tell(self, verdicts: list[PartitionStatus]) -> None:
        def of(value: Callable[[PartitionStatus], float | None]) -> dict[tuple[str, str], float]:
            values = {(v.standing.source.topic, str(v.standing.source.partition)): value(v) for v in verdicts}
            return {key: each for key, each in values.items() if each is not None}

        self._metrics.lag_status.replace(of(lambda v: v.status))
        self._metrics.arrival_records_per_second.replace(of(lambda v: v.rates.arrival))
        self._metrics.processing_records_per_second.replace(of(lambda v: v.rates.processing))
        self._metrics.drain_seconds.replace(of(lambda v: v.rates.drain))

    @property
    def _gauges(self) -> tuple[Gauge, ...]:
        return (
            self._metrics.lag_seconds,
            self._metrics.lag_seconds_how,
            self._metrics.lag_status,
            self._metrics.arrival_records_per_second,
            self._metrics.processing_records_per_second,
            self._metrics.drain_seconds,
        )
