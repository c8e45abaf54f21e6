"""A pipeline that filters its events, on a real Kafka: each event has one outcome, or none because it is filtered."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from surgetank.codec.schema_repository import project_schemas
from surgetank.codec.score_schema import make_score_schema, write_score_schema
from surgetank.declaration import Pipeline
from surgetank.drills.wire import score_decoder
from surgetank.kafka.topic_reader import TopicReader
from tests.support import misbehaving_models
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import IN_PLAY, Stage, real_events
from tests.support.topologies import filtered_flights

COUNT = 20_000
LATE = 2_000  # miles


class FilteringStage(Stage):
    """A pipeline with both conditions."""

    topology = "tests.support.topologies.filtered_flights"

    def declared(self, partitions: int) -> tuple[Pipeline, Path]:
        """Return the pipeline, and the path of its models: one that gives labels."""
        models = self.folder / "models"
        misbehaving_models.publish(models, "1", misbehaving_models.three_classes(), output="")
        return filtered_flights.prefixed(self.prefix, partitions), models


@pytest.fixture
def schemas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of schemas, which workers and tools read, with that of the scores."""
    folder = tmp_path / "schemas"
    shutil.copytree(Path(__file__).parents[2] / "schemas", folder)
    pipeline = filtered_flights.prefixed("t")
    write_score_schema(folder, pipeline.scores.schema, make_score_schema(project_schemas(), pipeline))
    monkeypatch.setenv("SURGETANK_SCHEMAS__DIRECTORY", str(folder))
    return folder


def test_filtered_events_are_processed_without_an_outcome(kafka: KafkaUnderTest, tmp_path: Path, schemas: Path) -> None:
    """The scores are those of the long flights, with fields of these; the audit counts the others, no lag is left.

    Each score has the class that the model chose, and its probability.
    """
    table = real_events().tables[0].slice(0, COUNT)
    distances = table["distance"].to_numpy()
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

        decode, passed, labels = score_decoder(stage.pipeline), dict[str, tuple[int, str]](), dict[str, str]()
        with TopicReader(stage.kafka, [stage.pipeline.scores.topic]) as reader:
            for records in reader.catch_up():
                columns = decode(records).columns
                fields = zip(columns["distance"].to_pylist(), columns["origin"].to_pylist(), strict=True)
                passed |= zip(columns["event_id"].to_pylist(), fields, strict=True)
                labels |= zip(columns["event_id"].to_pylist(), columns["label"].to_pylist(), strict=True)
                assert columns["vector"].null_count == columns.num_rows
                assert all(1 / 3 < score <= 1 for score in columns["score"].to_pylist())
        rows = table.filter(pa.array(distances > filtered_flights.LONG)).select(["event_id", "distance", "origin"])
        assert passed == {row["event_id"]: (row["distance"], row["origin"]) for row in rows.to_pylist()}
        late = {row["event_id"]: "late" if row["distance"] > LATE else "on time" for row in rows.to_pylist()}
        assert labels == late
        assert len(set(late.values())) == 2
