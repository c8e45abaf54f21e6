"""The flights pipeline without memory: what ops/training/flights.py trains the model of the schedule alone on.

Its model is what memory is measured against, and what answers where a task without state is wanted.
"""

from dataclasses import replace

from topology import flights as topology

flights = replace(
    topology.flights, features=topology.SCHEDULE, model="flights-late", facts=(topology.departures,), predictions=False
)
