"""The schemas folder: what it gives, and what it says when a file is missing or wrong."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.schema_repository import SchemaRepository, project_schemas
from surgetank.codec.wire import frame
from surgetank.errors import SchemaError
from tests.unit.codec.avro_samples import record, records_of, write_folder

ONE, TWO = record(("a", "int")), record(("a", "int"), {"name": "b", "type": "int", "default": 0})


def test_the_packaged_schemas_are_there() -> None:
    """The project's own contracts load, each with one id."""
    contracts = project_schemas()
    assert contracts.names == (
        "boarding",
        "card_payment",
        "departure",
        "features",
        "score",
        "score_details",
        "shadow_score",
    )
    assert [[version.id for version in contracts.versions[name]] for name in contracts.names] == [
        [1],
        [4],
        [2],
        [5],
        [3],
        [1_000_003],
        [1_000_001],
    ]
    assert contracts.columns("departure").field("departed_at").type == pa.timestamp("ms", "UTC")


def test_the_packaged_schemas_are_read_once_per_process() -> None:
    """A decoder for each of many topics parses no file again."""
    assert project_schemas() is project_schemas()


@pytest.mark.parametrize(
    "name", ["boarding", "card_payment", "departure", "features", "score", "score_details", "shadow_score"]
)
def test_every_field_is_documented(name: str) -> None:
    """Each record and each of its fields has a doc string."""
    schema = project_schemas().schema(name)
    assert [each["name"] for each in [schema, *schema["fields"]] if len(each.get("doc", "")) < 10] == []


def test_the_schemas_of_a_project_and_of_the_engine_are_one_repository(tmp_path: Path) -> None:
    """A project has files for its own schemas only, and reads and writes the engine's."""
    schemas = project_schemas(write_folder(tmp_path, ONE, TWO))
    assert schemas.names == ("event", "features", "score", "score_details", "shadow_score")
    assert [schemas.current(name).id for name in schemas.names] == [2, 5, 3, 1_000_003, 1_000_001]


def test_a_project_has_an_id_of_the_engine(tmp_path: Path) -> None:
    """The error names file, id and both schemas, and an id that neither uses."""
    write_folder(tmp_path, ONE)
    (tmp_path / "ids.json").write_text('{"3": {"schema": "event", "version": 1}}')
    with pytest.raises(SchemaError, match=r"ids\.json: id 3 of schema 'event' is that .*'score'; .* example 4"):
        project_schemas(tmp_path)


def test_a_project_has_a_schema_of_the_engine(tmp_path: Path) -> None:
    """A copy of the engine's schema would be another one after an upgrade."""
    write_folder(tmp_path, ONE, name="score")
    with pytest.raises(SchemaError, match=r"score\.avsc: the engine has the schema 'score' itself; delete the file"):
        project_schemas(tmp_path)


def test_the_id_that_is_proposed_for_a_new_schema_is_not_the_engines(tmp_path: Path) -> None:
    """After ids 1 and 2 the next one is 4."""
    write_folder(tmp_path, ONE, TWO)
    (tmp_path / "more.avsc").write_text(json.dumps(ONE))
    with pytest.raises(SchemaError, match=r'no id for schema \'more\'; add "4"'):
        project_schemas(tmp_path)


def test_the_folder_of_schemas_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings file of the project names it, relative to the project."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "avro", ONE)
    (tmp_path / "surgetank.toml").write_text('[schemas]\ndirectory = "avro"\n')
    assert project_schemas().names == ("event", "features", "score", "score_details", "shadow_score")


def test_a_boarding_says_nothing_that_is_known_later() -> None:
    """The event that is scored holds the schedule only: no delay, no actual time."""
    names = project_schemas().columns("boarding").names
    assert [name for name in names if "delay" in name or ("depart" in name and "scheduled" not in name)] == []


def test_versions_have_ids_of_their_own(tmp_path: Path) -> None:
    """The highest version is the current one; values may carry the id of any of them."""
    contracts = SchemaRepository.load(write_folder(tmp_path, ONE, TWO))
    assert [version.id for version in contracts.versions["event"]] == [1, 2]
    assert contracts.current("event").id == 2
    assert contracts.schema("event") == TWO
    assert [version.avro for version in contracts.versions["event"]] == [ONE, TWO]
    assert frame(contracts.current("event").id) == b"\0\0\0\0\2"


def test_an_unknown_schema_lists_the_known_ones(tmp_path: Path) -> None:
    """Asking for a schema that is not there names those that are."""
    contracts = SchemaRepository.load(write_folder(tmp_path, ONE))
    for ask in (contracts.schema, contracts.columns, contracts.current):
        with pytest.raises(SchemaError, match=r"no schema 'flights'; schemas/ has: event"):
            ask("flights")


