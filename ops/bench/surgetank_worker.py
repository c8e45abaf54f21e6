"""(b) Surgetank, exactly once: one worker with default settings, on the stateless flights pipeline."""

from dataclasses import replace

from ops.bench.contender_args import ContenderArgs, contender_args
from ops.bench.job import BUNDLE
from ops.training.flights_schedule import flights
from surgetank.declaration import Pipeline, Scores
from surgetank.settings import Settings, load


def pipeline(job: ContenderArgs) -> Pipeline:
    """Return the flights pipeline with the name and the topics of the arguments."""
    return replace(
        flights,
        name=job.name,
        events=replace(flights.events, topic=job.events),
        scores=Scores(job.scores),
        facts=(),
    )


def settings(job: ContenderArgs) -> Settings:
    """Return the default settings with the Kafka of the arguments."""
    return load({"kafka.bootstrap": job.bootstrap})


if __name__ == "__main__":
    from ops.bench import cpu_parts, worker_parts
    from surgetank import app

    worker_parts.install(cpu_parts.from_environment(), tables=False)
    arguments = contender_args()
    app.run(pipeline(arguments), settings(arguments), models=BUNDLE.parents[1])
