"""Events with ids of a schema registry: looked up, decoded, kept back, refused, with a stub in place of a registry."""

import base64
import json
import logging
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from surgetank.codec import base
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.references import inlined
from surgetank.codec.avro.registered_schemas import RegisteredSchemas
from surgetank.codec.schema_id_cache import SchemaIdCache
from surgetank.codec.schema_registry import NotRegisteredError, RegistryUnavailableError, SchemaRegistry
from surgetank.errors import SettingsError, StartupError
from surgetank.settings import SchemaRegistrySettings
from tests.support.registry_stub import RegistryStub
from tests.unit.codec.avro_samples import contracts_of, record, records_of, rows_of, written
from tests.unit.codec.registry_stage import OLDER, READER, SECONDS, RegistryStage, event


def test_several_writer_schemas_and_ids_in_one_batch(stage: RegistryStage, stub: RegistryStub) -> None:
    """Rows keep their order, defaults fill in, each id is looked up once, and two ids of one schema share a reader."""
    order = [2, 1, 3, 3, 1, 2]
    batch, dead = stage.decoder.deserialize(records_of([event(i, each) for i, each in enumerate(order)]))
    assert dead == ()
    assert rows_of(batch.columns) == [{"id": i, "new": "n" if each == 1 else "-"} for i, each in enumerate(order)]
    assert len(stage.schemas.readers) == 2
    assert stub.lookups == {1: 1, 2: 1, 3: 1}


def test_an_event_has_a_schema_id_that_is_not_known_yet(stage: RegistryStage) -> None:
    """Events before it are ready; it and those behind it wait, and are ready once the registry has answered."""
    values = [event(0, 1), event(1, 1), event(2, 2), event(3, 1)]
    stage.wait(lambda: stage.ready(values[:2]) == 2)
    assert stage.gate.why_waiting() == ""
    stage.wait(lambda: stage.ready(values) == 4)
    assert stage.gate.why_waiting() == ""


@pytest.mark.parametrize(
    "answer", [(500, b"{}"), (200, b"<html>"), (401, b"{}"), (404, b"no such path"), (429, b"{}"), (200, b"[]")]
)
def test_the_schema_registry_is_not_available(
    stage: RegistryStage, stub: RegistryStub, answer: tuple[int, bytes]
) -> None:
    """Known ids go on, unknown ones wait, with the reason; once it answers, all are ready."""
    stage.wait(lambda: stage.ready([event(0, 1)]) == 1)
    asked = []

    def fault(path: str) -> tuple[int, bytes]:
        asked.append(path)
        return answer

    stub.fault = fault
    values = [event(0, 1), event(1, 2)]
    assert stage.ready(values) == 1
    stage.wait_until(lambda: len(asked) > 1)  # asked again, so the first answer is known
    assert "schema ids 2 are not known: the schema registry is unavailable" in stage.gate.why_waiting()
    assert stage.ready(values) == 1
    stub.fault = lambda _: None
    stage.wait(lambda: stage.ready(values) == 2)


def test_the_schema_registry_refuses_connections(stub: RegistryStub, tmp_path: Path) -> None:
    """Also at the start: what the last run knew is decoded, the rest waits; a registry that starts is asked again."""
    first = RegistryStage(stub, tmp_path)
    first.wait(lambda: first.ready([event(0, 1)]) == 1)
    first.lookup.stop()
    port, schemas = stub.port, stub.schemas
    stub.stop()
    stage = RegistryStage(stub, tmp_path)
    values = [event(0, 1), event(1, 2)]
    assert stage.ready(values) == 1
    assert stage.decoder.deserialize(records_of(values[:1]))[1] == ()
    again = RegistryStub(port)
    again.schemas = schemas
    stage.wait(lambda: stage.ready(values) == 2)
    stage.lookup.stop()
    again.stop()


def test_the_schema_registry_answers_slowly(stage: RegistryStage, stub: RegistryStub) -> None:
    """Who asks which rows are ready gets an answer at once; known ids go on."""
    stage.wait(lambda: stage.ready([event(0, 1)]) == 1)
    slow, answered = threading.Event(), threading.Event()

    def fault(_: str) -> None:
        slow.set()
        answered.wait(SECONDS)

    stub.fault = fault
    values = [event(0, 1), event(1, 2)]
    assert stage.ready(values) == 1
    assert slow.wait(SECONDS)
    assert stage.ready(values) == 1
    answered.set()
    stage.wait(lambda: stage.ready(values) == 2)


