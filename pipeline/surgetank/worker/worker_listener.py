"""Listens to the runtime of one worker: logs anomalies and writes anomalies and rebalances to the timeline."""

import logging
import queue
from collections.abc import Mapping

from surgetank.anomalies.anomaly_monitor import AnomalyMonitor
from surgetank.records import TopicPartition
from surgetank.runtime.observer import Move
from surgetank.telemetry.logs import event
from surgetank.timeline.timeline_reporter import TimelineReporter

log = logging.getLogger(__name__)


class WorkerListener:
    """A ``RuntimeObserver``. Errors are logged and not raised."""

    def __init__(self, anomalies: AnomalyMonitor, timeline: TimelineReporter) -> None:
        self._anomalies = anomalies
        self._timeline = timeline
        self._opened: queue.SimpleQueue[int] = queue.SimpleQueue()  # collected into one timeline event

    def looked(self, ends: Mapping[TopicPartition, int]) -> None:
        """Evaluate the detectors; log and report each anomaly that starts or ends."""
        try:
            for change in self._anomalies.evaluate(ends):
                event(
                    log,
                    "anomaly_begins" if change.begins else "anomaly_ends",
                    level=logging.WARNING if change.begins else logging.INFO,
                    signal=change.signal,
                    score=change.score,
                    why=change.why,
                )
                self._timeline.anomaly(change.signal, begins=change.begins, score=change.score, why=change.why)
            if opened := [self._opened.get_nowait() for _ in range(self._opened.qsize())]:
                self._timeline.opened(opened)
        except Exception:
            log.exception("anomaly evaluation failed; scoring continues")

    def expired(self, source: TopicPartition, records: int) -> None:
        """Report records that retention deleted before they were read."""
        try:
            self._timeline.expired(source, records)
        except Exception:
            log.exception("expired records were not reported to the timeline; scoring continues")

    def moved(self, change: Move, partitions: list[int]) -> None:
        """Report a rebalance; opened tasks are reported with the next call of ``looked``."""
        try:
            if change == "opened":
                for partition in partitions:
                    self._opened.put(partition)
            else:
                self._timeline.rebalanced(change, partitions)
        except Exception:
            log.exception("a rebalance was not reported to the timeline; scoring continues")
