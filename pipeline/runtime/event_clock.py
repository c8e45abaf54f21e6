"""A clock that agrees with the timestamps of the events, also where the clock of this worker is wrong.

Brokers do not report their time, so the difference is estimated from the timestamps of the events (of their producers,
or of the brokers with ``message.timestamp.type=LogAppendTime``) and the monotonic clock:

- If most of the events come from the future, the clock of this worker is behind.
- An event beyond the end that its log had when its task was opened has arrived since. If all of these events seem to
  be older, the clock is ahead, by the smallest age of any event: a clock that is ahead makes every event older, whereas
  late and replayed events come among younger ones.
- A jump of the clock against the monotonic clock changes the difference by the jump.

Events of a backlog are no sign of a clock that is ahead: they may be as old as they seem. A young event disproves it
until the clock jumps.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from math import inf
from statistics import median

from pipeline.clock import Clock
from pipeline.records import PartitionRecords, TopicPartition
from pipeline.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

TOLERANCE_SECONDS = 10.0
SAMPLES = 31
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
        self._ahead = self._reported = 0.0

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

    def fetched(self, records: Iterable[PartitionRecords]) -> None:
        """Take the last event of each partition that was read just now."""
        monotonic, now = self._clock.monotonic(), self._clock.now()
        with self._lock:
            self._follow_jump(now - monotonic)
            for each in records:
                if len(each) and each.arrived_ms[-1] >= 0:
                    self._add(each.source, int(each.offsets[-1]), now - int(each.arrived_ms[-1]) / 1000, monotonic)
            self._estimate()
            difference = self._difference()
            report = len(self._ages) >= SAMPLES_MIN and abs(difference - self._reported) > TOLERANCE_SECONDS
            self._reported = difference if report else self._reported
        if report:
            self._metrics.clock_difference_seconds.set(difference)
            self._log(difference)

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
        if abs(jump) > TOLERANCE_SECONDS:
            self._ahead = max(0.0, self._difference() + jump)
            self._ages = deque((age + jump for age in self._ages), SAMPLES)
            self._new.clear()

    def _difference(self) -> float:
        """Return by how many seconds the clock is ahead; negative: behind; 0 within the tolerance."""
        if self._ages and (behind := median(self._ages)) < -TOLERANCE_SECONDS:
            return behind
        return self._ahead if self._ahead > TOLERANCE_SECONDS else 0.0

    def _log(self, difference: float) -> None:
        if not difference:
            log.info("the clock of this worker agrees with the timestamps of the events again")
            return
        log.warning(
            "the clock of this worker is %.0f s %s the timestamps of the events: set it, or the clocks of the "
            "producers (with message.timestamp.type=LogAppendTime: of the brokers); latency and lag are corrected",
            *(abs(difference), "ahead of" if difference > 0 else "behind"),
        )
