"""A pipeline whose events are departures, under a name of its own: each aircraft by what it did before.

Its one table is fed by the pipeline's own events and has every kind of statistic, over windows of several widths.
"""

import os
from dataclasses import replace

from surgetank import Field, Pipeline, Scores, Table, days, hours
from tests.support.topologies import worker_faults
from tests.support.topologies.stateful_flights import ENVIRONMENT, MODEL
from topology import flights as origin


def leaving(prefix: str, partitions: int = 4) -> Pipeline:
    """Return a pipeline with a table of aircraft, everything named after ``prefix``."""
    planes = Table("planes", ttl=days(30))
    delay = "dep_delay_minutes"
    return Pipeline(
        name=prefix,
        events=replace(origin.departures, topic=f"{prefix}.departures", partitions=partitions),
        features=(
            Field(delay),
            planes.count(window=hours(24)),
            planes.count(window=days(7), buckets=14),
            planes.sum(delay, window=days(7), buckets=14),
            planes.mean(delay, window=hours(6)),
            planes.min(delay, window=hours(24)),
            planes.max(delay, window=hours(24)),
            planes.std(delay, window=hours(24)),
            planes.last(delay),
            planes.seconds_since_last(),
        ),
        model=MODEL,
        scores=Scores(f"{prefix}.scores"),
    )


if ENVIRONMENT in os.environ:
    pipeline = leaving(os.environ[ENVIRONMENT])
    worker_faults.arm(os.environ.get(worker_faults.ENVIRONMENT, ""))
