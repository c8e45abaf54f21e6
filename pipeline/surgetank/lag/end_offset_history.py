"""The recent history of one partition, bounded in memory: end offsets over time, and the progress of a group.

All times are seconds on one monotonic clock. Pure.
"""

from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

POINTS_MAX = 256  # of a history: enough for a week at SPACING
SPACING = 0.1
OBSERVATIONS = 10  # Burrow's window of ten
STALL_SECONDS = 30.0
STALL_SECONDS_MAX = 600.0
STALL_WAITS = 3  # a wait of this many typical waits is a stall
SMOOTHING = 0.3


class Observation(NamedTuple):
    """The offsets of a group on a partition at one time: log end, position of the group, log start.

    ``processed`` is the committed offset, or ``start`` if nothing was committed.
    """

    at: float
    end: int
    processed: int
    start: int = 0

    @property
    def lag(self) -> int:
        """Return the records to process, never below 0. Records deleted by retention do not count."""
        return max(0, self.end - max(self.processed, self.start))


class EndOffsetHistory:
    """The end offset of a partition over time: ascending points, dense for recent times and sparse for older ones.

    Thinning keeps the distance of two neighbours below ``SPACING`` times the age of the newer one. A time between two
    points is therefore known to a tenth of its age, whatever the traffic pattern. A time without traffic is two points:
    its start and its end.
    """

    __slots__ = ("_at", "_end")

    def __init__(self) -> None:
        self._at = array("d")
        self._end = array("q")

    def __len__(self) -> int:
        return len(self._at)

    @property
    def points(self) -> list[tuple[float, int]]:
        """Return the points (time, end offset), oldest first."""
        return list(zip(self._at, self._end, strict=True))

    def add(self, at: float, end: int) -> None:
        """Add the current end offset. A lower one than the last is that of a recreated topic and clears the points."""
        if self._at and at <= self._at[-1]:
            return
        if self._end and end < self._end[-1]:
            del self._at[:], self._end[:]
        if len(self._end) > 1 and self._end[-2] == self._end[-1] == end:
            self._at[-1] = at
            return
        self._at.append(at)
        self._end.append(end)
        if len(self._at) > POINTS_MAX:
            self._thin(at)

    def trim_before(self, offset: int) -> None:
        """Drop the points that are not needed to date ``offset`` and later records."""
        first = bisect_right(self._end, offset) - 1
        if first > 0:
            del self._at[:first], self._end[:first]

    def bracket(self, offset: int) -> tuple[tuple[float, int] | None, tuple[float, int] | None]:
        """Return the last point before the record at ``offset`` arrived and the first point after; None: unknown."""
        index = bisect_right(self._end, offset)
        before = (self._at[index - 1], self._end[index - 1]) if index else None
        after = (self._at[index], self._end[index]) if index < len(self._end) else None
        return before, after

    def slope(self) -> float:
        """Return the records per second from the oldest to the newest point; 0 if unknown."""
        seconds = self._at[-1] - self._at[0] if self._at else 0.0
        return (self._end[-1] - self._end[0]) / seconds if seconds > 0 else 0.0

    def _thin(self, now: float) -> None:
        at, end = [self._at[-1]], [self._end[-1]]
        for index in range(len(self._at) - 2, 0, -1):
            if at[-1] - self._at[index - 1] > SPACING * (now - at[-1]):
                at.append(self._at[index])
                end.append(self._end[index])
        at.append(self._at[0])
        end.append(self._end[0])
        # Drop the oldest points beyond the limit: older times can be extrapolated.
        self._at = array("d", reversed(at[:POINTS_MAX]))
        self._end = array("q", reversed(end[:POINTS_MAX]))


@dataclass(slots=True)
class LagWindow:
    """The recent progress of a group on one partition: the last observations, and values derived from older ones.

    The window holds the last ten observations, and all of the last ``stall_seconds``. ``typical_wait`` is the smoothed
    time in seconds that records wait before the committed offset moves: a group that commits once a minute is not
    stalled between two commits. ``idle_since`` is the time since which there has been lag without progress, None
    without lag. ``rewound_at`` is the time of the last rewind, ``rewound_from`` the committed offset before it.
    """

    observations: list[Observation] = field(default_factory=list)
    typical_wait: float = 0.0
    idle_since: float | None = None
    rewound_at: float | None = None
    rewound_from: int = 0

    @property
    def stall_seconds(self) -> float:
        """Return the number of seconds without progress that count as a stall."""
        return min(max(STALL_SECONDS, STALL_WAITS * self.typical_wait), STALL_SECONDS_MAX)

    @property
    def last(self) -> Observation:
        """Return the newest observation. Raises IndexError if there is none."""
        return self.observations[-1]

    @property
    def progressed(self) -> bool:
        """Return whether the committed offset advanced within the window."""
        return any(later.processed > earlier.processed for earlier, later in pairwise(self.observations))

    def idle_seconds(self, now: float) -> float:
        """Return the seconds since which there has been lag and no progress; 0 without lag."""
        return 0.0 if self.idle_since is None else max(0.0, now - self.idle_since)

    def add(self, new: Observation) -> None:
        """Add an observation; ignore one that is not later than the last."""
        last = self.observations[-1] if self.observations else None
        if last is not None and new.at <= last.at:
            return
        moved = last is not None and new.processed != last.processed
        if last is not None and (new.processed < last.processed or new.end < last.end):
            self._rewind(new, last)
        elif self.rewound_at is not None and new.processed >= self.rewound_from:
            self.rewound_at = None
        if moved and self.idle_since is not None:
            wait = min(new.at - self.idle_since, STALL_SECONDS_MAX / STALL_WAITS)
            self.typical_wait += (SMOOTHING if self.typical_wait else 1.0) * (wait - self.typical_wait)
        if not new.lag:
            self.idle_since = None
        elif moved or self.idle_since is None:
            self.idle_since = new.at
        self.observations.append(new)
        oldest_needed = new.at - self.stall_seconds
        while len(self.observations) > OBSERVATIONS and self.observations[1].at <= oldest_needed:
            del self.observations[0]

    def _rewind(self, new: Observation, last: Observation) -> None:
        self.rewound_from = max(last.processed, self.rewound_from if self.rewound_at is not None else 0)
        self.rewound_at = new.at
        if new.end < last.end:  # a recreated topic: rates across both topics are meaningless
            self.observations.clear()
