"""Service level objectives and alert thresholds, one line each. Change them here.

Then run ``python -m ops.alerts`` to generate the rules and dashboards.
"""

# Scrape jobs and intervals, equal to those of ops/prometheus/prometheus.yml; a test compares them.
WORKERS_JOB = "surgetank-workers"
EXPORTER_JOB = "surgetank-lag-exporter"
SCRAPE_SECONDS = 5
EVALUATION_SECONDS = 10
LAG_EVALUATION_SECONDS = 5  # a stall is detected after 30 s without progress, and must page within a minute
GROUPS = ".+"  # regular expression of the consumer groups with lag alerts; narrow it on a shared cluster

# Links in alerts. Other addresses: python -m ops.alerts --grafana URL --runbooks URL
GRAFANA = "http://127.0.0.1:3000"
RUNBOOKS = "ops/runbooks"

# Latency: the share of events whose score is committed within this time after arrival, over 30 days.
SCORED_WITHIN_SECONDS = 5.0  # must be a bucket of end_to_end_seconds; above the latency during a rolling deploy
SCORED_IN_TIME_SHARE = 0.999  # error budget: 43 minutes of a month
LATE_EVENTS_MIN = 20  # minimum of late events in the short window, for times with few events

# Burn rates: (long window, short window, burn rate). Google's Site Reliability
# Workbook, chapter 5, table 5-8: 2 % of the budget in an hour, 5 % in six hours; 10 % in three days.
FAST_BURNS = (("1h", "5m", 14.4), ("6h", "30m", 6.0))
SLOW_BURNS = (("1d", "2h", 3.0), ("3d", "6h", 1.0))

# Lag.
LAG_SECONDS_MAX = 60.0  # maximum age of the oldest uncommitted event
LAG_SECONDS_NOTED = 5.0  # a growing lag below this raises no alert
OPEN_TRANSACTION_SECONDS_NOTED = 60  # the default transaction.timeout.ms of Kafka's producers
# The default transaction.max.timeout.ms of brokers, and their search for expired transactions, every 10 s by default:
# they have ended the transactions of all producers that are gone.
# Lower it to a little above the longest transaction.timeout.ms of the producers of the events.
OPEN_TRANSACTION_SECONDS_MAX = 930
LAG_SLOPE_MAX = 0.1  # seconds of lag per second: the arrival rate is a tenth above the processing rate
CAPACITY_AHEAD_SECONDS = 900  # alert this long before the lag exceeds LAG_SECONDS_MAX at the present slope

# Events without a score.
DEAD_SHARE_MAX = 0.01  # of all events; a worker stops at dead_letters.share_max
DEAD_PER_SECOND_MIN = 0.2  # and at least twelve per minute
MODEL_ERRORS_MAX = 5  # events in five minutes for which the model raised
NOT_A_NUMBER_SHARE_MAX = 0.001  # of all events, over five minutes
IMPLAUSIBLE_SHARE_MAX = 0.1  # of the records of a topic, over five minutes: event times too far from the arrival
IMPLAUSIBLE_MAX = 5  # and at least so many records in five minutes

# Workers.
NOT_READY_SECONDS = 120  # longer than a start with a warm disk
RESTORE_SECONDS_MAX = 120  # maximum time of a restore
RESTARTS_MAX = 3  # of one worker in 15 minutes; a deploy causes one
REBALANCES_MAX = 10  # of one worker in 15 minutes, plus four per worker of the pipeline: a deploy causes two
ABORTED_SHARE_MAX = 0.05  # of transactions, over five minutes
ABORTED_PER_SECOND_MIN = 0.02  # and at least six in five minutes
MODEL_ROLLOUT_SECONDS = 1800  # longest time of a rolling restart with another model version
STATE_DISK_BYTES_MAX = 50 * 2**30  # disk space for the state of a worker
DISK_AHEAD_SECONDS = 4 * 3600  # alert this long before the disk is full

# What surrounds the workers.
PARTITIONER_UNKNOWN_HOURS = 1  # until it is an alert that the samples do not show the partitioner of facts
CLOCK_DIFFERENCE_SECONDS_MAX = 10  # workers report no smaller difference

# Maximum time from a fault to its page, in seconds. Other alerts have an hour.
PAGED_WITHIN = {
    "PartitionStalled": 60,
    "PartitionStopped": 60,
    "ScoredLateFastBurn": 120,
    "DeadLetterShareHigh": 120,
    "EventsExpired": 120,
    "LagGrowing": 180,
    "ForeignGroupMember": 180,
    "TransactionLeftOpen": OPEN_TRANSACTION_SECONDS_MAX + 120,
    "LagSecondsHigh": 180,
    "ExporterDown": 180,
}
PAGER_WAIT_SECONDS = 5  # group_wait of the pager route
