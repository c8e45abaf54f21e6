"""The metric catalogue of the lag exporter: the lag of consumer groups of any application.

All groups are measured in one pass, so the page of a pass is rendered once and served to every scraper. While Kafka
does not answer, the page has no group metrics: unknown is not zero.
"""

import io
import threading
from collections.abc import Iterator
from typing import Any

from prometheus_client.exposition import choose_encoder

from surgetank.telemetry.bulk_exposition import pages
from surgetank.telemetry.catalogue import Catalogue
from surgetank.telemetry.kinds import Counter, Gauge, Histogram, Label, Metric

GROUP = Label("group", shape=r"[^\n]{1,255}", bound=10_000)
TOPIC = Label("topic", shape=r"[a-zA-Z0-9._-]{1,249}", bound=10_000)
PARTITION = Label("partition", shape=r"[0-9]{1,6}", bound=10_000)
OF_GROUP = (GROUP, TOPIC, PARTITION)
_END = b"# EOF\n"
PASS_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 60, 120)


class GroupMetrics(Catalogue):
    """Every metric of the exporter. Each instance has its own values and its own registry."""

    def __init__(self) -> None:
        # Per group and partition with a committed offset.
        self.group_lag_records = Gauge(
            "group_lag", "Records between the committed offset and the last stable offset.", OF_GROUP, unit="records"
        )
        self.group_open_transaction_records = Gauge(
            "group_open_transaction",
            "Records from the last stable offset to the high watermark, behind an open transaction of a producer: they "
            "cannot be read yet, and do not count as lag. Absent if there are none.",
            OF_GROUP,
            unit="records",
        )
        self.group_open_transaction_seconds = Gauge(
            "group_open_transaction",
            "Time for which an open transaction of a producer has held the last stable offset back.",
            OF_GROUP,
            unit="seconds",
        )
        self.group_lag_seconds = Gauge("group_lag", "Age of the oldest uncommitted record.", OF_GROUP, unit="seconds")
        self.group_lag_seconds_how = Gauge(
            "group_lag_seconds_how",
            "The method of group_lag_seconds: 0 no lag, 1 record timestamp, 2 interpolated, 3 extrapolated, "
            "4 bounded, because the timestamp is implausible.",
            OF_GROUP,
        )
        self.group_lag_status = Gauge(
            "group_lag_status", "Status of a group on a partition: 0 ok, 1 warn, 2 stall, 3 stop, 4 rewind.", OF_GROUP
        )
        self.group_committed_offset = Gauge("group_committed_offset", "The committed offset.", OF_GROUP)
        self.group_log_end_offset = Gauge(
            "group_log_end_offset", "The last stable offset: the end for read_committed consumers.", OF_GROUP
        )
        self.group_arrival_records_per_second = Gauge(
            "group_arrival_records_per_second", "Recent rate at which records arrive, per partition.", OF_GROUP
        )
        self.group_processing_records_per_second = Gauge(
            "group_processing_records_per_second", "Recent rate at which a group commits records.", OF_GROUP
        )
        self.group_drain_seconds = Gauge(
            "group_drain",
            "Time until the lag of a group is 0 at the present rates; +Inf if it does not shrink.",
            OF_GROUP,
            unit="seconds",
        )
        self.group_status = Gauge(
            "group_status", "The worst status of a group's partitions, with the numbers of group_lag_status.", (GROUP,)
        )

        # The exporter itself.
        self.exporter_up = Gauge("exporter_up", "1 if Kafka answered the last pass, else 0.")
        self.exporter_pass_seconds = Histogram(
            "exporter_pass",
            "Duration of one pass over all groups.",
            unit="seconds",
            buckets=PASS_SECONDS,
        )
        self.exporter_passes_failed = Counter(
            "exporter_passes_failed", "Passes without an answer from Kafka, or with a late answer."
        )
        self.exporter_requests = Gauge(
            "exporter_requests", "Requests of all kinds that the last pass sent to the brokers."
        )
        self.exporter_answered_timestamp_seconds = Gauge(
            "exporter_answered_timestamp",
            "Time of Kafka's answers on this page, since the epoch.",
            unit="seconds",
        )
        self.exporter_groups = Gauge("exporter_groups", "Groups on the page of the last pass.")
        self.exporter_groups_unknown = Gauge(
            "exporter_groups_unknown", "Groups whose offsets Kafka did not return in the last pass."
        )
        self.exporter_groups_left_out = Gauge(
            "exporter_groups_left_out", "Groups that the last pass omitted because of the limits of the page."
        )
        self.ready = Gauge("ready", "1 if /ready answers with 200, else 0.")

        super().__init__()
        self._lock = threading.Lock()
        self._pages: dict[str, bytes] = {}

    @property
    def of_groups(self) -> tuple[Gauge, ...]:
        """Return the gauges with the label group."""
        return tuple(
            metric for metric in self if isinstance(metric, Gauge) and metric.labels and metric.labels[0] is GROUP
        )

    def clear_groups(self) -> None:
        """Remove the values of all groups, because Kafka does not answer."""
        for metric in self.of_groups:
            metric.replace({})

    def invalidate_page(self) -> None:
        """Discard the rendered page; the next scrape renders the current values."""
        with self._lock:
            self._pages = {}

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """Return the page of the last pass and its content type; it is rendered once per content type."""
        _, content_type = choose_encoder(accept)
        with self._lock:
            if content_type not in self._pages:
                own = super().expose(accept)[0]
                page = io.BytesIO()  # getvalue does not copy the parts, unlike join
                for part in pages(self.of_groups, openmetrics=own.endswith(_END)):
                    page.write(part)
                page.write(own)  # OpenMetrics requires its EOF marker at the end
                self._pages[content_type] = page.getvalue()
            return self._pages[content_type], content_type

    def library_metrics(self) -> Iterator[Metric[Any]]:
        """Yield the metrics without the label group; prometheus_client renders them."""
        groups = set(map(id, self.of_groups))
        return (metric for metric in self if id(metric) not in groups)
