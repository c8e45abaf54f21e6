"""The lag exporter: looks at all consumer groups at an interval and tells what it saw, however many scrapers there are.

A look is one pass over the cluster, made by a process of its own (``asking``); scrapes are answered from what the last
pass found and never ask Kafka. A pass without an answer takes all figures of groups away and says ``exporter_up`` 0.
"""

import logging
import threading
from typing import Protocol

from pipeline.clock import Clock
from pipeline.errors import BrokerError
from pipeline.kafka.offset_collector import CollectedOffsets, OffsetQuery
from pipeline.lag.lag_evaluator import LagEvaluator, PartitionStatus
from pipeline.lag.partition_offsets import partition_offsets
from pipeline.lag.rules import worst
from pipeline.settings import ExporterSettings
from pipeline.telemetry.groups import GROUP, GroupMetrics
from pipeline.telemetry.health import Health
from pipeline.telemetry.kinds import Gauge

log = logging.getLogger(__name__)

BEAT_SLACK_SECONDS = 30.0  # beyond interval and answer: judging and telling of very many groups

Key = tuple[str, str, str]


class OffsetSource(Protocol):
    """Asks Kafka; the real one is ``asking.Asking``."""

    def ask(self, question: OffsetQuery, timeout: float) -> CollectedOffsets:
        """Return the answer. Raises BrokerError if there is none in time."""
        ...


class Exporter:
    """Makes one pass after another into the metrics. For one thread."""

    def __init__(
        self, settings: ExporterSettings, asks: OffsetSource, metrics: GroupMetrics, health: Health, clock: Clock
    ) -> None:
        self._settings = settings
        self._asks = asks
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._evaluator = LagEvaluator()
        self._question = OffsetQuery(pattern=settings.groups, heads_max=settings.heads_max)
        self._numbers: dict[int, str] = {}  # of partitions, as text: one value for each
        metrics.exporter_up.set(0)

    def run(self, stopping: threading.Event) -> None:
        """Look at the interval until it is time to stop. A pass that takes longer delays the next one."""
        deadline = self._settings.interval_seconds + self._settings.answer_seconds + BEAT_SLACK_SECONDS
        self._health.watch("passes", deadline_seconds=deadline)
        while not stopping.is_set():
            started = self._clock.monotonic()
            self._health.beat("passes")
            self.look(stopping)
            stopping.wait(max(0.0, self._settings.interval_seconds - (self._clock.monotonic() - started)))

    def look(self, stopping: threading.Event | None = None) -> bool:
        """Make one pass; return whether Kafka answered. One that is interrupted by stopping counts for nothing."""
        started = self._clock.monotonic()
        try:
            survey = self._asks.ask(self._question, self._settings.answer_seconds)
        except BrokerError as error:
            if stopping is not None and stopping.is_set():
                return False
            self._away(str(error))
            answered = False
        else:
            self._tell(survey)
            answered = True
        self._metrics.exporter_pass_seconds.observe(self._clock.monotonic() - started)
        self._metrics.invalidate_page()
        return answered

    def _away(self, why: str) -> None:
        if self._metrics.exporter_up.value() or not self._metrics.exporter_passes_failed.value():
            log.warning("lag is not known: %s", why)
        self._metrics.exporter_up.set(0)
        self._metrics.exporter_passes_failed.add(1)
        self._metrics.clear_groups()
        self._health.set("kafka", False, why)

    def _tell(self, survey: CollectedOffsets) -> None:
        now = self._clock.monotonic() - survey.old_seconds
        wall = self._clock.now() - survey.old_seconds
        self._evaluator.add_end_offsets(now, {source: end for source, (_, end) in survey.bounds.items()})
        page = _Page(self._metrics)
        left_out = 0
        for group in sorted(survey.groups):
            answer = survey.groups[group]
            found = partition_offsets(answer, survey, now - wall)
            verdicts = self._evaluator.evaluate(now, group, found, answer.members)
            if page.partitions + len(verdicts) > self._settings.partitions_max or not page.takes(group):
                left_out += 1
            else:
                page.add(group, verdicts, self._numbers)
        self._evaluator.expire(now)
        page.publish()
        if left_out and not self._metrics.exporter_groups_left_out.value():
            log.warning(
                "%d groups are not on the page; narrow exporter.groups, raise exporter.partitions_max", left_out
            )
        self._metrics.exporter_up.set(1)
        self._metrics.exporter_requests.set(survey.requests)
        self._metrics.exporter_answered_timestamp_seconds.set(wall)
        self._metrics.exporter_groups.set(page.groups)
        self._metrics.exporter_groups_left_out.set(left_out)
        self._metrics.exporter_groups_unknown.set(len(survey.unknown))
        self._health.set("kafka", True)


class _Page:
    """Collects what is told of all groups, then sets all of it at once."""

    def __init__(self, metrics: GroupMetrics) -> None:
        self._metrics = metrics
        self._values: dict[Gauge, dict[Key, float]] = {
            gauge: {} for gauge in metrics.of_groups if gauge is not metrics.group_status
        }
        self._status: dict[tuple[str], float] = {}
        self.partitions = 0

    @property
    def groups(self) -> int:
        """How many groups are on it."""
        return len(self._status)

    def takes(self, group: str) -> bool:
        """Whether the name can be a label and there is room for one more."""
        return not GROUP.rejection(group) and self.groups < GROUP.bound

    def add(self, group: str, verdicts: list[PartitionStatus], numbers: dict[int, str]) -> None:
        """Add a group."""
        metrics, values = self._metrics, self._values
        self._status[group,] = worst(verdict.status for verdict in verdicts)
        self.partitions += len(verdicts)
        for verdict in verdicts:
            standing = verdict.offsets
            topic, partition = standing.source
            key = (group, topic, numbers.setdefault(partition, str(partition)))
            values[metrics.group_lag_records][key] = verdict.lag
            values[metrics.group_lag_status][key] = verdict.status
            values[metrics.group_log_end_offset][key] = standing.end
            if standing.committed is not None:
                values[metrics.group_committed_offset][key] = standing.committed
            if verdict.seconds is not None:
                values[metrics.group_lag_seconds][key] = verdict.seconds.seconds
                values[metrics.group_lag_seconds_how][key] = verdict.seconds.how
            for gauge, value in (
                (metrics.group_arrival_records_per_second, verdict.rates.arrival),
                (metrics.group_processing_records_per_second, verdict.rates.processing),
                (metrics.group_drain_seconds, verdict.rates.drain),
            ):
                if value is not None:
                    values[gauge][key] = value

    def publish(self) -> None:
        """Set everything that was collected; whatever is not in it vanishes."""
        while self._values:  # what is set is let go: of very many groups it is much
            gauge, values = self._values.popitem()
            gauge.replace(values)
        self._metrics.group_status.replace(self._status)
