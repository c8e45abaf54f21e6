"""(c) A plain Faust agent with a Table, Kafka by Faust itself (aiokafka). At least once.

Whole takes go through the compiled update, and a changed row is set once per take: record by record the Table alone
would take longer than the whole job. The two steps of ``table[key] = row`` are called separately, because the operator
uses the partition of the current event for that of the key, and a take contains several partitions.
"""

from pathlib import Path
from typing import Any

import faust
import numpy as np

from ops.bench import by_faust
from ops.bench.contender_args import ContenderArgs
from ops.bench.payments_job import PaymentsJob, pack, unpack
from ops.bench.tuning import FAUST_STORE, FAUST_TAKE_ROWS, FAUST_TAKE_SECONDS


def application(job: ContenderArgs, folder: Path) -> faust.App:
    """Return the app, which scores whole takes by one model call."""
    app = by_faust.application(job, folder, FAUST_STORE)
    events = app.topic(job.events, **by_faust.RAW)
    scores = app.topic(job.scores, **by_faust.RAW)
    changelog = app.topic(job.changelog, **by_faust.RAW)
    table = app.Table("cards", key_type=bytes, value_type=bytes, changelog_topic=changelog)
    scorer = PaymentsJob(job.name, job.events)

    @app.agent(events)  # type: ignore[untyped-decorator]
    async def score(stream: Any) -> None:
        """Score takes; acknowledge an event when its score is delivered."""
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
            await by_faust.deliver(scores, messages, values)

    return app


if __name__ == "__main__":
    by_faust.run(application)
