"""The catalogue of a worker's metrics: what it counts and measures, each declared once, in seconds and bytes.

Use them as attributes, ``metrics.events_scored.add(len(batch), topic=...)``: a name that is not here is a
type error. An attribute's name is the metric's name without ``surgetank_`` and the ``_total`` of counters.
"""

from pipeline.records import DeadLetterReason, Step
from pipeline.telemetry.catalogue import Catalogue
from pipeline.telemetry.kinds import Counter, Gauge, Histogram, Label, MetricError

__all__ = ["MetricError", "Metrics"]

TOPIC = Label("topic", shape=r"[a-zA-Z0-9._-]{1,249}", bound=32)
TABLE = Label("table", shape=r"[a-z][a-z0-9-]{0,62}", bound=32)
PARTITION = Label("partition", shape=r"[0-9]{1,6}", bound=10_000)
STAGE = Label("stage", values=frozenset({"decode", "features", "infer", "emit", "commit"}))
DIED_IN = Label("stage", values=frozenset(Step))
REASON = Label("reason", values=frozenset(DeadLetterReason))
OUTCOME = Label("outcome", values=frozenset({"committed", "aborted", "fenced", "failed"}))
STATE = Label("state", shape=r"[a-z_]{1,32}", bound=16)
FROM = Label("from_state", shape=r"[a-z_]{1,32}", bound=16)
TO = Label("to_state", shape=r"[a-z_]{1,32}", bound=16)
REBALANCE = Label("change", values=frozenset({"assigned", "revoked", "lost"}))
MODEL = Label("model", shape=r"[ -~]{1,100}", bound=8)
VERSION = Label("version", shape=r"[ -~]{1,100}", bound=8)
WORKER = Label("worker", shape=r"[ -~]{1,255}", bound=1)
SIGNAL = Label("signal", shape=r"[a-z_]+(:.{1,1000})?", bound=4096)
WRITTEN = Label("outcome", values=frozenset({"written", "lost"}))
PIPELINE = Label("pipeline", shape=r"[ -~]{1,100}", bound=1)

# Fine where the promises lie (tens of milliseconds), coarse where only the size of the trouble matters.
STAGE_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
LATENCY_SECONDS = (
    *(0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600),
)
RESTORE_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
ROWS = tuple(2**power for power in range(15))


class Metrics(Catalogue):
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

        # What is unusual, and what was told of it.
        self.anomaly = Gauge(
            "anomaly", "1 while a signal is unusual, else 0; the log and the timeline say why.", (SIGNAL,)
        )
        self.anomaly_score = Gauge(
            "anomaly_score", "How unusual a signal is: 0 not at all, an anomaly begins above 1.", (SIGNAL,)
        )
        self.timeline_events = Counter("timeline_events", "Events told to the timeline, by outcome.", (WRITTEN,))

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
        self.lag_seconds = Gauge(
            "lag",
            "Age of the oldest record that is not committed, of the partitions owned now, as of the scrape.",
            (TOPIC, PARTITION),
            unit="seconds",
        )
        self.lag_seconds_how = Gauge(
            "lag_seconds_how",
            "How lag_seconds is known: 0 no lag, 1 the record's own time, 2 interpolated, 3 extrapolated, "
            "4 bounded, because the record's time cannot be.",
            (TOPIC, PARTITION),
        )
        self.lag_status = Gauge(
            "lag_status",
            "How the work on a partition goes: 0 ok, 1 warn, 2 stall, 3 stop, 4 rewind.",
            (TOPIC, PARTITION),
        )
        self.arrival_records_per_second = Gauge(
            "arrival_records_per_second", "Rate at which records come in, of late.", (TOPIC, PARTITION)
        )
        self.processing_records_per_second = Gauge(
            "processing_records_per_second", "Rate at which records are committed, of late.", (TOPIC, PARTITION)
        )
        self.drain_seconds = Gauge(
            "drain",
            "Time until the lag is worked off at the present rates; +Inf when it does not shrink.",
            (TOPIC, PARTITION),
            unit="seconds",
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

        super().__init__()
