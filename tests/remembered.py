"""A pipeline with memory on a real Kafka: departures and boardings are sent, and the state of every key is counted."""

from functools import lru_cache
from pathlib import Path

from stage import Stage

from pipeline.declaration import Pipeline
from pipeline.drills.recording import Recording
from pipeline.drills.states import compare_states
from tests.topologies.remembering import ENVIRONMENT, publish, remembering
from topology.recordings.flights import recording

__all__ = ["ENVIRONMENT", "Remembered"]


@lru_cache(maxsize=1)
def all_events() -> Recording:
    """Return boardings and departures of the year; read once."""
    return recording()


class Remembered(Stage):
    """One pipeline with memory under test."""

    topology = "tests.topologies.remembering"

    def declared(self, partitions: int) -> tuple[Pipeline, Path]:
        """Return the pipeline of tests/topologies/remembering.py, with its model made now."""
        pipeline, models = remembering(self.prefix, partitions), self.folder / "models"
        publish(models, pipeline)
        return pipeline, models

    def events(self) -> Recording:
        """Return boardings, which are scored, and departures."""
        (facts,) = self.pipeline.facts
        return all_events().to({"flights.boarding": self.pipeline.events.topic, "flights.departures": facts.topic})

    def check_states(self) -> None:
        """Fail unless the state of every key of every table is what the events make it."""
        for report in compare_states(self.kafka, self.pipeline):
            print(report.line)
            assert report.keys > 100
            assert report.ok, f"{report.line}\n{self.logs()}"
