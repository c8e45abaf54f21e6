"""The flights pipeline without memory: it leaves out short flights, and gives labels and fields of the others."""

import os
from dataclasses import replace

from surgetank import Above, Pipeline
from tests.support.topologies import stateless_flights

MINIMUM, LONG = 500, 1_000  # miles


def prefixed(prefix: str, partitions: int = 4) -> Pipeline:
    """Return the pipeline with everything named after ``prefix``."""
    plain = stateless_flights.prefixed(prefix, partitions)
    return replace(
        plain,
        events=replace(plain.events, only=Above("distance", MINIMUM)),
        score_only=Above("distance", LONG),
        scores=replace(plain.scores, passthrough=("distance", "origin"), schema="flight_score", kind="label"),
    )


if stateless_flights.ENVIRONMENT in os.environ:
    pipeline = prefixed(os.environ[stateless_flights.ENVIRONMENT])
