"""The settings reference: as generated, complete, and with a unit wherever a name has one."""

from pathlib import Path

import pytest

from surgetank.settings import describe
from surgetank.settings.reference import render
from surgetank.settings.schema import Settings
from surgetank.settings.section import Unit

ROOT = Path(__file__).resolve().parents[3]
UNITS = {"seconds": "seconds", "kilobytes": "kilobytes", "mib": "MiB", "hours": "hours", "days": "days", "rows": "rows"}
FIELDS = [
    (f"{section}.{name}", field)
    for section, outer in Settings.model_fields.items()
    for name, field in type(outer.default).model_fields.items()
]


def test_the_settings_reference_is_up_to_date() -> None:
    """docs/settings.md is what the schema renders to: run `make reference` after a change."""
    assert (ROOT / "docs" / "settings.md").read_text() == render()


def test_the_settings_reference_has_a_row_for_each_setting() -> None:
    """Each setting has one row with its variable, in the section's table, and each row has six cells."""
    sections = {part.partition("\n")[0]: part for part in render().split("\n## ")[1:]}
    assert list(sections) == list(Settings.model_fields)
    for each in describe():
        section, _, name = each.name.partition(".")
        (row,) = [line for line in sections[section].splitlines() if line.startswith(f"| `{name}` |")]
        assert row.endswith(f"| `{each.variable}` |")
        assert row.count(" | ") == 5, row


@pytest.mark.parametrize(("name", "field"), FIELDS, ids=[name for name, _ in FIELDS])
def test_a_unit_in_a_name_is_the_unit_of_the_setting(name: str, field: object) -> None:
    """A setting named after a unit declares that unit, for the reference."""
    named = {UNITS[word] for word in name.replace(".", "_").split("_") if word in UNITS}
    declared = {each.name for each in getattr(field, "metadata", ()) if isinstance(each, Unit)}
    assert named <= declared


def test_bounds_types_and_defaults_are_in_words() -> None:
    """A row says what is allowed, and code stays code where it holds angle brackets."""
    text = render()
    assert "| `port` | integer, at least 0, at most 65535 | `0` |  |" in text
    assert "| `share_max` | number, above 0, at most 1 | `0.5` | share |" in text
    assert "| `reset` | one of `earliest`, `latest` | `earliest` |" in text
    assert "| `static_membership` | true or false | `false` |" in text
    assert "`SURGETANK_KAFKA__CLIENT__<OPTION>`" in text
    assert "&lt;pipeline>.features" in text
