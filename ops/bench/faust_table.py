"""(c) A plain Faust agent with a Table, Kafka by Faust itself (aiokafka). At least once.

Whole takes go through the compiled update, and a row that changed is set once a take: record by record the Table alone
would take longer than all of it. A row is set by the two steps that ``table[key] = row`` is made of, because that one
takes the partition of the event at hand for that of the key, and a take holds several partitions.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import faust
import numpy as np

from ops.bench.errand import Errand, errand
from ops.bench.payments_job import PaymentsJob, pack, unpack
from ops.bench.tuning import FAUST, FAUST_STORE, FAUST_TAKE_ROWS, FAUST_TAKE_SECONDS

RAW = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}


def application(job: Errand, folder: Path) -> faust.App:
    """Return the app: whole takes are scored by one model call."""
    app = faust.App(
        job.name,
        broker=f"kafka://{job.bootstrap}",
        store=FAUST_STORE,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        datadir=folder,
        **FAUST,
    )
    events = app.topic(job.events, **RAW)
    scores = app.topic(job.scores, **RAW)
    changelog = app.topic(job.changelog, **RAW)
    table = app.Table("cards", key_type=bytes, value_type=bytes, changelog_topic=changelog)
    scorer = PaymentsJob(job.name, job.events)

    @app.agent(events)  # type: ignore[untyped-decorator]
    async def score(stream: Any) -> None:
        """Score takes; an event is acknowledged when its score was delivered."""
        async for taken in stream.take_events(FAUST_TAKE_ROWS, within=FAUST_TAKE_SECONDS):
            messages = [event.message for event in taken]
            partitions = [message.partition for message in messages]
            keys = [message.key for message in messages]
            place = {key: at for at, key in enumerate(dict.fromkeys(keys))}
            rows = unpack([table.data.get(key) for key in place])
            index = np.array([place[key] for key in keys], dtype=np.int64)
            values = scorer.score(
                [event.value for event in taken], rows, index, partitions, [message.offset for message in messages]
            )
            where = dict(zip(keys, partitions, strict=True))
            for key, row in zip(place, pack(rows), strict=True):
                table.data[key] = row
                table.send_changelog(where[key], key, row)
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
