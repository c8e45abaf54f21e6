"""A pipeline that filters its events, on a real Kafka: each event has one outcome, or none because it is filtered."""

from pathlib import Path

import numpy as np

from surgetank.declaration import Pipeline
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import IN_PLAY, Stage, real_events
from tests.support.topologies import filtered_flights

COUNT = 20_000


class FilteringStage(Stage):
    """A pipeline with both conditions."""

    topology = "tests.support.topologies.filtered_flights"

    def declared(self, partitions: int) -> tuple[Pipeline, Path]:
        """Return the pipeline, and the path of its models."""
        return filtered_flights.prefixed(self.prefix, partitions), super().declared(partitions)[1]


def test_filtered_events_are_processed_without_an_outcome(kafka: KafkaUnderTest, tmp_path: Path) -> None:
    """The scores are those of the long flights, the audit counts the others, and the lag ends at 0."""
    distances = real_events().tables[0]["distance"].slice(0, COUNT).to_numpy()
    with FilteringStage(kafka.settings, tmp_path, settings=IN_PLAY) as stage:
        stage.apply_topics()
        stage.send(COUNT)
        stage.worker()

        found = stage.audit()

        long = int(np.sum(distances > filtered_flights.LONG))
        assert found.ok, (found, stage.logs())
        assert (found.events, found.scores, found.filtered) == (COUNT, long, COUNT - long)
        assert 0 < np.sum(distances <= filtered_flights.MINIMUM) < COUNT - long
        assert stage.lag() == 0
