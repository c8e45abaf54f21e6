"""The table of objectives: what is promised, and from when on somebody is told. One line each; change them here.

Then run ``python -m ops.alerts``, which writes the rules and dashboards again.
"""

# Who scrapes what, and how often. ops/prometheus/prometheus.yml has the same names and numbers; a test compares.
WORKERS_JOB = "surgetank-workers"
EXPORTER_JOB = "surgetank-lag-exporter"
SCRAPE_SECONDS = 5
EVALUATION_SECONDS = 10
LAG_EVALUATION_SECONDS = (
    5  # a partition counts as stalled after 30 s of silence; what is left of a minute is for the rest
)
GROUPS = ".+"  # consumer groups, as a regular expression, whose lag somebody is told of; narrow it on a shared cluster

# Where people read. Both may be set to other addresses: python -m ops.alerts --grafana URL --runbooks URL
GRAFANA = "http://127.0.0.1:3000"
RUNBOOKS = "ops/runbooks"

# Latency: this share of events has its score committed within so many seconds of its arrival, over 30 days.
SCORED_WITHIN_SECONDS = 5.0  # must be a bucket of end_to_end_seconds; a rolling deploy stays below it
SCORED_IN_TIME_SHARE = 0.999  # 43 minutes of a month may be late
LATE_EVENTS_MIN = 20  # late events in the short window before anybody is told: a quiet night has few events

# Burn rates: (long window, short window, how many times too fast the budget goes). Google's Site Reliability
# Workbook, chapter 5, table 5-8: 2 % of the budget in an hour, 5 % in six hours; 10 % in three days.
FAST_BURNS = (("1h", "5m", 14.4), ("6h", "30m", 6.0))
SLOW_BURNS = (("1d", "2h", 3.0), ("3d", "6h", 1.0))

# Lag.
LAG_SECONDS_MAX = 60.0  # the oldest event that waits is never older
LAG_SECONDS_NOTED = 5.0  # below this nobody asks whether lag grows
LAG_SLOPE_MAX = 0.1  # seconds of lag per second: a tenth more comes in than is worked off
CAPACITY_AHEAD_SECONDS = 900  # so long before LAG_SECONDS_MAX is passed, at the present slope, somebody is told

# What cannot be scored.
DEAD_SHARE_MAX = 0.01  # of all events; a worker stops by itself at dead_letters.share_max
DEAD_PER_SECOND_MIN = 0.2  # and at least twelve a minute
MODEL_ERRORS_MAX = 5  # events in five minutes for which the model raised
NOT_A_NUMBER_SHARE_MAX = 0.001  # of all events, over five minutes

# Workers.
NOT_READY_SECONDS = 120  # longer than a start with a warm disk
RESTORE_SECONDS_MAX = 120  # a task's state is back by then
RESTARTS_MAX = 3  # of one worker in 15 minutes; a deploy makes one
REBALANCES_MAX = 10  # of one worker in 15 minutes, and for each worker of the pipeline four more: a deploy makes two
ABORTED_SHARE_MAX = 0.05  # of transactions, over five minutes
ABORTED_PER_SECOND_MIN = 0.02  # and at least six in five minutes
STATE_DISK_BYTES_MAX = 50 * 2**30  # what a worker's state may take of its disk
DISK_AHEAD_SECONDS = 4 * 3600  # so long before it is full somebody is told

# Promised: from a fault to the page, in seconds. The rest have an hour.
PAGED_WITHIN = {
    "PartitionStalled": 60,
    "PartitionStopped": 60,
    "ScoredLateFastBurn": 120,
    "DeadLetterShareHigh": 120,
    "LagGrowing": 180,
    "LagSecondsHigh": 180,
    "ExporterDown": 180,
}
PAGER_WAIT_SECONDS = 5  # Alertmanager gathers what belongs together so long before it pages
