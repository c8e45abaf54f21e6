"""The catalogue of the lag exporter's metrics: how far consumer groups of any application are behind.

What is known of groups is measured as a whole, pass by pass, so the page of a pass is made once and given to every
scraper as it is: ten of them cost what one does. While Kafka does not answer there are no figures of groups at all:
unknown is not zero.
"""

import io
import threading
from collections.abc import Iterator
from typing import Any

from prometheus_client.exposition import choose_encoder

from pipeline.telemetry.bulk_exposition import pages
from pipeline.telemetry.catalogue import Catalogue
from pipeline.telemetry.kinds import Counter, Gauge, Histogram, Label, Metric

GROUP = Label("group", shape=r"[^\n]{1,255}", bound=10_000)
TOPIC = Label("topic", shape=r"[a-zA-Z0-9._-]{1,249}", bound=10_000)
PARTITION = Label("partition", shape=r"[0-9]{1,6}", bound=10_000)
OF_GROUP = (GROUP, TOPIC, PARTITION)
_END = b"# EOF\n"
PASS_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 60, 120)


class GroupMetrics(Catalogue):
    """Every metric of the exporter. Each instance has its own values and its own registry."""

    def __init__(self) -> None:
        # What each group has done of each partition that it committed to.
        self.group_lag_records = Gauge(
            "group_lag", "Records between what is committed and the last stable offset.", OF_GROUP, unit="records"
        )
        self.group_lag_seconds = Gauge(
            "group_lag", "Age of the oldest record that is not committed.", OF_GROUP, unit="seconds"
        )
        self.group_lag_seconds_how = Gauge(
            "group_lag_seconds_how",
            "How group_lag_seconds is known: 0 no lag, 1 the record's own time, 2 interpolated, 3 extrapolated, "
            "4 bounded, because the record's time cannot be.",
            OF_GROUP,
        )
        self.group_lag_status = Gauge(
            "group_lag_status", "How a group does on a partition: 0 ok, 1 warn, 2 stall, 3 stop, 4 rewind.", OF_GROUP
        )
        self.group_committed_offset = Gauge("group_committed_offset", "The offset that is committed.", OF_GROUP)
        self.group_log_end_offset = Gauge(
            "group_log_end_offset", "The last stable offset: what readers of committed records can reach.", OF_GROUP
        )
        self.group_arrival_records_per_second = Gauge(
            "group_arrival_records_per_second", "Rate at which records come in, of late, per partition.", OF_GROUP
        )
        self.group_processing_records_per_second = Gauge(
            "group_processing_records_per_second", "Rate at which a group commits records, of late.", OF_GROUP
        )
        self.group_drain_seconds = Gauge(
            "group_drain",
            "Time until a group has worked its lag off at the present rates; +Inf when it does not shrink.",
            OF_GROUP,
            unit="seconds",
        )
        self.group_status = Gauge(
            "group_status", "The worst status of a group's partitions, with the same numbers.", (GROUP,)
        )

        # The exporter itself.
        self.exporter_up = Gauge("exporter_up", "1 if the last pass had its answers from Kafka, else 0.")
        self.exporter_pass_seconds = Histogram(
            "exporter_pass",
            "Time that one pass over all groups took.",
            unit="seconds",
            buckets=PASS_SECONDS,
        )
        self.exporter_passes_failed = Counter(
            "exporter_passes_failed", "Passes that had no answer from Kafka, or not in time."
        )
        self.exporter_requests = Gauge(
            "exporter_requests", "Requests that the last pass sent to the brokers, all kinds together."
        )
        self.exporter_answered_timestamp_seconds = Gauge(
            "exporter_answered_timestamp",
            "When Kafka told what is on this page, since the epoch.",
            unit="seconds",
        )
        self.exporter_groups = Gauge("exporter_groups", "Groups that the last pass found and told of.")
        self.exporter_groups_unknown = Gauge(
            "exporter_groups_unknown", "Groups that are there, and whose offsets Kafka did not tell in the last pass."
        )
        self.exporter_groups_left_out = Gauge(
            "exporter_groups_left_out", "Groups that the last pass did not tell of, because the page would be too long."
        )
        self.ready = Gauge("ready", "1 when /ready says yes, else 0.")

        super().__init__()
        self._lock = threading.Lock()
        self._pages: dict[str, bytes] = {}

    @property
    def of_groups(self) -> tuple[Gauge, ...]:
        """Everything that is known per group, topic and partition."""
        return tuple(
            metric for metric in self if isinstance(metric, Gauge) and metric.labels and metric.labels[0] is GROUP
        )

    def forget_groups(self) -> None:
        """Know nothing of any group: Kafka does not answer."""
        for metric in self.of_groups:
            metric.replace({})

    def turn(self) -> None:
        """Begin a new page: whoever asks from now on is told what is known now."""
        with self._lock:
            self._pages = {}

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """Return the page of the last pass; it is made for the first scraper and kept for the others."""
        _, content_type = choose_encoder(accept)
        with self._lock:
            if content_type not in self._pages:
                own = super().expose(accept)[0]
                page = io.BytesIO()  # its value is not copied, as that of a join of parts would be
                for part in pages(self.of_groups, openmetrics=own.endswith(_END)):
                    page.write(part)
                page.write(own)  # OpenMetrics wants its end at the end
                self._pages[content_type] = page.getvalue()
            return self._pages[content_type], content_type

    def told_plainly(self) -> Iterator[Metric[Any]]:
        """Yield what prometheus_client writes: all but what is known per group."""
        groups = set(map(id, self.of_groups))
        return (metric for metric in self if id(metric) not in groups)
