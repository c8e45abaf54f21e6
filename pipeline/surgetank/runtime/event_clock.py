"""A clock that agrees with the timestamps of the events, also where the clock of this worker is wrong.

Brokers report their time only with a record for a topic with ``message.timestamp.type=LogAppendTime``, as the timeline
has it. So the difference is known from each record that this worker writes there. Without such a topic, and after a
jump of the clock until the next such record, it is estimated from the timestamps of the events (of their producers, or
of the brokers with ``LogAppendTime``) and the monotonic clock:

- If most of the events come from the future, the clock of this worker is behind.
- An event beyond the end that its log had when its task was opened has arrived since. If all of these events seem to
  be older, the clock is ahead, by the smallest age of any event: a clock that is ahead makes every event older, whereas
  late and replayed events come among younger ones.
- A jump of the clock against the monotonic clock changes the difference by the jump.

Events of a backlog are no sign of a clock that is ahead: they may be as old as they seem. A young event disproves it
until the clock jumps. So an estimate misses a clock that is ahead while a backlog is read, and takes a stream that is
always late for one; the brokers' time does neither. It is outvoted if most of the events come from its future. A clock
that drifts slowly is seen with the next timeline event of the worker.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from math import inf
from statistics import median

from surgetank.clock import Clock
from surgetank.records import PartitionRecords, TopicPartition
from surgetank.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

TOLERANCE_SECONDS = 10.0
SAMPLES = 31
ROUND_TRIP_SECONDS = 5.0  # of a record whose time at the broker counts: it is as exact as this
LINES_MAX = 5  # a minute: producers with wrong clocks may take turns
LINES_SECONDS = 60.0
SAMPLES_MIN = 7  # before a difference is logged: events of a wrong producer clock are soon outnumbered


class EventClock:
    """A ``Clock`` without the difference between this worker's clock and those of the events. For any thread."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.Lock()
        self._offset = clock.now() - clock.monotonic()
        self._opened: dict[TopicPartition, tuple[float, int]] = {}  # monotonic time, and the high watermark then
        self._ages: deque[float] = deque(maxlen=SAMPLES)
        self._least = inf  # the smallest age of an event, by the clock as it is now
        self._new: deque[bool] = deque(maxlen=SAMPLES)  # events since the opening: whether too old for that
        self._ahead = self._logged = 0.0
        self._lines: deque[float] = deque(maxlen=LINES_MAX)  # monotonic times of the last log lines
        self._from_brokers: float | None = None  # this clock less that of the brokers

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes backwards."""
        return self._clock.monotonic()

    def now(self) -> float:
        """Return seconds since the epoch, by the clocks that stamp the events."""
        monotonic, now = self._clock.monotonic(), self._clock.now()
        with self._lock:
            self._follow_jump(now - monotonic)
            return now - self._difference()

    def opened(self, ends: Mapping[TopicPartition, int]) -> None:
        """Take the high watermarks of partitions as of now: later events arrive from now on."""
        now = self._clock.monotonic()
        with self._lock:
            self._opened |= {source: (now, end) for source, end in ends.items()}

    def appended(self, sent: float, at_ms: int) -> None:
        """Take the time at which a broker appended a record that was sent at ``sent`` (monotonic), acknowledged now.

        ``at_ms`` is in milliseconds since the epoch. The record may have waited for the brokers, or been sent twice:
        then it is no evidence.
        """
        monotonic, now = self._clock.monotonic(), self._clock.now()
        with self._lock:
            self._follow_jump(now - monotonic)
            if monotonic - sent > ROUND_TRIP_SECONDS:
                return
            self._from_brokers = now - at_ms / 1000
            difference, log_it = self._to_report(monotonic)
        self._report(difference, log_it=log_it)

    def fetched(self, records: Iterable[PartitionRecords]) -> None:
        """Take the last event of each partition that was read just now."""
        monotonic, now = self._clock.monotonic(), self._clock.now()
        with self._lock:
            self._follow_jump(now - monotonic)
            for each in records:
                if len(each) and each.arrived_ms[-1] >= 0:
                    self._add(each.source, int(each.offsets[-1]), now - int(each.arrived_ms[-1]) / 1000, monotonic)
            self._estimate()
            difference, log_it = self._to_report(monotonic)
        self._report(difference, log_it=log_it)

    def _add(self, source: TopicPartition, offset: int, age: float, monotonic: float) -> None:
        self._ages.append(age)
        self._least = min(self._least, age)
        since, end = self._opened.get(source, (0.0, 1 << 63))
        if offset >= end:
            self._new.append(age - (monotonic - since) > TOLERANCE_SECONDS)

    def _estimate(self) -> None:
        most = max(0.0, self._least)
        self._ahead = most if self._new and all(self._new) else min(self._ahead, most)

    def _follow_jump(self, offset: float) -> None:
        jump, self._offset = offset - self._offset, offset
        self._least += jump
        if abs(jump) <= TOLERANCE_SECONDS:
            self._from_brokers = None if self._from_brokers is None else self._from_brokers + jump
        else:
            self._ahead = max(0.0, self._difference() + jump)
            self._ages = deque((age + jump for age in self._ages), SAMPLES)
            self._new.clear()
            self._from_brokers = None  # a machine that was suspended looks like a clock that jumped

    def _difference(self) -> float:
        """Return by how many seconds the clock is ahead; negative: behind; 0 within the tolerance."""
        known = self._from_brokers
        least = 0.0 if known is None else known
        found = self._ahead if known is None else known
        if self._ages and (middle := median(self._ages)) < least - TOLERANCE_SECONDS:
            found = middle
        return found if abs(found) > TOLERANCE_SECONDS else 0.0

    def _to_report(self, monotonic: float) -> tuple[float, bool]:
        """Return the difference, and whether to log it: it is another than the last logged one."""
        difference = self._difference()
        evident = self._from_brokers is not None or len(self._ages) >= SAMPLES_MIN
        if not evident:
            return self._logged, False
        crowded = len(self._lines) == LINES_MAX and monotonic - self._lines[0] < LINES_SECONDS
        log_it = abs(difference - self._logged) > TOLERANCE_SECONDS and not crowded
        if log_it:
            self._logged = difference
            self._lines.append(monotonic)
        return difference, log_it

    def _report(self, difference: float, *, log_it: bool) -> None:
        self._metrics.clock_difference_seconds.set(difference)
        if not log_it:
            return
        if not difference:
            log.info("the clock of this worker agrees with the timestamps of the events again")
            return
        log.warning(
            "the clock of this worker is %.0f s %s those of the brokers or of the events' producers: set it, or the "
            "clocks of those; latency and lag are corrected",
            *(abs(difference), "ahead of" if difference > 0 else "behind"),
        )
