"""The lag metrics of a worker for its own partitions.

Status and rates are computed at each evaluation by the monitor thread, the age of the oldest record at each scrape: a
value from the last evaluation would be up to two seconds old. This worker has nearly always fetched the oldest
uncommitted record, which is in a record queue or in a batch, so its timestamp is known without a read.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from surgetank.clock import Clock
from surgetank.lag.end_offset_history import EndOffsetHistory
from surgetank.lag.lag_evaluator import LagEvaluator, PartitionOffsets, PartitionStatus
from surgetank.lag.open_transactions import LONG_SECONDS, HeldBack
from surgetank.lag.seconds import LagSeconds, lag_seconds
from surgetank.records import TopicPartition
from surgetank.telemetry.health import Health
from surgetank.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_OWN_GROUP = ""  # the only group of this evaluator

OldestHeld = tuple[int, int]  # offset and time (milliseconds since the epoch) of a record
Positions = Mapping[TopicPartition, tuple[int, OldestHeld | None]]


class _LastKnown(NamedTuple):
    """Offsets at the last evaluation: ``end`` None if no broker answered, ``oldest`` None if nothing was fetched."""

    committed: int
    end: int | None
    oldest: OldestHeld | None


class WorkerLag:
    """Updates the lag metrics of a worker, and the warning of ``/ready`` that names open transactions of producers.

    ``positions`` are, for each partition of an open task, the committed offset and the oldest record that is held.
    """

    def __init__(self, metrics: Metrics, health: Health, clock: Clock) -> None:
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._lock = threading.Lock()
        self._evaluator = LagEvaluator()
        self._known: dict[TopicPartition, _LastKnown] = {}
        self._reported: set[TopicPartition] = set()  # logged as held back by an open transaction

    def unchanged(self, ends: Mapping[TopicPartition, int]) -> list[TopicPartition]:
        """Return the partitions whose last stable offset is that of the last evaluation."""
        with self._lock:
            return self._evaluator.unchanged(ends)

    def look(
        self,
        owned: Collection[TopicPartition],
        ends: Mapping[TopicPartition, int],
        high_watermarks: Mapping[TopicPartition, int],
        positions: Positions,
    ) -> None:
        """Evaluate the owned partitions. A task that is being opened keeps its last offsets; a new one has none."""
        with self._lock:
            now = self._clock.monotonic()
            self._keep(owned)
            for source in owned:
                if source in positions:
                    committed, oldest = positions[source]
                    self._known[source] = _LastKnown(committed, ends.get(source), oldest)
                elif source in self._known:
                    self._known[source] = self._known[source]._replace(end=ends.get(source))
            self._evaluator.add_end_offsets(
                now, {source: ends[source] for source in self._known if source in ends}, high_watermarks
            )
            offsets = [
                PartitionOffsets(source, 0, known.end, known.committed)
                for source, known in self._known.items()
                if known.end is not None
            ]
            # This worker is a member, so its partitions can be stalled but not stopped.
            partitions = self._evaluator.evaluate(now, _OWN_GROUP, offsets, members=True)
            self._evaluator.expire(now)
        self._publish(partitions)
        self.refresh(positions)

    def forget(self, sources: Iterable[TopicPartition]) -> None:
        """Remove these partitions from the metrics."""
        gone = set(sources)
        with self._lock:
            self._keep([source for source in self._known if source not in gone])
        metrics = self._metrics
        for gauge in (
            metrics.open_transaction_records,
            metrics.open_transaction_seconds,
            metrics.lag_seconds,
            metrics.lag_seconds_how,
            metrics.lag_status,
            metrics.arrival_records_per_second,
            metrics.processing_records_per_second,
            metrics.drain_seconds,
        ):
            for source in gone:
                gauge.remove(topic=source.topic, partition=source.partition)

    def refresh(self, positions: Positions) -> None:
        """Set the metrics to the current age of the oldest record of each partition."""
        with self._lock:
            ages = {source: self._age(source, known, positions.get(source)) for source, known in self._known.items()}
        known_ages = {(source.topic, str(source.partition)): age for source, age in ages.items() if age is not None}
        self._metrics.lag_seconds.replace({key: age.seconds for key, age in known_ages.items()})
        self._metrics.lag_seconds_how.replace({key: age.how for key, age in known_ages.items()})

    def _age(
        self, source: TopicPartition, known: _LastKnown, position: tuple[int, OldestHeld | None] | None
    ) -> LagSeconds | None:
        now = self._clock.monotonic()
        history = self._evaluator.histories.get(source) or EndOffsetHistory()
        committed, oldest = position if position is not None else (known.committed, known.oldest)
        if oldest is not None:
            offset, at_ms = oldest
            record_at = now - (self._clock.now() - at_ms / 1000)
            return lag_seconds(now, offset, offset + 1, history, record_at)
        return lag_seconds(now, committed, known.end, history) if known.end is not None else None

    def _keep(self, sources: Iterable[TopicPartition]) -> None:
        """Drop all partitions but these."""
        kept = set(sources)
        windows = self._evaluator.windows.get(_OWN_GROUP, {})
        for source in self._known.keys() - kept:
            del self._known[source]
            windows.pop(source, None)

    def _publish(self, partitions: list[PartitionStatus]) -> None:
        def values_of(value: Callable[[PartitionStatus], float | None]) -> dict[tuple[str, str], float]:
            values = {(p.offsets.source.topic, str(p.offsets.source.partition)): value(p) for p in partitions}
            return {key: each for key, each in values.items() if each is not None}

        self._metrics.lag_status.replace(values_of(lambda p: p.status))
        self._metrics.arrival_records_per_second.replace(values_of(lambda p: p.rates.arrival))
        self._metrics.processing_records_per_second.replace(values_of(lambda p: p.rates.processing))
        self._metrics.drain_seconds.replace(values_of(lambda p: p.rates.drain))
        held_back = {each.offsets.source: each.held_back for each in partitions if each.held_back is not None}
        self._metrics.open_transaction_records.replace(values_of(lambda p: p.held_back and p.held_back.records))
        self._metrics.open_transaction_seconds.replace(values_of(lambda p: p.held_back and p.held_back.seconds))
        long = {source: each for source, each in held_back.items() if each.seconds >= LONG_SECONDS}
        for source in long.keys() - self._reported:
            log.warning("%s (runbook EventsWaitForTransaction)", _sentence(source, long[source]))
        self._reported = set(long)
        self._health.warn("transactions", "; ".join(_sentence(source, long[source]) for source in sorted(long)))


def _sentence(source: TopicPartition, held_back: HeldBack) -> str:
    return (
        f"{source}: {held_back.records} records have waited for {held_back.seconds:.0f} s behind an open transaction "
        "of a producer; they do not count as lag, and cannot be read before it ends"
    )
