"""(c) A plain Faust agent, Kafka by Faust itself (aiokafka). At least once."""

from pathlib import Path
from typing import Any

import faust

from ops.bench import by_faust
from ops.bench.contender_args import ContenderArgs
from ops.bench.job import BenchJob
from ops.bench.tuning import FAUST_TAKE_ROWS, FAUST_TAKE_SECONDS


def application(job: ContenderArgs, folder: Path) -> faust.App:
    """Return the app, which scores whole takes by one model call."""
    app = by_faust.application(job, folder, "memory://")
    events = app.topic(job.events, **by_faust.RAW)
    scores = app.topic(job.scores, **by_faust.RAW)
    scorer = BenchJob(job.name, job.events)

    @app.agent(events)  # type: ignore[untyped-decorator]
    async def score(stream: Any) -> None:
        """Score takes; acknowledge an event when its score is delivered."""
        async for taken in stream.take_events(FAUST_TAKE_ROWS, within=FAUST_TAKE_SECONDS):
            messages = [event.message for event in taken]
            values = scorer.score(
                [event.value for event in taken],
                [message.partition for message in messages],
                [message.offset for message in messages],
            )
            await by_faust.deliver(scores, messages, values)

    return app


if __name__ == "__main__":
    by_faust.run(application)
