"""Names of versions: three forms, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.errors import SettingsError
from surgetank.registry.reference import Reference, parse_reference
from surgetank.registry.registry import shown

PARTS = st.text(st.characters(categories=("L", "N"), include_characters="-_. "), min_size=1)


@given(PARTS, PARTS)
def test_each_form_is_read(name: str, part: str) -> None:
    """What is written is what is read."""
    assert parse_reference(f"{name}:{part}") == Reference(name, version=part)
    assert parse_reference(f"models:/{name}/{part}") == Reference(name, version=part)
    assert parse_reference(f"models:/{name}@{part}") == Reference(name, alias=part)


@pytest.mark.parametrize(
    "text", ["", "flights-late", ":1", "flights-late:", "a/b:1", "models:/", "models:/a", "models:/a@", "models:/a/b/c"]
)
def test_what_names_no_version_is_refused(text: str) -> None:
    """With the forms that there are."""
    with pytest.raises(SettingsError, match="the forms are NAME:VERSION"):
        parse_reference(text)


def test_references_are_shown_as_they_are_written() -> None:
    """And addresses without a password."""
    assert str(Reference("a", version="1")) == "a:1"
    assert str(Reference("a", alias="b")) == "a@b"
    assert shown("s3://key:secret@host/models@1") == "s3://host/models@1"
    assert shown("models/of/mine") == "models/of/mine"
