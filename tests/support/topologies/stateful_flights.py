"""A pipeline with memory, under a name of its own: aircraft by their boardings and by their departures.

Its model answers with a sum of what it is told, so that a score shows what was remembered when it was made; what comes
from departures is left out of it, since those arrive when they arrive.
"""

import os
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from surgetank import Field, Pipeline, Scores, Table, days, hours, minutes
from surgetank.declaration import DifferingKeys
from surgetank.serving import bundle
from tests.support.topologies import worker_faults
from topology import flights as origin

ENVIRONMENT = "TEST_PREFIX"
MODEL = "remembered"
CHANGE = "TEST_CHANGE"
FEWER, WINDOW, REKEY = "-fewer", "-window", "-rekey"
MISSING = -0.25  # what a missing value counts as

_OPSETS = [helper.make_opsetid("", 18)]


def remembering(prefix: str, partitions: int = 4, change: str = "") -> Pipeline:
    """Return a pipeline with two tables, everything named after ``prefix``.

    ``change``: FEWER asks less of the same rows, WINDOW has another window in each table, REKEY re-keys all records.
    """
    planes = Table("planes", ttl=days(60))
    how: DifferingKeys = "rekey" if change == REKEY else "count"
    departures = replace(origin.departures, topic=f"{prefix}.departures", partitions=partitions, differing_keys=how)
    aircraft = Table("aircraft", facts=departures, ttl=days(60))
    fewer, more = change == FEWER, 2 if change == WINDOW else 1
    asked = (
        Field("distance"),
        planes.count(window=hours(24)),
        planes.sum("distance", window=days(7)),
        planes.mean("scheduled_departure_local_minutes", window=hours(6 * more)),
        *(() if fewer else (planes.max("distance", window=hours(36)),)),
        planes.last("distance"),
        planes.seconds_since_last(),
        aircraft.last("dep_delay_minutes"),
        aircraft.sum("dep_delay_minutes", window=hours(6))
        if fewer
        else aircraft.mean("dep_delay_minutes", window=hours(6)),
        aircraft.std("dep_delay_minutes", window=minutes(720), buckets=4),
        *(() if fewer else (aircraft.count(window=hours(24 * more)),)),
    )
    return Pipeline(
        name=prefix,
        events=replace(origin.flights.events, topic=f"{prefix}.boarding", partitions=partitions, differing_keys=how),
        features=asked,
        model=f"{MODEL}{change}",
        scores=Scores(f"{prefix}.scores"),
    )


def weights(pipeline: Pipeline) -> list[float]:
    """Return what the model multiplies each column by: powers of two, 0 for what comes from departures."""
    names = pipeline.spec.names
    return [0.0 if name.startswith("aircraft_") else 2.0**-place for place, name in enumerate(names)]


def publish(directory: Path, pipeline: Pipeline) -> bundle.Bundle:
    """Write the bundle of the model that the pipeline asks."""
    model = _model(weights(pipeline))
    manifest = bundle.Manifest(
        name=pipeline.model,
        version="1",
        meaning="a weighted sum of what it is told: it is for tests",
        features=pipeline.spec.declaration(),
        fingerprint=pipeline.spec.fingerprint(),
        sha256=bundle.sha256(model),
        input="features",
        output="score",
        figures={},
        created_by="tests/support/topologies/stateful_flights.py",
    )
    return bundle.write(directory, manifest, model)


def _model(factors: list[float]) -> bytes:
    nodes = [
        helper.make_node("Constant", [], ["factors"], value_floats=factors),
        helper.make_node("Constant", [], ["missing"], value_float=MISSING),
        helper.make_node("Constant", [], ["axis"], value_ints=[1]),
        helper.make_node("IsNaN", ["features"], ["unknown"]),
        helper.make_node("Where", ["unknown", "missing", "features"], ["known"]),
        helper.make_node("Mul", ["known", "factors"], ["weighted"]),
        helper.make_node("Cast", ["weighted"], ["exact"], to=TensorProto.DOUBLE),
        helper.make_node("ReduceSum", ["exact", "axis"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["score"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "remembered",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", len(factors)])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows"])],
    )
    model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


if ENVIRONMENT in os.environ:
    pipeline = remembering(os.environ[ENVIRONMENT], change=os.environ.get(CHANGE, ""))
    worker_faults.arm(os.environ.get(worker_faults.ENVIRONMENT, ""))