IDS: dict[str, tuple[Any, str]] = {
    "not JSON": ("{", "ids.json is not JSON"),
    "no object": ("[]", "ids.json: must be an object"),
    "an id twice": ('{"1": {"schema": "event", "version": 1}, "1": {}}', "'1' is there twice"),
    "an id that is no number": ({"one": {"schema": "event", "version": 1}}, "id 'one'; ids are the whole numbers"),
    "an id of zero": ({"0": {"schema": "event", "version": 1}}, "id '0'"),
    "an id of 32 bits": ({str(2**31): {"schema": "event", "version": 1}}, "id '2147483648'"),
    "a plain name": ({"1": "event"}, "id 1: write"),
    "no version": ({"1": {"schema": "event"}}, "id 1: write"),
    "a version of zero": ({"1": {"schema": "event", "version": 0}}, "id 1: write"),
    "something more": ({"1": {"schema": "event", "version": 1, "file": "x"}}, "id 1: write"),
    "a version twice": (
        {"1": {"schema": "event", "version": 1}, "2": {"schema": "event", "version": 1}},
        "ids 1 and 2 are both version 1 of 'event'",
    ),
    "a version left out": (
        {"1": {"schema": "event", "version": 1}, "2": {"schema": "event", "version": 3}},
        "has version 3 and no version 2",
    ),
    "a schema without an id": ({}, 'add "1": {"schema": "event", "version": 1}'),
    "a schema without a file": (
        {"1": {"schema": "event", "version": 1}, "2": {"schema": "flight", "version": 1}},
        "flight.avsc is missing",
    ),
}


@pytest.mark.parametrize("name", IDS)
def test_a_wrong_list_of_ids_is_explained(tmp_path: Path, name: str) -> None:
    """Whatever is wrong with ids.json, the error names the file, the entry and what to write."""
    ids, says = IDS[name]
    write_folder(tmp_path, ONE)
    (tmp_path / "ids.json").write_text(ids if isinstance(ids, str) else json.dumps(ids))
    with pytest.raises(SchemaError) as refused:
        SchemaRepository.load(tmp_path)
    assert says in str(refused.value)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("\udcff", "is not JSON"),
        ('{"type": "record"}', "is no Avro schema"),
        ('"string"', "the top level must be a record"),
        ("3", "is no Avro schema"),
        (json.dumps(record(("a", "text"))), "is no Avro schema: UnknownType: text"),
        (json.dumps(record(("a", ["int", "string"]))), "field 'a': a union"),
        (json.dumps(record(("a", "int"), ("a", "int"))), "record 'Event' has the field 'a' twice"),
    ],
)
def test_a_wrong_schema_names_its_file(tmp_path: Path, text: str, says: str) -> None:
    """A schema file that is no Avro schema, or that columns cannot hold, is named in the error."""
    write_folder(tmp_path, ONE)
    (tmp_path / "event.avsc").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SchemaError) as refused:
        SchemaRepository.load(tmp_path)
    assert str(refused.value).startswith(str(tmp_path / "event.avsc"))
    assert says in str(refused.value)


def test_a_missing_release_is_named(tmp_path: Path) -> None:
    """An older version whose file is gone is an error: its events could not be read."""
    write_folder(tmp_path, ONE, TWO)
    (tmp_path / "released" / "event" / "1.avsc").unlink()
    with pytest.raises(SchemaError, match=r"released/event/1\.avsc is missing; schemas/README\.md"):
        SchemaRepository.load(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A folder without schemas is an error that names what was looked for."""
    with pytest.raises(SchemaError, match=r"nowhere/ids\.json is missing"):
        SchemaRepository.load(tmp_path / "nowhere")


def chain(levels: int) -> Any:
    """Return a record that contains a record, and so on."""
    schema: Any = record(("a", "int"), name="R0")
    for level in range(1, levels):
        schema = record(("a", schema), name=f"R{level}")
    return schema


def ladder(steps: int, of_each: int) -> Any:
    """Return a record with fields of named types, each of which uses the one before, ``of_each`` times."""
    types = [record(("a", "int"), name="R0")]
    types += [
        record(*((f"f{use}", f"R{step - 1}") for use in range(of_each)), name=f"R{step}") for step in range(1, steps)
    ]
    return record(*((f"r{number}", each) for number, each in enumerate(types)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps(chain(80)), "nested more than 64 levels deep"),
        (json.dumps(chain(120)), "nested more than 256 brackets deep"),
        ("[" * 100_000 + "]" * 100_000, "nested more than 256 brackets deep"),
        ('{"type":"array","items":' * 300 + '"int"' + "}" * 300, "nested more than 256 brackets deep"),
        (json.dumps(ladder(70, 1)), "nested more than 64 levels deep"),
        (json.dumps(ladder(50, 2)), "more than 10000 fields and items"),
    ],
)
def test_a_schema_is_nested_too_deeply(tmp_path: Path, text: str, reason: str) -> None:
    """It is refused in a sentence that names the file, without a traceback, a crash or an endless computation."""
    write_folder(tmp_path, ONE)
    (tmp_path / "event.avsc").write_text(text)

    with pytest.raises(SchemaError, match=rf"event\.avsc: .*{reason}"):
        SchemaRepository.load(tmp_path)


@pytest.mark.parametrize("schema", [chain(60), ladder(60, 1), ladder(10, 2)])
def test_what_is_within_the_bounds_decodes(tmp_path: Path, schema: Any) -> None:
    """The bounds hold for all parts: libraries, columns and compiled code."""
    contracts = SchemaRepository.load(write_folder(tmp_path, schema))
    decoder = AvroDeserializer(contracts, "event", value_bytes_max=1000)

    batch, dead = decoder.deserialize(records_of([frame(1) + b"\2" * 1000, None]))

    assert len(batch) + len(dead) == 2
