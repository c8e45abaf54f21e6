"""How far a source partition has come: the runs handed out, finished and committed. Pure.

Offsets have gaps (compaction, transaction markers), so a run carries the offset that may be committed after it,
and nothing here ever adds one to an offset.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Handed:
    first_offset: int
    next_offset: int
    rows: int
    at_ms: int | None
    finished: bool = False


@dataclass(slots=True)
class OffsetTracker:
    """One source partition of one open task, from the offset it was opened at.

    ``committed`` is the offset in the group; ``position`` is where the next run starts or later.
    """

    committed: int
    position: int = field(init=False)
    _runs: deque[_Handed] = field(init=False, default_factory=deque)
    _first: int = field(init=False, default=0)  # the ticket of the oldest run in _runs

    def __post_init__(self) -> None:
        self.position = self.committed

    def hand_out(self, first_offset: int, next_offset: int, rows: int, at_ms: int | None = None) -> int:
        """Note that so many records from ``first_offset`` on were handed out; return the ticket to finish them with.

        ``at_ms`` is the time of the first of them, in milliseconds since the epoch.
        Raises ValueError if they were handed out before: the records are stale or out of order.
        """
        if first_offset < self.position or next_offset < first_offset:
            raise ValueError(
                f"a run [{first_offset}, {next_offset}) was handed out at position {self.position}: out of order"
            )
        self.position = next_offset
        self._runs.append(_Handed(first_offset, next_offset, rows, at_ms))
        return self._first + len(self._runs) - 1

    def finish(self, ticket: int) -> None:
        """Note that all outputs of the ticket's run are in the open transaction. Raises LookupError if unknown."""
        index = ticket - self._first
        if not 0 <= index < len(self._runs) or self._runs[index].finished:
            raise LookupError(f"ticket {ticket} is not in flight")
        self._runs[index].finished = True

    @property
    def committable(self) -> int | None:
        """The offset to commit: behind the last run of the finished head; None if there is nothing new."""
        offset: int | None = None
        for run in self._runs:
            if not run.finished:
                break
            offset = run.next_offset
        return offset

    @property
    def whole(self) -> bool:
        """Whether every finished run is in the finished head, so that a commit leaves no output behind."""
        seen_open = False
        for run in self._runs:
            if run.finished and seen_open:
                return False
            seen_open = seen_open or not run.finished
        return True

    def commit(self, offset: int) -> None:
        """Note that ``offset`` was committed. Raises ValueError unless it is at the end of a finished head."""
        while self._runs and self._runs[0].finished and self._runs[0].next_offset <= offset:
            self.committed = self._runs.popleft().next_offset
            self._first += 1
        if self.committed != offset:
            raise ValueError(f"committed {offset}, but the finished head ends at {self.committed}")

    @property
    def head(self) -> tuple[int, int] | None:
        """Offset and time of the oldest record that was handed out and is not committed; None if there is none."""
        return next(((run.first_offset, run.at_ms) for run in self._runs if run.rows and run.at_ms is not None), None)

    @property
    def in_flight(self) -> int:
        """How many records were handed out and are not committed."""
        return sum(run.rows for run in self._runs)

    @property
    def outstanding(self) -> bool:
        """Whether anything was handed out that is not committed."""
        return bool(self._runs)
