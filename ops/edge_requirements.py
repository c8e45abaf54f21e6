"""Writes requirements/edge.txt, the locked packages that `surgetank score` needs: ``python -m ops.edge_requirements``.

They are those of requirements/worker.txt without the Kafka client, Faust, the HTTP server and what only these need. An
extra of the package cannot say that: an extra adds packages, and takes none away (ops/decisions/0045).
"""

import re
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

FOLDER = Path(__file__).parents[1] / "requirements"
ALL, EDGE = FOLDER / "worker.txt", FOLDER / "edge.txt"
# What the modules import that `surgetank score` loads; a test runs it with nothing else.
DIRECT = (
    "avro",
    "fastavro",
    "llvmlite",
    "numba",
    "numpy",
    "onnx",
    "onnxruntime",
    "prometheus-client",
    "pyarrow",
    "pydantic",
    "pydantic-settings",
    "rich",
    "rocksdict",
    "typer",
)


def edge_requirements(locked: str) -> str:
    """Return the entries of a lock file for ``DIRECT`` and what these require, in their order."""
    entries: dict[str, str] = {}
    for entry in re.split(r"(?m)^(?=[\w.-]+==)", locked):
        if "==" in entry:  # a package has several, for several versions of Python
            entries[name(entry)] = entries.get(name(entry), "") + entry
    wanted: set[str] = set()
    waiting = list(DIRECT)
    while waiting:
        each = waiting.pop()
        if each not in wanted and each in entries:
            wanted.add(each)
            waiting += required(each)
    return "".join(entry for each, entry in entries.items() if each in wanted)


def required(distribution: str) -> Iterator[str]:
    """Yield what an installed distribution requires on this platform, without extras."""
    for line in requires(distribution) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield name(requirement.name)


def name(entry: str) -> str:
    """Return the name at the beginning of an entry, as package indexes compare it."""
    found = re.match(r"[\w.-]+", entry)
    assert found, entry
    return re.sub(r"[-_.]+", "-", found[0]).lower()


if __name__ == "__main__":
    EDGE.write_text(edge_requirements(ALL.read_text()))
