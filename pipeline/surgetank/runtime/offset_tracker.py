"""Tracks the offset ranges of a source partition that are in flight, finished and committed. Pure.

Offsets have gaps (compaction, transaction markers), so each range carries the offset to commit after it, and this
module never computes an offset by adding one.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class _RangeInFlight:
    first_offset: int
    next_offset: int
    rows: int
    at_ms: int | None
    finished: bool = False


@dataclass(slots=True)
class OffsetTracker:
    """Offsets of one source partition of one running task, from its start offset on.

    ``committed`` is the committed offset of the group; the next range starts at ``position`` or later.
    """

    committed: int
    position: int = field(init=False)
    _ranges: deque[_RangeInFlight] = field(init=False, default_factory=deque)
    _first: int = field(init=False, default=0)  # the in-flight id of the oldest range in _ranges

    def __post_init__(self) -> None:
        self.position = self.committed

    def hand_out(self, first_offset: int, next_offset: int, rows: int, at_ms: int | None = None) -> int:
        """Add ``rows`` records in [first_offset, next_offset) as in flight; return their id for ``finish``.

        ``at_ms`` is the timestamp of the first record, in milliseconds since the epoch.
        Raises ValueError if the range overlaps an earlier one: the records are stale or out of order.
        """
        if first_offset < self.position or next_offset < first_offset:
            raise ValueError(
                f"range [{first_offset}, {next_offset}) was handed out at position {self.position}: out of order"
            )
        self.position = next_offset
        self._ranges.append(_RangeInFlight(first_offset, next_offset, rows, at_ms))
        return self._first + len(self._ranges) - 1

    def finish(self, id_: int) -> None:
        """Mark a range whose outputs are all in the open transaction. Raises LookupError if it is not in flight."""
        index = id_ - self._first
        if not 0 <= index < len(self._ranges) or self._ranges[index].finished:
            raise LookupError(f"range {id_} is not in flight")
        self._ranges[index].finished = True

    @property
    def committable(self) -> int | None:
        """The offset to commit: after the finished ranges at the head; None if no range at the head is finished."""
        offset: int | None = None
        for each in self._ranges:
            if not each.finished:
                break
            offset = each.next_offset
        return offset

    @property
    def whole(self) -> bool:
        """Whether all finished ranges are contiguous at the head, so that a commit covers all produced outputs."""
        seen_open = False
        for each in self._ranges:
            if each.finished and seen_open:
                return False
            seen_open = seen_open or not each.finished
        return True

    def commit(self, offset: int) -> None:
        """Record that ``offset`` was committed. Raises ValueError unless a finished range at the head ends there."""
        while self._ranges and self._ranges[0].finished and self._ranges[0].next_offset <= offset:
            self.committed = self._ranges.popleft().next_offset
            self._first += 1
        if self.committed != offset:
            raise ValueError(f"committed {offset}, but the finished head ends at {self.committed}")

    @property
    def head(self) -> tuple[int, int] | None:
        """Offset and timestamp (ms) of the oldest record in flight (not committed); None if there is none."""
        return next(
            ((each.first_offset, each.at_ms) for each in self._ranges if each.rows and each.at_ms is not None), None
        )

    @property
    def in_flight(self) -> int:
        """The number of records in flight (not committed)."""
        return sum(each.rows for each in self._ranges)

    @property
    def outstanding(self) -> bool:
        """Whether any range is in flight, including ranges without records."""
        return bool(self._ranges)