def test_the_schema_registry_has_another_schema_for_an_id(
    stub: RegistryStub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its events wait, also in a worker that restarts, and the log says so; they go on with the first schema again."""
    first = RegistryStage(stub, tmp_path)
    first.wait(lambda: first.ready([event(0, 1)]) == 1)
    first.lookup.stop()
    stub.schemas[1] = OLDER
    stage = RegistryStage(stub, tmp_path, recheck_seconds=0.05)
    with caplog.at_level(logging.ERROR):
        stage.wait(lambda: stage.ready([event(0, 1)]) == 0)
    assert "another schema for ids 1" in stage.gate.why_waiting()
    assert "another schema for ids 1" in caplog.text
    stub.schemas[1] = READER
    stage.wait(lambda: stage.ready([event(0, 1)]) == 1)
    stage.lookup.stop()


def test_the_schema_registry_was_set_up_anew_with_other_ids(stub: RegistryStub, tmp_path: Path) -> None:
    """Ids that it lost or never had before go on or are looked up; one with another schema than before waits."""
    stage = RegistryStage(stub, tmp_path, recheck_seconds=0.05)
    first = [event(0, 1), event(1, 2)]
    stage.wait(lambda: stage.ready(first) == 2)
    port = stub.port
    stub.stop()
    again = RegistryStub(port)
    again.schemas = {1: OLDER, 4: READER}  # 2 is not there any more
    stage.wait(lambda: stage.ready([event(0, 1)]) == 0)
    assert stage.ready([event(1, 2)]) == 1
    value = written(READER, {"id": 7, "new": "n"}, 4)
    stage.wait(lambda: stage.ready([value]) == 1)
    batch, dead = stage.decoder.deserialize(records_of([event(1, 2), value]))
    assert (dead, batch.columns["id"].to_pylist()) == ((), [1, 7])
    stage.lookup.stop()
    again.stop()


def test_the_schema_registry_denies_an_id(stage: RegistryStage) -> None:
    """After a while its events are dead letters."""
    values = [event(0, 1), written(READER, {"id": 1, "new": ""}, 99)]
    stage.wait(lambda: stage.ready(values) == 2)
    _, (letter,) = stage.decoder.deserialize(records_of(values))
    assert (letter.row, letter.reason) == (1, base.UNKNOWN_SCHEMA)
    assert "99" in letter.message


INCOMPATIBLE: list[tuple[Any, str, str]] = [
    (record(("id", "string"), ("new", "string")), "AVRO", "'id'"),
    (record(("new", "string")), "AVRO", "'id'"),
    (record(("id", ["int", "string", "null"])), "AVRO", "union"),
    (record(("id", {"type": "int", "logicalType": "date"})), "AVRO", "date"),
    ("string", "AVRO", "must be a record"),
    ({"type": "object"}, "JSON", "type JSON"),
    ({"type": "recrod"}, "AVRO", ""),
]


@pytest.mark.parametrize(("schema", "kind", "words"), INCOMPATIBLE)
def test_the_schema_of_an_id_cannot_be_read_as_ours(
    stage: RegistryStage, stub: RegistryStub, schema: Any, kind: str, words: str
) -> None:
    """Its events are dead letters that say why; others of the batch are decoded."""
    stub.schemas[5], stub.types[5] = schema, kind
    values = [b"\0\0\0\0\x05x", event(1, 1), b"\0\0\0\0\x05y"]
    stage.wait(lambda: stage.ready(values) == 3)
    batch, dead = stage.decoder.deserialize(records_of(values))
    assert [letter.row for letter in dead] == [0, 2]
    assert {letter.reason for letter in dead} == {base.INCOMPATIBLE_SCHEMA}
    assert words in dead[0].message
    assert batch.columns["id"].to_pylist() == [1]


def test_a_declared_unit_makes_plain_numbers_times(stub: RegistryStub, tmp_path: Path) -> None:
    """Connectors write times as plain numbers; the schema of the project says their unit, and another record name."""
    reader = record(("at", {"type": "long", "logicalType": "timestamp-micros"}))
    plain = record(("at", "long"), name="Value") | {"namespace": "db.table"}
    stub.schemas[8] = plain
    stage = RegistryStage(stub, tmp_path)
    contracts = contracts_of(tmp_path / "times", reader)
    schemas = RegisteredSchemas(stage.lookup, contracts.current("event"))
    decoder = AvroDeserializer(contracts, "event", value_bytes_max=99, writers=schemas)
    batch, dead = decoder.deserialize(records_of([written(plain, {"at": 1_000_007}, 8)]))
    assert dead == ()
    assert batch.columns["at"].cast("int64").to_pylist() == [1_000_007]
    stage.lookup.stop()


def test_a_tool_waits_for_the_registry_and_says_why(stage: RegistryStage, stub: RegistryStub) -> None:
    """A command without events to go on with ends with the reason."""
    stub.fault = lambda _: (503, b"{}")
    with pytest.raises(StartupError, match="schema ids 2 are not known"):
        stage.lookup.resolve([2], 0.3)


def test_a_file_of_ids_that_cannot_be_used_costs_lookups_only(
    stub: RegistryStub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Damaged, or where no file can be: a warning."""
    cache = SchemaIdCache(tmp_path / "state", stub.url)
    cache.path.parent.mkdir()
    cache.path.write_text('{"1": 5}')
    assert cache.read() == {}
    assert "cannot be read" in caplog.text
    (tmp_path / "file").touch()
    SchemaIdCache(tmp_path / "file", stub.url).write({})
    assert "cannot be written" in caplog.text


def test_the_client_tells_denials_from_failures(stub: RegistryStub) -> None:
    """Only an answer with the code of an unknown schema is a denial; user and password are sent."""
    settings = SchemaRegistrySettings(url=stub.url, user="me", password=SecretStr("secret"))
    registry = SchemaRegistry(settings)
    assert json.loads(registry.schema(1).text) == READER
    assert stub.headers[-1]["Authorization"].startswith("Basic ")
    with pytest.raises(NotRegisteredError):
        registry.schema(77)
    stub.fault = lambda _: (404, b"<html>no such page</html>")
    with pytest.raises(RegistryUnavailableError, match=r"check the path of schema_registry\.url"):
        registry.schema(1)
    stub.fault = lambda _: (401, b"{}")
    with pytest.raises(RegistryUnavailableError, match=r"check schema_registry\.user"):
        registry.schema(1)


def test_the_password_may_be_in_a_file(stub: RegistryStub, tmp_path: Path) -> None:
    """Without its line feed; a file that is not there ends the command with its name."""
    file = tmp_path / "password"
    file.write_text("s:cret\n")
    SchemaRegistry(SchemaRegistrySettings(url=stub.url, user="me", password_file=file)).schema(1)
    assert base64.b64decode(stub.headers[-1]["Authorization"].removeprefix("Basic ")) == b"me:s:cret"
    with pytest.raises(SettingsError, match="no-such-file"):
        SchemaRegistry(SchemaRegistrySettings(url=stub.url, user="me", password_file=tmp_path / "no-such-file"))


def test_types_of_other_schemas_are_put_in() -> None:
    """The first use of a name is its definition, the next ones are the name; namespaces are inherited."""
    money = {"type": "record", "name": "Money", "namespace": "a", "fields": [{"name": "n", "type": "int"}]}
    text = json.dumps(record(("x", "Money"), ("y", ["null", "a.Money"])) | {"namespace": "a"})
    found = json.loads(inlined(text, [json.dumps(money)]))
    assert [each["type"] for each in found["fields"]] == [money, ["null", "a.Money"]]


@pytest.mark.parametrize("other", ['["null", "string"]', '"string"', "{}", "[" * 5_000])
def test_a_schema_that_refers_to_what_has_no_name(stub: RegistryStub, other: str) -> None:
    """It is returned as it is, and refused where it is parsed; the thread that looks ids up goes on."""
    registry = SchemaRegistry(SchemaRegistrySettings(url=stub.url))
    reference = SimpleNamespace(subject="other", version=1)
    schema = SimpleNamespace(schema_str='"Money"', schema_type=None, references=[reference])
    found = SimpleNamespace(schema=SimpleNamespace(schema_str=other, schema_type=None, references=[]))
    registry._client = SimpleNamespace(get_version=lambda *_: found, clear_caches=lambda: None)
    assert registry._whole(schema) == '"Money"'
