"""A worker with a real schema registry: several writers, a registry that hangs, scores that others read."""

import io
import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from typer.testing import CliRunner

from surgetank import Events
from surgetank.cli import schemas
from surgetank.clock import SystemClock
from surgetank.codec.avro.id_headers import NAME
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.avro.types import Json
from surgetank.codec.base import INCOMPATIBLE_SCHEMA
from surgetank.codec.formats import deserializer_of, registered_schemas, schema_lookup
from surgetank.codec.schema_plan import apply, plan, topic_schemas
from surgetank.codec.schema_registry import SchemaRegistry
from surgetank.codec.schema_repository import project_schemas
from surgetank.codec.wire import FRAME_BYTES, frame
from surgetank.drills.fleet import Member
from surgetank.kafka.topic_reader import TopicReader
from surgetank.records import Headers, PartitionRecords, RecordBatch, TopicPartition, large_binary
from surgetank.settings import SchemaRegistrySettings, Settings
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import Stage, real_events
from tests.support.real_registry import RealRegistry, real_registry

PARTITIONS = 4
SUBJECT = "flights.boarding-value"
SECONDS = 60.0


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """Run one registry for all tests of a session."""
    with real_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


def writers() -> list[Json]:
    """Return schemas that events were written with: today's, one without a field, one with more fields in other order.

    All can be read as today's.
    """
    today = project_schemas().schema("boarding")
    older = today | {"fields": [each for each in today["fields"] if each["name"] != "tailnum"]}
    gate = {"name": "gate", "type": ["null", "string"], "default": None}
    return [today, older, today | {"fields": [gate, *reversed(today["fields"])]}]


def plain_rows(count: int) -> list[dict[str, Any]]:
    """Return real events as fastavro writes them."""
    columns = real_events().tables[0].slice(0, count).combine_chunks().to_batches()[0]
    today = fastavro.parse_schema(project_schemas().schema("boarding"))
    values = AvroSerializer(project_schemas(), "boarding").serialize(columns).to_pylist()
    return [fastavro.schemaless_reader(io.BytesIO(value[FRAME_BYTES:]), today, None) for value in values]


def written(row: dict[str, Any], schema: Json, schema_id: int) -> bytes:
    """Return an event of a writer."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema, named_schemas={}), row | {"gate": "B7"})
    return frame(schema_id) + out.getvalue()


def failing(worker: Member) -> dict[str, str]:
    """Return what a worker's /ready says is wrong, by name."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/ready", timeout=5) as answer:
            body = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        body = json.loads(error.read())
    except OSError:
        return {"worker": "no answer"}
    return {each["name"]: each["why"] for each in body["failing"]}


def scored_by_partition(stage: Stage) -> dict[int, int]:
    """Return the number of scores of each partition."""
    found: dict[int, int] = {}
    with TopicReader(stage.kafka, [stage.pipeline.scores.topic]) as reader:
        for records in reader.catch_up():
            for partition in records.partitions.tolist():
                found[partition] = found.get(partition, 0) + 1
    return found


def officially_read(stage: Stage, url: str) -> list[dict[str, Any]]:
    """Return the scores as the official library decodes them with the registry."""
    decode = AvroDeserializer(SchemaRegistryClient({"url": url}))
    context = SerializationContext(stage.pipeline.scores.topic, MessageField.VALUE)
    with TopicReader(stage.kafka, [stage.pipeline.scores.topic]) as reader:
        return [decode(value, context) for records in reader.catch_up() for value in records.values.to_pylist()]


