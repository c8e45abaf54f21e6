"""(b) Stateful Surgetank, exactly once: one worker with default settings, on the payments pipeline.

Without the default table of each card's last score, because the other contenders keep none.
"""

from dataclasses import replace

from ops.bench.contender_args import ContenderArgs, contender_args
from ops.bench.payments import payments
from ops.bench.payments_job import BUNDLE
from surgetank.declaration import Pipeline, Scores
from surgetank.settings import Settings, load


def pipeline(job: ContenderArgs) -> Pipeline:
    """Return the payments pipeline with the name and the topics of the arguments."""
    events = replace(payments.events, topic=job.events)
    return replace(payments, name=job.name, events=events, scores=Scores(job.scores), predictions=False)


def settings(job: ContenderArgs) -> Settings:
    """Return the default settings with the Kafka and the state folder of the arguments."""
    return load({"kafka.bootstrap": job.bootstrap, "state.directory": job.folder})


if __name__ == "__main__":
    from ops.bench import cpu_parts, worker_parts
    from surgetank import app

    worker_parts.install(cpu_parts.from_environment(), tables=True)
    arguments = contender_args()
    app.run(pipeline(arguments), settings(arguments), models=BUNDLE.parents[1])
