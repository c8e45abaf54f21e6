"""Scores with the id that a registry has for their schema."""

import json
import logging
from pathlib import Path

import pyarrow as pa
import pytest

from surgetank.clock import SystemClock
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.formats import output_deserializer, output_serializer, schema_lookup
from surgetank.codec.output_ids import output_id
from surgetank.codec.schema_id_cache import SchemaIdCache
from surgetank.codec.schema_ids import RegisteredSchema
from surgetank.codec.schema_registry import RegistryUnavailableError
from surgetank.codec.schema_repository import SchemaVersion
from surgetank.codec.wire import frame
from surgetank.kafka.retry import wait_until
from surgetank.settings import SchemaRegistrySettings, Settings, StateSettings
from tests.support.registry_stub import RegistryStub
from tests.unit.codec.avro_samples import contracts_of, records_of, rows_of
from tests.unit.codec.registry_stage import READER

OURS = RegisteredSchema("AVRO", json.dumps(READER))
OTHER = RegisteredSchema("AVRO", '"string"')


class Subjects:
    """A registry that answers with these, one after the other."""

    def __init__(self, *answers: int | Exception | None) -> None:
        self.answers = list(answers)
        self.asked: set[str] = set()

    def find(self, subject: str, text: str) -> tuple[int, int] | None:
        """Return or raise the next answer."""
        assert json.loads(text) == READER
        self.asked.add(subject)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return None if answer is None else (answer, 1)


@pytest.fixture
def version(tmp_path: Path) -> SchemaVersion:
    """Return the schema of what is written, whose own id is 1."""
    return contracts_of(tmp_path / "schemas", READER).current("event")


def test_values_get_the_id_of_the_registry(version: SchemaVersion) -> None:
    """That of the subject of the topic."""
    registry = Subjects(77)
    assert output_id(registry, {}, "scores", version) == 77
    assert registry.asked == {"scores-value"}


def test_the_score_schema_is_not_registered(version: SchemaVersion, caplog: pytest.LogCaptureFixture) -> None:
    """A warning says what to do, and with which id scores are written meanwhile."""
    assert output_id(Subjects(None), {8: OURS}, "scores", version) is None
    assert "values keep the id 1" in caplog.text
    assert "run surgetank schemas apply" in caplog.text


def test_the_schema_registry_is_away_when_a_worker_starts(
    version: SchemaVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """With the id of an earlier run it starts; without one it waits, longer each time, and says for what."""
    away = RegistryUnavailableError("connection refused")
    assert output_id(Subjects(away), {7: OTHER, 8: OURS}, "scores", version) == 8
    pauses: list[float] = []
    with caplog.at_level(logging.WARNING):
        assert output_id(Subjects(away, away, 77), {7: OTHER}, "scores", version, pauses.append) == 77
    assert pauses == [0.25, 0.5]
    assert "the worker starts when the id of scores-value is known" in caplog.text


def test_scores_of_both_ids_are_read(stub: RegistryStub, tmp_path: Path) -> None:
    """Those that were written before the registry was set too; the next run knows the id without the registry."""
    registry = SchemaRegistrySettings(url=stub.url)
    settings = Settings(schema_registry=registry, state=StateSettings(directory=tmp_path / "state"))
    contracts = contracts_of(tmp_path / "schemas", READER)
    stub.subjects["scores-value"], stub.schemas[77] = 77, READER
    lookup = schema_lookup(settings, SystemClock())
    assert lookup is not None
    serializer = output_serializer("event", "scores", contracts, settings, lookup)
    rows = [{"id": 1, "new": "a"}, {"id": 2, "new": "b"}]
    values = serializer.serialize(pa.RecordBatch.from_pylist(rows, schema=serializer.schema)).to_pylist()
    assert [value[:5] for value in values] == [frame(77)] * 2
    old = frame(1) + values[0][5:]
    reader = output_deserializer("event", contracts, lookup, value_bytes_max=99)
    batch, dead = reader.deserialize(records_of([old, *values]))
    assert (rows_of(batch.columns), dead) == ([rows[0], *rows], ())
    assert stub.lookups.get(1) is None
    cache = SchemaIdCache(settings.state.folder / "schema-registry", stub.url)
    assert wait_until(lambda: 77 in cache.read(), 20.0, 0.02)
    lookup.stop()

    stub.fault = lambda _: (500, b"{}")
    later = schema_lookup(settings, SystemClock())
    assert later is not None
    again = output_serializer("event", "scores", contracts, settings, later)
    assert again.serialize(pa.RecordBatch.from_pylist(rows, schema=serializer.schema)).to_pylist() == values
    later.stop()


def test_scores_that_are_not_registered_keep_the_id_of_the_engine(stub: RegistryStub, tmp_path: Path) -> None:
    """They are readable here as before."""
    settings = Settings(
        schema_registry=SchemaRegistrySettings(url=stub.url), state=StateSettings(directory=tmp_path / "state")
    )
    contracts = contracts_of(tmp_path / "schemas", READER)
    lookup = schema_lookup(settings, SystemClock())
    serializer = output_serializer("event", "scores", contracts, settings, lookup)
    rows = pa.RecordBatch.from_pylist([{"id": 1, "new": "a"}], schema=serializer.schema)
    assert serializer.serialize(rows).to_pylist()[0].startswith(frame(1))


def test_without_a_registry_scores_keep_the_ids_of_the_engine(tmp_path: Path) -> None:
    """A project that sets no registry sees no difference."""
    contracts = contracts_of(tmp_path, READER)
    serializer = output_serializer("event", "scores", contracts, Settings(), None)
    values = serializer.serialize(pa.RecordBatch.from_pylist([{"id": 1, "new": "a"}], schema=serializer.schema))
    assert values.to_pylist()[0].startswith(frame(1))
    assert isinstance(output_deserializer("event", contracts, None, value_bytes_max=99), AvroDeserializer)
