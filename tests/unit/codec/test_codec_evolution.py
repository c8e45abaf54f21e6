"""The gate in front of schema changes: what passes, what does not, and what it says."""

import json
from pathlib import Path
from typing import Any

import pytest

from surgetank.codec.evolution import main, problems
from tests.unit.codec.avro_samples import MILLIS, record, write_folder

BASE = record(("id", "string"), ("count", "int"), {"name": "note", "type": ["null", "string"], "default": None})


def changed(*, drop: str = "", add: Any = None, **types: Any) -> dict[str, Any]:
    """Return BASE without a field, with another, or with other types."""
    fields = [{**each, "type": types.get(each["name"], each["type"])} for each in BASE["fields"]]
    return record(*(each for each in fields if each["name"] != drop), *([add] if add else []))


def test_the_packaged_schemas_pass(capsys: pytest.CaptureFixture[str]) -> None:
    """The project's own schemas are compatible with their releases; the gate exits with 0 and says so."""
    assert main([]) == 0
    assert "boarding, card_payment, departure, features, score" in capsys.readouterr().out


@pytest.mark.parametrize(
    "schema",
    [
        BASE,
        changed(add={"name": "more", "type": "long", "default": 0}),
        changed(add={"name": "more", "type": ["null", MILLIS], "default": None}),
        changed(drop="note"),
    ],
    ids=["the same", "a field with a default", "a field that may be null", "a field with a default goes"],
)
def test_a_compatible_change_passes(tmp_path: Path, schema: Any) -> None:
    """Fields that have a default may come and go."""
    write_folder(tmp_path, BASE, schema)
    assert problems(tmp_path) == []
    assert main([str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("schema", "whose", "says"),
    [
        (changed(add=("more", "long")), "cannot read events of", "field 'more': reader field missing default value"),
        (changed(drop="count"), "readers of", "field 'count': reader field missing default value"),
        (changed(count="string"), "cannot read events of", "field 'count': type mismatch"),
        (changed(count="long"), "readers of", "field 'count': type mismatch"),
        (changed(count=["null", "int"]), "readers of", "type mismatch"),
        (
            changed(count={"type": "int", "logicalType": "date"}),
            "for something else",
            "was plain int and is int as date",
        ),
    ],
    ids=["no default", "dropped", "other type", "widened", "made nullable", "other meaning"],
)
def test_a_breaking_change_is_stopped(
    tmp_path: Path, schema: Any, whose: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What either side could not read exits with 1; the message names file and field and says what to do."""
    write_folder(tmp_path, BASE, schema)
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert str(tmp_path / "event.avsc") in said
    assert whose in said
    assert says in said
    assert "give what is added or removed a default" in said


def test_every_release_counts_not_only_the_last(tmp_path: Path) -> None:
    """A change that only an older release cannot bear is stopped too: its events may still be on the topic."""
    with_default = {"name": "extra", "type": "int", "default": 0}
    first = record(("id", "string"), ("extra", "int"))
    write_folder(tmp_path, first, record(("id", "string"), with_default), record(("id", "string")))
    assert [("released/event/1.avsc" in each, "'extra'" in each) for each in problems(tmp_path)] == [(True, True)]


def test_a_release_does_not_change(tmp_path: Path) -> None:
    """A current schema that differs from the release of the same version needs an id and a version of its own."""
    write_folder(tmp_path, BASE)
    (tmp_path / "event.avsc").write_text(json.dumps(changed(drop="note")))
    found = problems(tmp_path)
    assert len(found) == 1
    assert "differs from its release" in found[0]
    assert "version 2" in found[0]


def test_a_schema_that_was_not_released_yet_is_free(tmp_path: Path) -> None:
    """Before its first release a schema may change at will; there is nothing that it could break."""
    write_folder(tmp_path, BASE)
    (tmp_path / "released" / "event" / "1.avsc").unlink()
    (tmp_path / "event.avsc").write_text(json.dumps(changed(count="string")))
    assert problems(tmp_path) == []


def test_a_release_without_an_id_is_found(tmp_path: Path) -> None:
    """A released file that no id names is a version whose events nobody could read any more."""
    write_folder(tmp_path, BASE)
    (tmp_path / "released" / "event" / "2.avsc").write_text(json.dumps(BASE))
    assert "2.avsc has no id" in problems(tmp_path)[0]


def test_a_broken_folder_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that cannot be read exits with 1 and one clear line, no traceback."""
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
