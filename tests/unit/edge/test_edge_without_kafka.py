"""`surgetank score` runs with the packages of requirements/edge.txt and no others."""

import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import fastavro

from ops.edge_requirements import ALL, EDGE, edge_requirements, name
from surgetank.cli import NOT_AT_THE_EDGE

ROOT = Path(__file__).parents[3]
ABSENT = ("faust", "mode", "confluent_kafka", "aiohttp", "aiokafka")

# Runs the command where every package that is not named on the first line of the standard input cannot be imported.
WITH_ONLY = """
import sys
allowed = set(sys.stdin.buffer.readline().decode().split())
class Refuse:
    def find_spec(self, module, path=None, target=None):
        root = module.partition(".")[0]
        if root not in allowed and root not in sys.stdlib_module_names and not root.startswith("_"):
            raise ModuleNotFoundError(f"No module named {module!r}", name=root)
        return None
sys.meta_path.insert(0, Refuse())
from surgetank.cli import main
main()
"""


def allowed_modules() -> set[str]:
    """Return the modules of the locked packages, and the project's own."""
    locked = {name(line) for line in EDGE.read_text().splitlines() if "==" in line}
    modules = {module for module, owners in packages_distributions().items() if locked & set(map(name, owners))}
    return modules | {"surgetank", "topology", "ops"}


def test_the_locked_packages_are_those_of_a_worker_without_kafka_and_faust() -> None:
    """`make edge-lock` writes them."""
    assert EDGE.read_text() == edge_requirements(ALL.read_text())
    locked = {name(line) for line in EDGE.read_text().splitlines() if "==" in line}
    assert locked.isdisjoint({"faust-streaming", "mode-streaming", "confluent-kafka", "aiohttp", "aiokafka"})
    assert allowed_modules().isdisjoint(ABSENT)


def test_a_file_is_scored_without_kafka_client_and_faust(tmp_path: Path) -> None:
    """With state, in a process that can import nothing but the locked packages."""
    events = [
        {"event_id": f"p-{number}", "card": "4000", "amount": 10.0 * number, "paid_at": 1_750_000_000_000 + number}
        for number in range(1, 6)
    ]
    script = "\n".join([" ".join(sorted(allowed_modules())), *map(json.dumps, events)])
    arguments = ["score", "--bundle", "ops/bench/models/payments-odd/1", "--pipeline", "ops.bench.payments"]
    arguments += ["--in", "-", "--out", str(tmp_path / "scores.avro"), "--state", str(tmp_path / "state"), "--json"]

    done = subprocess.run(
        [sys.executable, "-c", WITH_ONLY, *arguments],
        input=script,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scores"] == 5
    with (tmp_path / "scores.avro").open("rb") as stream:
        assert [each["event_id"] for each in fastavro.reader(stream)] == [each["event_id"] for each in events]
    worker = subprocess.run(
        [sys.executable, "-c", WITH_ONLY, "worker", "flights"],
        input=" ".join(sorted(allowed_modules())),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert worker.returncode == 2
    last = worker.stderr.splitlines()[-1]
    assert re.match("surgetank: this command needs (faust|confluent_kafka), which is not installed; an install", last)
    assert allowed_modules().isdisjoint(NOT_AT_THE_EDGE)
