"""A worker that can be looked into: it runs the app of a test's pipeline until a line comes in, and tells what ran.

Run it as a process of its own: ``python -m tests.contract.inside BOOTSTRAP`` with TEST_PREFIX set.
"""

import asyncio
import gc
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mode
import psutil

from surgetank.app import application
from surgetank.settings import load
from tests.support.topologies.stateless_flights import pipeline

# aiokafka.protocol holds thousands of tables from the moment it is imported; what talks to brokers lies here.
PARTS = (
    *(f"aiokafka.{part}" for part in ("client", "cluster", "conn", "consumer", "coordinator", "producer")),
    "faust.transport.consumer",
    "faust.transport.producer",
    "faust.transport.drivers",
    "faust.tables",
)


def services(service: Any) -> Iterator[mode.Service]:
    """Yield a service and all that were started below it."""
    yield service
    for child in service._children:
        yield from services(child)


def kafka_of_faust() -> list[str]:
    """Return every living object of the Kafka client that Faust would use."""
    return [type(each).__qualname__ for each in gc.get_objects() if str(type(each).__module__).startswith(PARTS)]


async def main(bootstrap: str) -> None:
    """Run, wait for a line, tell."""
    models = Path(__file__).parents[2] / "topology" / "models"
    app = application(pipeline, load({"kafka.bootstrap": bootstrap}), models=models)
    await app.start()
    await asyncio.to_thread(sys.stdin.readline)
    found = {
        "services": [f"{type(each).__module__}.{type(each).__qualname__}" for each in services(app)],
        "kafka_of_faust": kafka_of_faust(),
        # Faust makes a producer when its conductor is first touched; what counts is that it is never started.
        "started": [type(each).__qualname__ for each in (app._producer, app._consumer) if each and each.started],
        "topics_of_faust": len(app.topics),
        "tables_of_faust": len(app.tables),
        "listening": [each.laddr.port for each in psutil.Process().net_connections("tcp") if each.status == "LISTEN"],
        "threads": sorted(thread.name for thread in threading.enumerate()),
    }
    await app.stop()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
