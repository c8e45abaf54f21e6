"""What was seen of a partition, and no more of it than the rules need: bounded in memory, however long it goes on.

All times are seconds on one monotonic clock. Pure: nothing here asks anybody.
"""

from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

POINTS_MAX = 256  # of a trail: enough for a week at GROWTH
GROWTH = 0.1
OBSERVATIONS = 10  # Burrow's window of ten
SPAN_SECONDS = 30.0
SPAN_SECONDS_MAX = 600.0
WAITS = 3  # so many times longer than usual is too long
NEWEST_WEIGHS = 0.3


class Observation(NamedTuple):
    """One look at a partition and a group: when, where the log ended, what was done of it, where the log begins.

    ``done`` is the committed offset, or ``start`` if nothing was committed.
    """

    at: float
    end: int
    done: int
    start: int = 0

    @property
    def lag(self) -> int:
        """Records to be done, never below 0. What retention took will not be done."""
        return max(0, self.end - max(self.done, self.start))


class EndOffsetHistory:
    """Where the log of a partition ended at which time: points that rise, dense of late and sparse long ago.

    Two neighbours that are kept although something was between them are no further apart than ``GROWTH`` of the age
    of the newer. So a time that lies between two of them is known to a tenth of its age, in whatever bursts the records
    came. A time without traffic is two points: its begin and its end.
    """

    __slots__ = ("_at", "_end")

    def __init__(self) -> None:
        self._at = array("d")
        self._end = array("q")

    def __len__(self) -> int:
        return len(self._at)

    @property
    def points(self) -> list[tuple[float, int]]:
        """The points, oldest first."""
        return list(zip(self._at, self._end, strict=True))

    def add(self, at: float, end: int) -> None:
        """Note where the log ends now. An end before the last one is that of another topic of the same name."""
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

    def forget_before(self, offset: int) -> None:
        """Drop what tells nothing of the offsets from here on."""
        known = bisect_right(self._end, offset) - 1
        if known > 0:
            del self._at[:known], self._end[:known]

    def around(self, offset: int) -> tuple[tuple[float, int] | None, tuple[float, int] | None]:
        """Return the last point at which the record of this offset was not there yet, and the first at which it was."""
        index = bisect_right(self._end, offset)
        before = (self._at[index - 1], self._end[index - 1]) if index else None
        after = (self._at[index], self._end[index]) if index < len(self._end) else None
        return before, after

    def slope(self) -> float:
        """Return the records a second from the oldest to the newest point; 0 if that says nothing."""
        seconds = self._at[-1] - self._at[0] if self._at else 0.0
        return (self._end[-1] - self._end[0]) / seconds if seconds > 0 else 0.0

    def _thin(self, now: float) -> None:
        at, end = [self._at[-1]], [self._end[-1]]
        for index in range(len(self._at) - 2, 0, -1):
            if at[-1] - self._at[index - 1] > GROWTH * (now - at[-1]):
                at.append(self._at[index])
                end.append(self._end[index])
        at.append(self._at[0])
        end.append(self._end[0])
        # Without room left the oldest goes: what lies before it can still be extrapolated.
        self._at = array("d", reversed(at[:POINTS_MAX]))
        self._end = array("q", reversed(end[:POINTS_MAX]))


@dataclass(slots=True)
class LagWindow:
    """What a group did of late on one partition: the last observations, and the facts that outlive them.

    It holds the last ten observations, and all of the last ``span`` seconds. ``usual_wait`` is how long the group has
    usually let records lie before its committed offset moved: who commits once a minute is not stalled between two
    commits. ``waiting_since`` is since when there has been something to do and no movement, None without lag.
    ``went_back_at`` is when the offsets last went back, and ``regain`` what was committed before that.
    """

    observations: list[Observation] = field(default_factory=list)
    usual_wait: float = 0.0
    waiting_since: float | None = None
    went_back_at: float | None = None
    regain: int = 0

    @property
    def span(self) -> float:
        """How many seconds without movement are too many."""
        return min(max(SPAN_SECONDS, WAITS * self.usual_wait), SPAN_SECONDS_MAX)

    @property
    def last(self) -> Observation:
        """The newest observation. Raises IndexError if there is none."""
        return self.observations[-1]

    def silence(self, now: float) -> float:
        """Return for how long there has been something to do and nothing was done."""
        return 0.0 if self.waiting_since is None else max(0.0, now - self.waiting_since)

    def add(self, seen: Observation) -> None:
        """Note an observation; one that is not later than the last is passed over."""
        last = self.observations[-1] if self.observations else None
        if last is not None and seen.at <= last.at:
            return
        moved = last is not None and seen.done != last.done
        if last is not None and (seen.done < last.done or seen.end < last.end):
            self._went_back(seen, last)
        elif self.went_back_at is not None and seen.done >= self.regain:
            self.went_back_at = None
        if moved and self.waiting_since is not None:
            wait = min(seen.at - self.waiting_since, SPAN_SECONDS_MAX / WAITS)
            self.usual_wait += (NEWEST_WEIGHS if self.usual_wait else 1.0) * (wait - self.usual_wait)
        if not seen.lag:
            self.waiting_since = None
        elif moved or self.waiting_since is None:
            self.waiting_since = seen.at
        self.observations.append(seen)
        oldest_needed = seen.at - self.span
        while len(self.observations) > OBSERVATIONS and self.observations[1].at <= oldest_needed:
            del self.observations[0]

    def _went_back(self, seen: Observation, last: Observation) -> None:
        self.regain = max(last.done, self.regain if self.went_back_at is not None else 0)
        self.went_back_at = seen.at
        if seen.end < last.end:  # another topic: rates across the two would mean nothing
            self.observations.clear()
