"""Surgetank on flights that are JSON: the worker of ``surgetank_worker``, whose events have another format."""

from dataclasses import replace

from ops.bench.contender_args import ContenderArgs, contender_args
from ops.bench.job import BUNDLE
from ops.bench.surgetank_worker import pipeline, settings
from surgetank.declaration import Pipeline


def json_pipeline(job: ContenderArgs) -> Pipeline:
    """Return the flights pipeline with JSON events and the name and the topics of the arguments."""
    avro = pipeline(job)
    return replace(avro, events=replace(avro.events, format="json"))


if __name__ == "__main__":
    from ops.bench import cpu_parts, worker_parts
    from surgetank import app

    worker_parts.install(cpu_parts.from_environment(), tables=False)
    arguments = contender_args()
    app.run(json_pipeline(arguments), settings(arguments), models=BUNDLE.parents[1])
