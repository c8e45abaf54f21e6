"""A worker of the stateless flights that takes plans of versions from its standard input.

Run it as a process of its own: ``python -m tests.support.plan_worker BOOTSTRAP MODELS`` with TEST_PREFIX set. Each line
is a plan as JSON; the answer is a line once the plan is in force. The worker stops at the end of the input.
"""

import asyncio
import json
import queue
import sys
import time
from pathlib import Path
from typing import Any

from surgetank.app import application
from surgetank.serving.loaded_models import LoadedModels
from surgetank.serving_plan import Canary, ServingPlan
from surgetank.settings import load
from tests.support.topologies.stateless_flights import pipeline


def plan_of(line: str) -> ServingPlan:
    """Return the plan of a line: {"primary": "2", "canary": ["3", 0.5], "shadow": null, "loaded": ["1"]}."""
    fields: dict[str, Any] = json.loads(line)
    canary = fields.get("canary")
    return ServingPlan(
        fields["primary"],
        None if canary is None else Canary(*canary),
        fields.get("shadow"),
        frozenset(fields.get("loaded", ())),
    )


def apply_plans(models: LoadedModels) -> None:
    """Apply the plan of each line of the input, and print a line when it is in force."""
    for line in sys.stdin:
        plan = plan_of(line)
        models.apply(plan)
        while models.status().in_force != plan:
            if failed := models.status().failed:
                print(json.dumps({"failed": dict(failed)}), flush=True)
                return
            time.sleep(0.005)
        print(json.dumps({"in_force": plan.primary}), flush=True)


async def main(bootstrap: str, models: str) -> None:
    """Run until the input ends."""
    ready: queue.SimpleQueue[LoadedModels] = queue.SimpleQueue()
    settings = load({"kafka.bootstrap": bootstrap, "model.version": "1"})
    app = application(pipeline, settings, models=Path(models), follow=ready.put)
    await app.start()
    await asyncio.to_thread(lambda: apply_plans(ready.get()))
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
