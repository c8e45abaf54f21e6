"""Witnesses what one worker sees and does: what is unusual goes to the log, and what happens to the timeline."""

import logging
import queue
from collections.abc import Mapping

from pipeline.anomalies.anomaly_monitor import AnomalyMonitor
from pipeline.records import TopicPartition
from pipeline.runtime.observer import Move
from pipeline.telemetry.logs import event
from pipeline.timeline.timeline_reporter import TimelineReporter

log = logging.getLogger(__name__)


class WorkerListener:
    """The runtime's observer. Whatever goes wrong here is logged and goes no further."""

    def __init__(self, watch: AnomalyMonitor, story: TimelineReporter) -> None:
        self._watch = watch
        self._story = story
        self._opened: queue.SimpleQueue[int] = queue.SimpleQueue()  # many at a time: they are told together

    def looked(self, ends: Mapping[TopicPartition, int]) -> None:
        """Judge what was seen since the last look, and tell what begins or ends."""
        try:
            for change in self._watch.look(ends):
                event(
                    log,
                    "anomaly_begins" if change.begins else "anomaly_ends",
                    level=logging.WARNING if change.begins else logging.INFO,
                    signal=change.signal,
                    score=change.score,
                    why=change.why,
                )
                self._story.anomaly(change.signal, begins=change.begins, score=change.score, why=change.why)
            if opened := [self._opened.get_nowait() for _ in range(self._opened.qsize())]:
                self._story.opened(opened)
        except Exception:
            log.exception("a look at what is unusual failed; the work is not touched by that")

    def moved(self, change: Move, partitions: list[int]) -> None:
        """Tell of a rebalance; tasks that were opened are told with the next look."""
        try:
            if change == "opened":
                for partition in partitions:
                    self._opened.put(partition)
            else:
                self._story.rebalanced(change, partitions)
        except Exception:
            log.exception("a rebalance could not be told; the work is not touched by that")
