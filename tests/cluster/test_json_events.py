"""Events that are JSON, and what is sent in their place, on a real Kafka: each ends as one score or one dead letter."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from surgetank.cli import dead_letters
from surgetank.codec import base
from surgetank.codec.json.serializer import JsonSerializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.declaration import SCORE, Pipeline
from surgetank.drills.wire import decoder
from surgetank.kafka.topic_reader import TopicReader
from surgetank.records import DeadLetterReason
from surgetank.settings import load
from surgetank.worker.processing_parts import load_model
from tests.support.event_bytes import Event, buried, real, send
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import IN_PLAY, Stage, real_events
from tests.support.topologies import json_flights

COUNT = 20_000
VALUE_BYTES_MAX = 30_000
HOSTILE: dict[Callable[[bytes], bytes | None], DeadLetterReason] = {
    lambda _: None: base.NULL_VALUE,
    lambda _: b"": base.EMPTY,
    lambda event: event + b" " * VALUE_BYTES_MAX: base.VALUE_TOO_LARGE,
    lambda event: event[:-1]: base.NOT_JSON,
    lambda event: event + event: base.NOT_JSON,
    lambda event: b"\xef\xbb\xbf" + event: base.NOT_JSON,
    lambda event: event.replace(b'"origin":"', b'"origin":"\xff'): base.NOT_JSON,
    lambda event: event[:-1] + b',"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}": base.NOT_JSON,
    lambda event: event.replace(b'"flight":', b'"flight":NaN,"x":'): base.NOT_JSON,
    lambda event: event[:-1] + b',"flight":1}': base.UNDECODABLE,
    lambda event: event.replace(b'"distance":', b'"distance":1e2,"x":'): base.UNDECODABLE,
    lambda event: event.replace(b'"distance":', b'"distance":99999999999,"x":'): base.UNDECODABLE,
    lambda event: event.replace(b'"boarding_at":', b'"boarded_at":'): base.UNDECODABLE,
    lambda event: b"[" + event + b"]": base.UNDECODABLE,
}


class JsonStage(Stage):
    """A pipeline whose events are JSON."""

    topology = "tests.support.topologies.json_flights"

    def declared(self, partitions: int) -> tuple[Pipeline, Path]:
        """Return the pipeline, and the path of its models."""
        return json_flights.prefixed(self.prefix, partitions), super().declared(partitions)[1]


@pytest.fixture
def json_stage(kafka: KafkaUnderTest, tmp_path: Path) -> Iterator[JsonStage]:
    """Set a stage whose workers may dead-letter everything."""
    with contextlib.ExitStack() as leaving:
        settings = {**IN_PLAY, "dead_letters.share_max": 1, "dead_letters.value_bytes_max": VALUE_BYTES_MAX}
        stage = leaving.enter_context(JsonStage(kafka.settings, tmp_path, settings=settings))
        stage.apply_topics()
        yield stage


def test_json_events_among_hostile_ones_have_one_outcome_each(
    json_stage: JsonStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every event in 20 is hostile: one dead letter, as it came, with the right reason; all others have the
    score of the model for the same event in columns.
    """
    columns = real_events().tables[0].slice(0, COUNT).combine_chunks().to_batches()[0]
    values = JsonSerializer(project_schemas(), "boarding").serialize(columns).to_pylist()
    events = [Event(event.key, value) for event, value in zip(real(COUNT), values, strict=True)]
    reasons = {}
    for number, row in enumerate(range(0, COUNT, 20)):
        spoil, reasons[row] = list(HOSTILE.items())[number % len(HOSTILE)]
        events[row] = Event(events[row].key, spoil(events[row].value or b""))
    lying = send(json_stage, events)
    worker = json_stage.worker()

    found = json_stage.audit()

    assert found.ok, (found, json_stage.logs())
    assert (found.scores, found.dead_letters) == (COUNT - len(reasons), len(reasons))
    partitions = json_stage.pipeline.events.partitions
    letters = list(buried(json_stage))
    for letter in letters:
        source, offset = letter.cause.source, letter.cause.offset
        assert letter.event == lying[source][offset]
        assert letter.cause.reason == reasons.pop(offset * partitions + source.partition)
    assert not reasons
    assert json_stage.fleet.stop(worker) == 0

    good = [row for row in range(COUNT) if row % 20]
    ids = columns["event_id"].to_pylist()
    scored = scores(json_stage)
    assert set(scored) == {ids[row] for row in good}
    model = load_model(json_stage.pipeline, load({"model.directory": json_stage.models}), json_stage.models)
    expected = model.score(json_stage.pipeline.spec.matrix(columns))
    np.testing.assert_allclose([scored[ids[row]] for row in good], expected[good], rtol=1e-6)

    settings = load({"kafka.bootstrap": json_stage.kafka.bootstrap})
    monkeypatch.setattr(dead_letters, "pipeline_and_settings", lambda *_: (json_stage.pipeline, settings))
    with TopicReader(json_stage.kafka, [json_stage.pipeline.dead_letters]) as reader:
        at = next(
            f"{records.partitions[row]}:{records.offsets[row]}"
            for records in reader.catch_up()
            for row in range(len(records))
            if b'"distance":1e2' in (records.values[row].as_py() or b"")
        )
    shown = CliRunner().invoke(dead_letters.app, ["show", json_stage.pipeline.name, at])
    assert shown.exit_code == 0, shown.output
    assert "field 'distance': the number has a fraction or an exponent" in shown.output.split("not decoded: ")[1]
    assert "carrier" in shown.output.split("not decoded: ")[0]


def scores(stage: JsonStage) -> dict[str, float]:
    """Return the score of each event id; fail if an id has two."""
    decode = decoder(SCORE)
    found: Counter[str] = Counter()
    by_id: dict[str, float] = {}
    with TopicReader(stage.kafka, [stage.pipeline.scores.topic]) as reader:
        for records in reader.catch_up():
            columns = decode(records).columns
            ids = columns["event_id"].to_pylist()
            found.update(ids)
            by_id |= dict(zip(ids, columns["score"].to_pylist(), strict=True))
    assert not [each for each, count in found.items() if count > 1]
    return by_id
