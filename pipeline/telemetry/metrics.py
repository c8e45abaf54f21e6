"""The one catalogue of metrics: what a worker counts and measures, each declared once, in seconds and bytes.

Use them as attributes, ``metrics.events_scored.add(len(batch), topic=...)``: a name that is not here is a
type error. An attribute's name is the metric's name without ``surgetank_`` and the ``_total`` of counters.
"""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from pipeline.batch import Reason, Stage
from pipeline.telemetry.kinds import Counter, Gauge, Histogram, Label, Metric, MetricError

__all__ = ["MetricError", "Metrics"]

TOPIC = Label("topic", shape=r"[a-zA-Z0-9._-]{1,249}", bound=32)
TABLE = Label("table", shape=r"[a-z][a-z0-9-]{0,62}", bound=32)
PARTITION = Label("partition", shape=r"[0-9]{1,6}", bound=10_000)
STAGE = Label("stage", values=frozenset({"decode", "features", "infer", "emit", "commit"}))
DIED_IN = Label("stage", values=frozenset(Stage))
REASON = Label("reason", values=frozenset(Reason))
OUTCOME = Label("outcome", values=frozenset({"committed", "aborted", "fenced", "failed"}))
STATE = Label("state", shape=r"[a-z_]{1,32}", bound=16)
FROM = Label("from_state", shape=r"[a-z_]{1,32}", bound=16)
TO = Label("to_state", shape=r"[a-z_]{1,32}", bound=16)
REBALANCE = Label("change", values=frozenset({"assigned", "revoked", "lost"}))
MODEL = Label("model", shape=r"[ -~]{1,100}", bound=8)
VERSION = Label("version", shape=r"[ -~]{1,100}", bound=8)
WORKER = Label("worker", shape=r"[ -~]{1,255}", bound=1)
PIPELINE = Label("pipeline", shape=r"[ -~]{1,100}", bound=1)

# Fine where the promises lie (tens of milliseconds), coarse where only the size of the trouble matters.
STAGE_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
LATENCY_SECONDS = (
    *(0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600),
)
RESTORE_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
ROWS = tuple(2**power for power in range(15))


class Metrics:
    """Every metric of one worker. Each instance has its own values and its own registry."""

    def __init__(self) -> None:
        # Events.
        self.events_received = Counter("events_received", "Events fetched; again, if a task had to go back.", (TOPIC,))
        self.events_scored = Counter("events_scored", "Events whose score was committed.", (TOPIC,))
        self.events_dead = Counter(
            "events_dead", "Events dead-lettered, by the stage they died in and why.", (DIED_IN, REASON)
        )
        self.events_in_flight = Gauge("events_in_flight", "Events taken into a batch and not yet committed.")
        self.buffered_rows = Gauge(
            "buffered",
            "Events fetched and not yet taken into a batch; worker.buffered_rows_max bounds it.",
            unit="rows",
        )

        # Where time goes.
        self.stage_seconds = Histogram(
            "stage", "Time that one batch spent in a stage.", (STAGE,), unit="seconds", buckets=STAGE_SECONDS
        )
        self.stage_rows = Histogram("stage", "Size of the batches of a stage.", (STAGE,), unit="rows", buckets=ROWS)
        self.end_to_end_seconds = Histogram(
            "end_to_end",
            "From the arrival of an event in Kafka to the commit of its score.",
            unit="seconds",
            buckets=LATENCY_SECONDS,
        )

        # Transactions.
        self.transactions = Counter("transactions", "Transactions ended, by outcome.", (OUTCOME,))
        self.transaction_seconds = Histogram(
            "transaction",
            "From the first record of a transaction to its commit or abort.",
            unit="seconds",
            buckets=STAGE_SECONDS,
        )
        self.producer_restarts = Counter(
            "producer_restarts", "Transactional producers thrown away after a fatal or fencing error."
        )

        # Tasks and the group.
        self.tasks = Gauge("tasks", "Tasks of this worker, by state.", (STATE,))
        self.task_transitions = Counter("task_transitions", "Changes of a task's state.", (FROM, TO))
        self.rebalances = Counter("rebalances", "Rebalance callbacks, by what they changed.", (REBALANCE,))
        self.rebalance_pause_seconds = Histogram(
            "rebalance_pause",
            "Time that a rebalance callback held the work back.",
            unit="seconds",
            buckets=STAGE_SECONDS,
        )
        self.lag_records = Gauge(
            "lag",
            "Records between what is committed and the last stable offset, of the partitions owned now.",
            (TOPIC, PARTITION),
            unit="records",
        )

        # State.
        self.facts_applied = Counter("facts_applied", "Facts whose change of state was committed.", (TOPIC,))
        self.late_events = Counter(
            "late_events", "Events too late for a window of the table that they feed; they were scored.", (TABLE,)
        )
        self.implausible_times = Counter(
            "implausible_times", "Events whose time is too far from their arrival: they may read, and change nothing."
        )
        self.restore_records = Counter("restore_records", "Changelog records restored.")
        self.restore_remaining_records = Gauge(
            "restore_remaining", "Offsets of changelogs that are still to be read.", unit="records"
        )
        self.restore_seconds = Histogram(
            "restore",
            "From the claim of a task to the moment when its state was there.",
            unit="seconds",
            buckets=RESTORE_SECONDS,
        )
        self.state_rows = Gauge("state", "Rows of all tables on this worker's disk, about.", unit="rows")
        self.state_disk_bytes = Gauge("state_disk", "Size of the files of state.", unit="bytes")
        self.state_cache_bytes = Gauge("state_cache", "Memory of caches and write buffers of state.", unit="bytes")

        # What this worker is.
        self.worker_info = Gauge("worker_info", "Always 1; names the worker and its pipeline.", (WORKER, PIPELINE))
        self.model_info = Gauge("model_info", "Always 1; names the model that answers.", (MODEL, VERSION))
        self.ready = Gauge("ready", "1 when /ready says yes, else 0.")

        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_Catalogue(self))
        ProcessCollector(registry=self.registry)  # process_cpu_seconds_total, process_resident_memory_bytes, ...
        PlatformCollector(registry=self.registry)

    def __iter__(self) -> Iterator[Metric[Any]]:
        """Yield every declared metric."""
        return (metric for metric in vars(self).values() if isinstance(metric, Metric))

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """Return the page for a scraper with this Accept header, and the content type of the page."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class _Catalogue(Collector):
    """Hands the metrics to prometheus_client."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        return (metric.family() for metric in self._metrics)

    def describe(self) -> Iterator[Family]:
        return self.collect()
