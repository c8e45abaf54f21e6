"""The metric catalogue of a worker: each metric is declared once, in seconds and bytes.

Use the metrics as attributes, ``metrics.events_scored.add(len(batch), topic=...)``: an unknown name is a type error.
The name of an attribute is the metric's name without ``surgetank_`` and without the ``_total`` of counters.
"""

from surgetank.records import Step
from surgetank.telemetry.catalogue import Catalogue
from surgetank.telemetry.kinds import Counter, Gauge, Histogram, Label, MetricError

__all__ = ["MetricError", "Metrics"]

TOPIC = Label("topic", shape=r"[a-zA-Z0-9._-]{1,249}", bound=32)
TABLE = Label("table", shape=r"[a-z][a-z0-9-]{0,62}", bound=32)
PARTITION = Label("partition", shape=r"[0-9]{1,6}", bound=10_000)
STAGE = Label("stage", values=frozenset({"decode", "features", "infer", "emit", "commit"}))
FAILED_STAGE = Label("stage", values=frozenset(Step))
_DECODE_REASONS = (
    "null_value empty too_large not_framed not_json unknown_schema incompatible_schema undecodable key_too_large "
    "key_differs"
)
_OTHER_REASONS = "no_features model_error not_a_number unencodable"
REASON = Label("reason", values=frozenset(f"{_DECODE_REASONS} {_OTHER_REASONS}".split()))  # tested to be complete
FILTER = Label("reason", values=frozenset({"only", "score_only"}))
OUTCOME = Label("outcome", values=frozenset({"committed", "aborted", "fenced", "failed"}))
STATE = Label("state", shape=r"[a-z_]{1,32}", bound=16)
FROM = Label("from_state", shape=r"[a-z_]{1,32}", bound=16)
TO = Label("to_state", shape=r"[a-z_]{1,32}", bound=16)
REBALANCE = Label("change", values=frozenset({"assigned", "revoked", "lost"}))
MODEL = Label("model", shape=r"[ -~]{1,100}", bound=8)
VERSION = Label("version", shape=r"[ -~]{1,100}", bound=8)
DIGEST = Label("digest", shape=r"[0-9a-f]{64}", bound=16)
VERSIONS_COUNTED = 16  # versions with counts at a time: those of the longest plan
COUNTED_VERSION = Label("version", shape=r"[ -~]{1,100}", bound=VERSIONS_COUNTED)
ROLE = Label("role", values=frozenset({"primary", "canary", "shadow", "loaded"}))
SCORED = Label("outcome", values=frozenset({"scored", "failed"}))
PLAN = Label("outcome", values=frozenset({"served", "refused"}))
MODEL_REASON = Label("reason", values=frozenset({"model_error", "not_a_number"}))
_SKIPPED = "full_batch backlog late waiting hanging not_ready replaced error not_written"
SKIPPED = Label("reason", values=frozenset(_SKIPPED.split()))  # tested to be complete
ENGINE = Label("engine", values=frozenset({"onnxruntime", "compiled-trees"}))
WORKER = Label("worker", shape=r"[ -~]{1,255}", bound=1)
SIGNAL = Label("signal", shape=r"[a-z_]+(:.{1,1000})?", bound=4096)
MISMATCH = Label("kind", values=frozenset({"missing", "different"}))
WRITTEN = Label("outcome", values=frozenset({"written", "lost"}))
CACHED = Label("outcome", values=frozenset({"hit", "repeat", "miss", "bypass"}))
LIMIT = Label("reason", values=frozenset({"cost", "safety", "load", "backlog", "cap", "unknown"}))  # tested
PIPELINE = Label("pipeline", shape=r"[ -~]{1,100}", bound=1)

