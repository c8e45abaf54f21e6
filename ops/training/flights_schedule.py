"""The flights pipeline without state, for which ops/training/flights.py trains the model of the schedule alone.

Its model is the baseline for the model with state, and serves tasks without state.
"""

from dataclasses import replace

from topology import flights as topology

flights = replace(
    topology.flights, features=topology.SCHEDULE, model="flights-late", facts=(topology.departures,), predictions=False
)
