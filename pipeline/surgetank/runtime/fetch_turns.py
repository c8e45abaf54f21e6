"""Decides which partitions are not fetched for a moment, so that others get their turn. Pure.

librdkafka fetches only while its queue, which all partitions share, is below its bound. When it is full, each partition
backs off, and the one whose backoff ends first is fetched alone. That is always the same partition. If one response
fills the queue again, as with records that are larger than the queue, or with a backlog that is read in small parts,
the other partitions are not fetched until that partition has no more records.
"""

from collections.abc import Collection
from dataclasses import dataclass

from surgetank.records import TopicPartition

PATIENCE_SECONDS = 1.0
PATIENCE_SECONDS_MAX = 64.0
TURN_SECONDS = 0.2  # a fetch takes milliseconds; a broker that is busy answers later


@dataclass(slots=True)
class _Partition:
    since: float  # the last read with records of it, or the last read that left the queue of the consumer empty
    patience: float = PATIENCE_SECONDS


@dataclass(slots=True)
class _Turn:
    of: set[TopicPartition]
    until: float
    read: bool = False  # whether a read has begun since the last extension


class FetchTurns:
    """The turns of the partitions of one consumer. Times are monotonic seconds.

    A partition that was passed over for ``PATIENCE_SECONDS``, while every read was full, gets a turn: until it delivers
    records, at most for ``TURN_SECONDS``, the partitions that have delivered are paused. A partition that delivers
    nothing in its turn, because it has no records or no leader, waits twice as long for the next one, at most
    ``PATIENCE_SECONDS_MAX``. So such partitions take at most a fifth of the time at first, and 0.3 % later.
    """

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._turn: _Turn | None = None

    def add(self, now: float, sources: Collection[TopicPartition]) -> None:
        """Add partitions that are fetched from now on."""
        self._partitions |= {source: _Partition(now) for source in sources}

    def remove(self, sources: Collection[TopicPartition]) -> None:
        """Remove partitions that are no longer fetched."""
        for source in sources:
            self._partitions.pop(source, None)
            if self._turn is not None:
                self._turn.of.discard(source)

    def begin_read(self, now: float, held: Collection[TopicPartition]) -> set[TopicPartition]:
        """Return the partitions that are to be paused during the read that begins now.

        ``held`` are those that are paused for another reason, and cannot deliver.
        """
        for source in held:
            self._partitions[source].since = now
        self._end_turn(now)
        if self._turn is None:
            passed_over = {source for source, each in self._partitions.items() if now - each.since >= each.patience}
            if not passed_over or len(passed_over) == len(self._partitions):
                return set()
            self._turn = _Turn(passed_over, now + TURN_SECONDS)
        self._turn.read = True
        return self._partitions.keys() - self._turn.of

    def end_read(self, now: float, sources: Collection[TopicPartition], *, full: bool) -> None:
        """Take the partitions of which records were read.

        ``full``: the queue of the consumer may have been full before the read.
        """
        for source in sources:
            if source in self._partitions:
                self._partitions[source] = _Partition(now)
        if self._turn is not None:
            if served := self._turn.of.intersection(sources):
                self._turn = _Turn(self._turn.of - served, now + TURN_SECONDS)
        elif not full:
            for each in self._partitions.values():
                each.since = now

    def _end_turn(self, now: float) -> None:
        """End a turn whose partitions have all delivered, or had their time and at least one read."""
        turn = self._turn
        if turn is None or (turn.of and (now < turn.until or not turn.read)):
            return
        for source in turn.of:
            failed = self._partitions[source]
            failed.since, failed.patience = now, min(2 * failed.patience, PATIENCE_SECONDS_MAX)
        self._turn = None