# Fine around the latency objectives (tens of milliseconds), coarse above.
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
        self.events_received = Counter("events_received", "Events fetched, again after a task is rewound.", (TOPIC,))
        self.events_scored = Counter(
            "events_scored", "Events whose score or dead letter was committed, or that were filtered.", (TOPIC,)
        )
        self.events_dead = Counter("events_dead", "Dead-lettered events, by stage and reason.", (FAILED_STAGE, REASON))
        self.events_rekeyed = Counter(
            "events_rekeyed",
            "Events and facts sent to their topic again with the right key, committed; they are processed there.",
            (TOPIC,),
        )
        self.key_mismatches = Counter(
            "key_mismatches",
            "Events and facts whose record key does not repeat their key field: missing or different.",
            (TOPIC, MISMATCH),
        )
        self.events_filtered = Counter(
            "events_filtered",
            "Events and facts without an outcome, because the declaration says so: `only` leaves them out, "
            "`score_only` lets them update tables.",
            (TOPIC, FILTER),
        )
        self.events_expired = Counter(
            "events_expired",
            "Events and facts that retention deleted before they were read; they have no score.",
            (TOPIC,),
        )
        self.events_in_flight = Gauge("events_in_flight", "Events taken into a batch and not yet committed.")
        self.buffered_rows = Gauge(
            "buffered",
            "Events fetched and not yet taken into a batch; worker.buffered_rows_max bounds it.",
            unit="rows",
        )

        self.tasks_waiting = Gauge(
            "tasks_waiting", "Tasks whose next event has a schema id that is not known yet: /ready says why."
        )

        # Durations.
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

        self.clock_difference_seconds = Gauge(
            "clock_difference",
            "By how much this worker's clock is ahead of those of the brokers or of the events' producers; negative: "
            "behind.",
            unit="seconds",
        )

        # Sizes of batches.
        self.batch_limit_rows = Gauge("batch_limit", "Largest number of rows of the next batch.", unit="rows")
        self.batch_limits = Counter(
            "batch_limits",
            "Sizes chosen for model.latency_target_seconds, one for each batch, by what bounds the size: `cost` the "
            "target, `safety` the target after batches that exceeded it, `load` smaller batches would not help, "
            "`backlog` throughput, `cap` worker.batch_rows_max, `unknown` larger batches were not measured yet.",
            (LIMIT,),
        )
        self.batch_row_seconds = Gauge(
            "batch_row", "Estimated time that each further row adds to a batch.", unit="seconds"
        )
        self.batch_fixed_seconds = Gauge(
            "batch_fixed", "Estimated time of a batch that does not depend on its rows.", unit="seconds"
        )
        self.latency_target_seconds = Gauge(
            "latency_target", "The setting model.latency_target_seconds; 0 is none.", unit="seconds"
        )
        self.latency_least_seconds = Gauge(
            "latency_least",
            "Least latency target within reach at the present cost of one row and of a commit; a smaller target is "
            "missed.",
            unit="seconds",
        )

        # Prediction cache.
        self.cache_rows = Counter(
            "cache_rows",
            "Rows to score with a prediction cache: `hit` was known, `repeat` is equal to another row of its batch, "
            "`miss` was scored, `bypass` was not looked up because the cache does not pay.",
            (CACHED,),
        )
        self.cache_saved_seconds = Counter(
            "cache_saved", "Estimated time of the model calls that the prediction cache saved.", unit="seconds"
        )
        self.cache_spent_seconds = Counter("cache_spent", "Time that the prediction cache took itself.", unit="seconds")
        self.cache_bytes = Gauge("cache", "Size of the rows in the prediction cache.", unit="bytes")

        # Transactions.
        self.transactions = Counter("transactions", "Transactions ended, by outcome.", (OUTCOME,))
        self.transaction_seconds = Histogram(
            "transaction",
            "From the first record of a transaction to its commit or abort.",
            unit="seconds",
            buckets=STAGE_SECONDS,
        )
        self.producer_restarts = Counter(
            "producer_restarts", "Transactional producers replaced after a fatal or fencing error."
        )

        # Versions of the model.
        self.model_rows = Counter(
            "model_rows",
            "Rows that a version of the model has scored, or for which it gave no score; again after a rewind.",
            (MODEL, COUNTED_VERSION, SCORED),
        )
        self.model_plans = Counter(
            "model_plans",
            "Plans of versions that came into force, or were refused because a version does not load.",
            (PLAN,),
        )
        self.model_switch_seconds = Gauge(
            "model_switch",
            "From the request of the plan in force to its use, with the time to load its versions.",
            unit="seconds",
        )
        self.shadow_rows_scored = Counter("shadow_rows_scored", "Rows that the shadow has scored.")
        self.shadow_rows_failed = Counter(
            "shadow_rows_failed", "Rows for which the shadow raised an error or gave no number.", (MODEL_REASON,)
        )
        self.shadow_rows_skipped = Counter(
            "shadow_rows_skipped",
            "Committed rows that the shadow did not score because the worker or it was busy, or whose score was "
            "not written.",
            (SKIPPED,),
        )

        # Anomalies and timeline events.
        self.anomaly = Gauge(
            "anomaly", "1 during an anomaly of a signal, else 0; the log and the timeline have the reason.", (SIGNAL,)
        )
        self.anomaly_score = Gauge(
            "anomaly_score", "Deviation of a signal from its baseline: 0 is none, above 1 is an anomaly.", (SIGNAL,)
        )
        self.timeline_events = Counter("timeline_events", "Timeline events, by outcome.", (WRITTEN,))

        # Tasks and the group.
        self.tasks = Gauge("tasks", "Tasks of this worker, by state.", (STATE,))
        self.task_transitions = Counter("task_transitions", "Changes of a task's state.", (FROM, TO))
        self.rebalances = Counter("rebalances", "Rebalance callbacks, by change.", (REBALANCE,))
        self.rebalance_pause_seconds = Histogram(
            "rebalance_pause",
            "Duration for which a rebalance callback blocked processing.",
            unit="seconds",
            buckets=STAGE_SECONDS,
        )
        self.lag_records = Gauge(
            "lag",
            "Records between the committed offset and the last stable offset, of the owned partitions.",
            (TOPIC, PARTITION),
            unit="records",
        )
        self.open_transaction_records = Gauge(
            "open_transaction",
            "Records behind an open transaction of a producer, from an unchanged last stable offset to the high "
            "watermark: they cannot be read yet, and do not count as lag. Absent if there are none.",
            (TOPIC, PARTITION),
            unit="records",
        )
        self.open_transaction_seconds = Gauge(
            "open_transaction",
            "Time for which an open transaction of a producer has held the last stable offset back.",
            (TOPIC, PARTITION),
            unit="seconds",
        )
        self.lag_seconds = Gauge(
            "lag",
            "Age of the oldest uncommitted record of the owned partitions, at the scrape.",
            (TOPIC, PARTITION),
            unit="seconds",
        )
        self.lag_seconds_how = Gauge(
            "lag_seconds_how",
            "The method of lag_seconds: 0 no lag, 1 record timestamp, 2 interpolated, 3 extrapolated, "
            "4 bounded, because the timestamp is implausible.",
            (TOPIC, PARTITION),
        )
        self.lag_status = Gauge(
            "lag_status",
            "Status of a partition: 0 ok, 1 warn, 2 stall, 3 stop, 4 rewind.",
            (TOPIC, PARTITION),
        )
        self.arrival_records_per_second = Gauge(
            "arrival_records_per_second", "Recent rate at which records arrive.", (TOPIC, PARTITION)
        )
        self.processing_records_per_second = Gauge(
            "processing_records_per_second", "Recent rate at which records are committed.", (TOPIC, PARTITION)
        )
        self.drain_seconds = Gauge(
            "drain",
            "Time until the lag is 0 at the present rates; +Inf if it does not shrink.",
            (TOPIC, PARTITION),
            unit="seconds",
        )

        # What others did to topics and offsets.
        self.foreign_offsets = Counter(
            "foreign_offsets",
            "Partitions whose committed offset was not set by a worker.",
            (TOPIC,),
        )
        self.events_skipped = Counter(
            "events_skipped", "Events that no worker processes because the group's offset was set forward.", (TOPIC,)
        )
        self.events_repeated = Counter(
            "events_repeated", "Events that are processed again because the group's offset was set back.", (TOPIC,)
        )

        self.foreign_members = Gauge(
            "foreign_members",
            "Members of the group that are no workers of this pipeline; nobody scores the events of their partitions.",
        )

        self.copartitioning = Gauge(
            "copartitioning",
            "Whether facts are in the partitions of their events, by samples of keys: 0 yes, 1 not known, 2 no.",
            (TOPIC,),
        )

        # State.
        self.facts_applied = Counter(
            "facts_applied", "Records of fact topics that were processed and whose transaction was committed.", (TOPIC,)
        )
        self.late_events = Counter(
            "late_events", "Events too late for a window of their table; they are scored.", (TABLE,)
        )
        self.implausible_times = Counter(
            "implausible_times",
            "Events and facts timestamped too far from their arrival: they do not update state.",
            (TOPIC,),
        )
        self.restore_records = Counter("restore_records", "Changelog records restored.")
        self.restore_remaining_records = Gauge(
            "restore_remaining", "Changelog offsets that remain to be read.", unit="records"
        )
        self.restore_seconds = Histogram(
            "restore",
            "From the assignment of a task to the end of its restore.",
            unit="seconds",
            buckets=RESTORE_SECONDS,
        )
        self.state_rows = Gauge("state", "Approximate number of rows of all tables on this worker's disk.", unit="rows")
        self.state_disk_bytes = Gauge("state_disk", "Size of the state files.", unit="bytes")
        self.state_cache_bytes = Gauge("state_cache", "Memory of the state caches and write buffers.", unit="bytes")

        # Identity.
        self.worker_info = Gauge("worker_info", "Always 1; names the worker and its pipeline.", (WORKER, PIPELINE))
        self.model_info = Gauge(
            "model_info",
            "Always 1; names the versions of the plan in force: primary, canary and shadow.",
            (MODEL, VERSION, ROLE),
        )
        self.model_bundle_info = Gauge(
            "model_bundle_info",
            "Always 1; the digest of a loaded bundle, the SHA-256 of its manifest, which names all its files.",
            (MODEL, VERSION, DIGEST),
        )
        self.model_engine_info = Gauge(
            "model_engine_info", "Always 1; names the engine that computes a model's scores.", (MODEL, VERSION, ENGINE)
        )
        self.ready = Gauge("ready", "1 if /ready answers with 200, else 0.")

        # The rollout.
        self.rollout_plan_info = Gauge(
            "rollout_plan_info",
            "Always 1; names the versions of the model in the plan of the rollout, by role. Absent while no command "
            "was given.",
            (ROLE, VERSION),
        )
        self.rollout_revision = Gauge("rollout_revision", "Number of commands in the rollout that this worker follows.")
        self.rollout_followed = Gauge(
            "rollout_followed",
            "1 if the worker reads the commands of the rollout, 0 if it goes on without their topic.",
        )
        self.rollout_mangled_records = Gauge(
            "rollout_mangled", "Records of the rollout's topic that are no commands and are skipped.", unit="records"
        )

        super().__init__()
