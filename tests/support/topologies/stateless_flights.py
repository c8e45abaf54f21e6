"""The flights pipeline without memory, under another name, so that each test has topics and a group of its own."""

import os
from dataclasses import replace

from surgetank import Pipeline, Scores
from topology import flights as origin

ENVIRONMENT = "TEST_PREFIX"


def prefixed(prefix: str, partitions: int = 4) -> Pipeline:
    """Return the flights pipeline, asked for the schedule alone, with everything named after ``prefix``."""
    return replace(
        origin.flights,
        name=prefix,
        events=replace(origin.flights.events, topic=f"{prefix}.boarding", partitions=partitions),
        features=origin.SCHEDULE,
        model="flights-late",
        scores=Scores(f"{prefix}.scores"),
        facts=(),
    )


if ENVIRONMENT in os.environ:
    pipeline = prefixed(os.environ[ENVIRONMENT])


def __getattr__(name: str) -> object:
    """Build ``app``, for ``faust -A MODULE:app worker`` with this module, as topology/flights.py does."""
    if name != "app":
        raise AttributeError(name)
    from surgetank.app import application

    return application(pipeline)
