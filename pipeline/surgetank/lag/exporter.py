"""The lag exporter: reads the state of all consumer groups at an interval, for any number of scrapers.

Each interval has one pass over the cluster, in a separate process (``offset_collector_process``); scrapes return the
result of the last pass and send no request to Kafka. A pass that fails removes all metrics of groups and sets
``exporter_up`` to 0.
"""

import logging
import threading
from typing import Protocol

from surgetank.clock import Clock
from surgetank.errors import BrokerError
from surgetank.kafka.offset_collector import CollectedOffsets, OffsetQuery
from surgetank.lag.lag_evaluator import LagEvaluator, PartitionStatus
from surgetank.lag.partition_offsets import partition_offsets
from surgetank.lag.rules import worst
from surgetank.settings import ExporterSettings
from surgetank.telemetry.groups import GROUP, GroupMetrics
from surgetank.telemetry.health import Health
from surgetank.telemetry.kinds import Gauge

log = logging.getLogger(__name__)

BEAT_SLACK_SECONDS = 30.0  # beyond interval and response: evaluating and publishing very many groups

Key = tuple[str, str, str]


class OffsetSource(Protocol):
    """Collects offsets from Kafka; implemented by ``offset_collector_process.OffsetCollectorProcess``."""

    def ask(self, query: OffsetQuery, timeout: float) -> CollectedOffsets:
        """Return the collected offsets. Raises BrokerError if there is no response in time."""
        ...


class Exporter:
    """Makes one pass after another and publishes its metrics. For one thread."""

    def __init__(
        self, settings: ExporterSettings, source: OffsetSource, metrics: GroupMetrics, health: Health, clock: Clock
    ) -> None:
        self._settings = settings
        self._source = source
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._evaluator = LagEvaluator()
        self._query = OffsetQuery(pattern=settings.groups, heads_max=settings.heads_max)
        self._numbers: dict[int, str] = {}  # partition numbers as text, one object for each
        metrics.exporter_up.set(0)

    def run(self, stopping: threading.Event) -> None:
        """Make a pass at each interval until ``stopping`` is set. A longer pass delays the next one."""
        deadline = self._settings.interval_seconds + self._settings.answer_seconds + BEAT_SLACK_SECONDS
        self._health.watch("passes", deadline_seconds=deadline)
        while not stopping.is_set():
            started = self._clock.monotonic()
            self._health.beat("passes")
            self.measure(stopping)
            stopping.wait(max(0.0, self._settings.interval_seconds - (self._clock.monotonic() - started)))

    def measure(self, stopping: threading.Event | None = None) -> bool:
        """Make one pass; return whether Kafka answered. A pass interrupted by ``stopping`` is not counted."""
        started = self._clock.monotonic()
        try:
            collected = self._source.ask(self._query, self._settings.answer_seconds)
        except BrokerError as error:
            if stopping is not None and stopping.is_set():
                return False
            self._report_failure(str(error))
            answered = False
        else:
            self._publish(collected)
            answered = True
        self._metrics.exporter_pass_seconds.observe(self._clock.monotonic() - started)
        self._metrics.invalidate_page()
        return answered

    def _report_failure(self, why: str) -> None:
        if self._metrics.exporter_up.value() or not self._metrics.exporter_passes_failed.value():
            log.warning("lag is not known: %s", why)
        self._metrics.exporter_up.set(0)
        self._metrics.exporter_passes_failed.add(1)
        self._metrics.clear_groups()
        self._health.set("kafka", False, why)

    def _publish(self, collected: CollectedOffsets) -> None:
        now = self._clock.monotonic() - collected.old_seconds
        wall = self._clock.now() - collected.old_seconds
        self._evaluator.add_end_offsets(
            now, {source: end for source, (_, end) in collected.bounds.items()}, collected.high_watermarks
        )
        page = _Page(self._metrics)
        left_out = 0
        for group in sorted(collected.groups):
            description = collected.groups[group]
            offsets = partition_offsets(description, collected, now - wall)
            statuses = self._evaluator.evaluate(now, group, offsets, description.members)
            if page.partitions + len(statuses) > self._settings.partitions_max or not page.takes(group):
                left_out += 1
            else:
                page.add(group, statuses, self._numbers)
        self._evaluator.expire(now)
        page.publish()
        if left_out and not self._metrics.exporter_groups_left_out.value():
            log.warning(
                "%d groups are not on the page; narrow exporter.groups, raise exporter.partitions_max", left_out
            )
        self._metrics.exporter_up.set(1)
        self._metrics.exporter_requests.set(collected.requests)
        self._metrics.exporter_answered_timestamp_seconds.set(wall)
        self._metrics.exporter_groups.set(page.groups)
        self._metrics.exporter_groups_left_out.set(left_out)
        self._metrics.exporter_groups_unknown.set(len(collected.unknown))
        self._health.set("kafka", True)


class _Page:
    """Collects the metrics of all groups, then publishes them together."""

    def __init__(self, metrics: GroupMetrics) -> None:
        self._metrics = metrics
        self._values: dict[Gauge, dict[Key, float]] = {
            gauge: {} for gauge in metrics.of_groups if gauge is not metrics.group_status
        }
        self._status: dict[tuple[str], float] = {}
        self.partitions = 0

    @property
    def groups(self) -> int:
        """The number of groups on the page."""
        return len(self._status)

    def takes(self, group: str) -> bool:
        """Whether the name is a valid label and another group fits."""
        return not GROUP.rejection(group) and self.groups < GROUP.bound

    def add(self, group: str, statuses: list[PartitionStatus], numbers: dict[int, str]) -> None:
        """Add a group."""
        metrics = self._metrics
        self._status[group,] = worst(each.status for each in statuses)
        self.partitions += len(statuses)
        for each in statuses:
            topic, partition = each.offsets.source
            key = (group, topic, numbers.setdefault(partition, str(partition)))
            seconds, how = each.seconds or (None, None)
            held_back, held_seconds = each.held_back or (None, None)
            for gauge, value in (
                (metrics.group_lag_records, each.lag),
                (metrics.group_lag_status, each.status),
                (metrics.group_open_transaction_records, held_back),
                (metrics.group_open_transaction_seconds, held_seconds),
                (metrics.group_log_end_offset, each.offsets.end),
                (metrics.group_committed_offset, each.offsets.committed),
                (metrics.group_lag_seconds, seconds),
                (metrics.group_lag_seconds_how, how),
                (metrics.group_arrival_records_per_second, each.rates.arrival),
                (metrics.group_processing_records_per_second, each.rates.processing),
                (metrics.group_drain_seconds, each.rates.drain),
            ):
                if value is not None:
                    self._values[gauge][key] = value

    def publish(self) -> None:
        """Publish all collected metrics; metrics that were not collected are removed."""
        while self._values:  # frees published values, which take much memory with very many groups
            gauge, values = self._values.popitem()
            gauge.replace(values)
        self._metrics.group_status.replace(self._status)
