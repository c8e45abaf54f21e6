"""The first line of a worker, and what is imported before it."""

import json
import os
import subprocess
import sys

import surgetank

HEAVY = ("pyarrow", "numpy", "onnxruntime", "onnx", "faust", "confluent_kafka", "rocksdict", "numba")

# Ends the worker with the names of the modules that are imported, when it looks for its pipeline.
AT_THE_PIPELINE = """
import os, sys
from surgetank.cli import main, pipeline_argument
def ends(name):
    print(*sys.modules)
    sys.stdout.flush()
    os._exit(0)
pipeline_argument.located = ends
main()
"""


def test_a_worker_says_that_it_starts_before_heavy_modules_are_imported() -> None:
    """The line is a log line in the format of the settings."""
    command = [sys.executable, "-c", AT_THE_PIPELINE, "worker", "flights", "--bootstrap", "kafka.example:9092"]
    environment = os.environ | {"SURGETANK_TELEMETRY__LOG_FORMAT": "json"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in ended.stdout.split()}
    assert "surgetank" in imported
    assert imported.isdisjoint(HEAVY)
    (line,) = ended.stderr.splitlines()
    assert json.loads(line)["event"] == "starting a worker of flights on Kafka at kafka.example:9092"


def test_the_public_names_are_imported_at_their_first_use() -> None:
    """Each is there, and another name is an error."""
    assert {name for name in surgetank.__all__ if getattr(surgetank, name, None) is None} == set()
    assert {name for names in surgetank._MODULES.values() for name in names} == set(surgetank.__all__)
    assert not hasattr(surgetank, "Pipelines")
