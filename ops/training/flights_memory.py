"""The flights pipeline with a memory of each aircraft: what ops/training/flights.py trains its second model on.

Not in topology/ before a worker keeps tables: what is declared there can be run.
"""

from dataclasses import replace

from pipeline import Events
from pipeline.features.tables import Table, days, hours
from topology import flights as schedule

DELAY = "dep_delay_minutes"

aircraft = Table(
    "aircraft",
    facts=Events("flights.departures", schema="departure", key="tailnum", time="departed_at"),
    forget_after=days(30),
)

flights = replace(
    schedule.flights,
    features=(
        *schedule.flights.features,
        aircraft.last(DELAY),
        aircraft.mean(DELAY, window=hours(6)),
        aircraft.count(window=hours(24)),
        aircraft.seconds_since_last(),
    ),
    model="flights-late-memory",
)