def test_writers_of_several_schemas_while_the_registry_hangs(
    kafka: KafkaUnderTest, registry: RealRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every event is scored once, and a consumer with the official library reads the scores.

    While the registry hangs, a new schema id stops the partition of its event only.
    """
    monkeypatch.setenv("SURGETANK_SCHEMA_REGISTRY__URL", registry.url)  # for the audit
    monkeypatch.setenv("SURGETANK_STATE__DIRECTORY", str(tmp_path / "audit"))
    client = SchemaRegistry(SchemaRegistrySettings(url=registry.url))
    written_with = writers()
    client.set_compatibility(SUBJECT, "NONE")
    ids = [client.register(SUBJECT, json.dumps(each)) for each in written_with]
    rows = plain_rows(2_000)
    settings = {
        "schema_registry.url": registry.url,
        "schema_registry.timeout_seconds": 2,
        "schema_registry.recheck_seconds": 1,
    }
    with Stage(kafka.settings, tmp_path, settings=settings, partitions=PARTITIONS) as stage:
        stage.apply_topics()
        apply(client, plan(client, topic_schemas(stage.pipeline, project_schemas(), recording=False), None))
        stage.put([written(row, written_with[n % 2], ids[n % 2]) for n, row in enumerate(rows)])
        worker = stage.worker()
        assert stage.audit().ok
        scores = officially_read(stage, registry.url)
        assert sorted(each["source_offset"] for each in scores) == sorted(
            [*range(len(rows) // PARTITIONS)] * PARTITIONS
        )
        assert {each["pipeline"] for each in scores} == {stage.pipeline.name}

        assert registry.process is not None
        registry.process.send_signal(signal.SIGSTOP)  # connections are accepted, and nobody answers
        later: list[bytes | None] = [written(row, written_with[0], ids[0]) for row in rows[:40]]
        headers: list[Headers] = [[]] * 40
        later[2], headers[2] = written(rows[2], written_with[1], ids[1])[FRAME_BYTES:], [(NAME, frame(ids[1]))]
        later[3] = written(rows[3], written_with[2], ids[2])  # the first of partition 3
        stage.put(later, headers=headers)
        before = len(rows) // PARTITIONS
        wanted = dict.fromkeys(range(3), before + 10) | {3: before}
        stage.until(lambda: scored_by_partition(stage) == wanted, SECONDS, "the other partitions go on")
        stage.until(lambda: "schemas" in failing(worker), SECONDS, "/ready says so")
        assert f"schema ids {ids[2]} are not known" in failing(worker)["schemas"]
        registry.process.send_signal(signal.SIGCONT)
        stage.until(lambda: stage.scores() == len(rows) + 40, SECONDS, "the registry answers")
        stage.until(lambda: failing(worker) == {}, SECONDS, "the worker is ready")
        assert stage.fleet.stop(worker) == 0
        with TopicReader(stage.kafka, [stage.pipeline.dead_letters]) as reader:
            assert not any(len(records) for records in reader.catch_up())


def test_schemas_of_a_pipeline_are_registered_once(registry: RealRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """`plan` shows the difference, `apply` removes it, and a subject with other fields is refused."""
    monkeypatch.setenv("SURGETANK_SCHEMA_REGISTRY__URL", registry.url)
    client = SchemaRegistry(SchemaRegistrySettings(url=registry.url))

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(schemas.app, [*arguments, "flights"])
        return result.exit_code, result.output

    status, said = run("plan")
    assert (status, "new subject  flights.scores-value" in said) == (1, True)
    assert run("apply")[0] == 0
    status, said = run("plan")
    assert (status, said.count("registered")) == (0, 4), said
    found = client.latest("flights.scores-value")
    assert found is not None
    assert json.loads(client.schema(found[0]).text) == project_schemas().schema("score")
    assert client.compatibility("flights.scores-value") == "FULL_TRANSITIVE"

    wrong = {"type": "record", "name": "Features", "fields": [{"name": "event_id", "type": "long"}]}
    client.register("flights.features-value", json.dumps(wrong))
    client.set_compatibility("flights.features-value", "FULL_TRANSITIVE")
    monkeypatch.setenv("SURGETANK_FEATURES__RECORD", "true")
    status, said = run("apply")
    assert (status, "refused      flights.features-value" in said) == (2, True)


def test_json_events_of_the_official_serializer(registry: RealRegistry, tmp_path: Path) -> None:
    """With the id in the value or in a header, beside events without one; an Avro id is refused."""
    topic, wanted = "json.events", [{"id": "a", "amount": 1.5}, {"id": "b", "amount": 2.0}, {"id": "c", "amount": 3.0}]
    schema = {
        "title": "Event",
        "type": "object",
        "properties": {"id": {"type": "string"}, "amount": {"type": "number"}},
        "required": ["id"],
    }
    official = JSONSerializer(json.dumps(schema), SchemaRegistryClient({"url": registry.url}))
    client = SchemaRegistry(SchemaRegistrySettings(url=registry.url))
    avro = client.register("flights.scores-value", json.dumps(project_schemas().schema("score")))
    framed = official(wanted[0], SerializationContext(topic, MessageField.VALUE))
    assert framed is not None
    bare = json.dumps(wanted[1]).encode()
    values = [framed, bare, json.dumps(wanted[2]).encode(), frame(avro) + bare]
    headers: list[Headers] = [[], [(NAME, framed[:FRAME_BYTES])], [], []]

    event = {
        "type": "record",
        "name": "Event",
        "fields": [{"name": "id", "type": "string"}, {"name": "amount", "type": "double"}],
    }
    (tmp_path / "event.avsc").write_text(json.dumps(event))
    (tmp_path / "ids.json").write_text(json.dumps({"70": {"schema": "event", "version": 1}}))
    events = Events(topic, schema="event", id="id", time="id", format="json")
    settings = Settings.model_validate(
        {"schema_registry": {"url": registry.url, "not_found_seconds": 0}, "state": {"directory": tmp_path / "state"}}
    )
    contracts, lookup = project_schemas(tmp_path), schema_lookup(settings, SystemClock())
    decoder = deserializer_of(
        events, contracts, value_bytes_max=1_000, writers=registered_schemas(events, contracts, lookup)
    )
    records = PartitionRecords(
        TopicPartition(topic, 0),
        4,
        np.arange(4),
        np.zeros(4, dtype=np.int64),
        large_binary([None] * 4),
        large_binary(values),
        headers.__getitem__,
    )
    batch, dead = decoder.deserialize(RecordBatch.of_partitions([records]))
    assert batch.columns.to_pylist() == wanted
    assert [(each.row, each.reason) for each in dead] == [(3, INCOMPATIBLE_SCHEMA)]
    assert lookup is not None
    lookup.stop()
