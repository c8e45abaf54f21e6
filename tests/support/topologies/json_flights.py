"""The flights pipeline without memory, of boarding events that are JSON."""

import os
from dataclasses import replace

from surgetank import Pipeline
from tests.support.topologies import stateless_flights


def prefixed(prefix: str, partitions: int = 4) -> Pipeline:
    """Return the pipeline with everything named after ``prefix``."""
    avro = stateless_flights.prefixed(prefix, partitions)
    return replace(avro, events=replace(avro.events, format="json"))


if stateless_flights.ENVIRONMENT in os.environ:
    pipeline = prefixed(os.environ[stateless_flights.ENVIRONMENT])
