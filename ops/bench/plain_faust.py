"""(c) A plain Faust agent, Kafka by Faust itself (aiokafka). At least once."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import faust

from ops.bench.errand import Errand, errand
from ops.bench.job import Job
from ops.bench.tuning import FAUST, FAUST_TAKE_ROWS, FAUST_TAKE_SECONDS


def application(job: Errand, folder: Path) -> faust.App:
    """Return the app: whole takes are scored by one model call."""
    app = faust.App(
        job.name,
        broker=f"kafka://{job.bootstrap}",
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        datadir=folder,
        **FAUST,
    )
    raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    events = app.topic(job.events, **raw)
    scores = app.topic(job.scores, **raw)
    scorer = Job(job.name, job.events)

    @app.agent(events)  # type: ignore[untyped-decorator]
    async def score(stream: Any) -> None:
        """Score takes; an event is acknowledged when its score was delivered."""
        async for taken in stream.take_events(FAUST_TAKE_ROWS, within=FAUST_TAKE_SECONDS):
            messages = [event.message for event in taken]
            partitions = [message.partition for message in messages]
            values = scorer.score(
                [event.value for event in taken], partitions, [message.offset for message in messages]
            )
            sent = [
                await scores.send(key=message.key, value=value, partition=partition)
                for message, value, partition in zip(messages, values, partitions, strict=True)
            ]
            await asyncio.wait(sent)
            for each in sent:
                each.result()

    return app


if __name__ == "__main__":
    told = errand()
    sys.argv[1:] = []
    with tempfile.TemporaryDirectory() as scratch:
        faust.Worker(application(told, Path(scratch)), loglevel="WARNING").execute_from_commandline()
