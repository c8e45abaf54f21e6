"""(b) Surgetank with memory, exactly once: one worker with default settings, on the payments pipeline.

Without the table of each card's last score, which it would keep by default: the others keep none.
"""

from dataclasses import replace

from ops.bench.errand import Errand, errand
from ops.bench.payments import payments
from ops.bench.payments_job import BUNDLE
from pipeline.declaration import Pipeline, Scores
from pipeline.settings import Settings, load


def pipeline(job: Errand) -> Pipeline:
    """Return the payments pipeline with the name and the topics of the errand."""
    events = replace(payments.events, topic=job.events)
    return replace(payments, name=job.name, events=events, scores=Scores(job.scores), predictions=False)


def settings(job: Errand) -> Settings:
    """Return the default settings on the errand's Kafka, with state in its folder."""
    return load({"kafka.bootstrap": job.bootstrap, "state.directory": job.folder})


if __name__ == "__main__":
    from pipeline import app

    told = errand()
    app.run(pipeline(told), settings(told), models=BUNDLE.parents[1])
