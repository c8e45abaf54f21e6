"""The flights pipeline under another name, so that each test has topics and a group of its own."""

import os
from dataclasses import replace

from pipeline import Pipeline, Scores
from topology import flights as origin

ENVIRONMENT = "TEST_PREFIX"


def prefixed(prefix: str, partitions: int = 4) -> Pipeline:
    """Return the flights pipeline with everything named after ``prefix``."""
    return replace(
        origin.flights,
        name=prefix,
        events=replace(origin.flights.events, topic=f"{prefix}.boarding", partitions=partitions),
        scores=Scores(f"{prefix}.scores"),
        facts=(),
    )


if ENVIRONMENT in os.environ:
    pipeline = prefixed(os.environ[ENVIRONMENT])
