"""surgetank.serving.bundle: what was written is what is loaded, or the error says what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from surgetank import Category, DayOfWeek, Feature, Field
from surgetank.errors import ModelError
from surgetank.features.spec import FeatureSpec
from surgetank.serving.bundle import Bundle, Manifest, load, sha256, write

FEATURES: tuple[Feature, ...] = (Field("distance"), Category("carrier", ("UA", "AA")), DayOfWeek("at"))
SPEC = FeatureSpec(FEATURES)
MODEL = b"a model's bytes"


def manifest(version: str = "1", name: str = "late", model: bytes = MODEL) -> Manifest:
    """Return a manifest that is right for the model."""
    return Manifest(
        name=name,
        version=version,
        meaning="a probability",
        features=SPEC.declaration(),
        fingerprint=SPEC.fingerprint(),
        sha256=sha256(model),
        input="x",
        output="y",
        figures={"auc": 0.625},
        created_by="make model",
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Version 1 of the model ``late``."""
    return write(tmp_path, manifest(), MODEL)


def refusal(call: Callable[[], Any]) -> str:
    """Return the message of the ModelError that the call raises."""
    with pytest.raises(ModelError) as caught:
        call()
    return str(caught.value)


def test_what_was_written_is_loaded(bundle: Bundle, tmp_path: Path) -> None:
    """All that the manifest says comes back, and the model's bytes are in its file."""
    loaded = load(tmp_path, "late", "1")
    assert loaded == bundle
    assert loaded.manifest == manifest()
    assert loaded.model.read_bytes() == MODEL
    assert (loaded.name, loaded.version, loaded.features) == ("late", "1", SPEC.names)


@settings(deadline=None, max_examples=30)
@given(versions=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, unique=True, max_size=6))
def test_several_versions_of_a_model_and_none_is_named(
    versions: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The only version is loaded; of several none, and the message lists them by number: 1.10 is above 1.9."""
    directory = tmp_path_factory.mktemp("models")
    for major, minor in versions:
        write(directory, manifest(f"{major}.{minor}"), MODEL)
    names = ["{}.{}".format(*version) for version in sorted(versions)]
    if len(names) == 1:
        assert load(directory, "late").version == names[0]
    else:
        message = refusal(lambda: load(directory, "late"))
        assert f"the versions {', '.join(names)}; name the one to serve: set model.version, or model_version" in message
    assert [load(directory, "late", name).version for name in names] == names


def test_a_manifest_has_a_name_and_a_version() -> None:
    """Without them its folder would be the one of all versions, which `replace` would remove."""
    with pytest.raises(ValidationError, match="version"):
        manifest(version="")
    with pytest.raises(ValidationError, match="name"):
        manifest(name="")


def test_an_unfinished_write_is_not_seen(bundle: Bundle, tmp_path: Path) -> None:
    """A folder that a killed writer left is no version, and the next writer of it succeeds."""
    (tmp_path / "late" / ".2").mkdir()
    assert load(tmp_path, "late").version == "1"
    assert write(tmp_path, manifest("2"), MODEL).version == "2"


def test_a_published_version_does_not_change(bundle: Bundle, tmp_path: Path) -> None:
    """Writing it again is refused unless replacing is asked for."""
    other = manifest(model=b"other")
    assert "late 1 exists" in refusal(lambda: write(tmp_path, other, b"other"))
    assert load(tmp_path, "late").model.read_bytes() == MODEL
    assert write(tmp_path, other, b"other", replace=True).model.read_bytes() == b"other"


def test_what_is_missing_is_named_with_what_is_there(bundle: Bundle, tmp_path: Path) -> None:
    """A directory, name or version that does not exist: the message says so and lists the others."""
    assert f"{tmp_path / 'none'} does not exist" in refusal(lambda: load(tmp_path / "none", "late"))
    assert "no model 'early'" in refusal(lambda: load(tmp_path, "early"))
    assert "there is: late" in refusal(lambda: load(tmp_path, "early"))
    assert "no version '2'" in refusal(lambda: load(tmp_path, "late", "2"))
    assert "there is: 1" in refusal(lambda: load(tmp_path, "late", "2"))
    (tmp_path / "empty").mkdir()
    assert "'empty'" in refusal(lambda: load(tmp_path, "empty"))


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json"])
def test_a_missing_file_is_named(bundle: Bundle, tmp_path: Path, file: str) -> None:
    """A version without one of its files is refused, not passed over for an older one."""
    (bundle.folder / file).unlink()
    assert str(bundle.folder / file) in refusal(lambda: load(tmp_path, "late"))


def test_a_changed_model_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    """One changed byte is noticed."""
    bundle.model.write_bytes(MODEL[:-1] + b"S")
    message = refusal(lambda: load(tmp_path, "late"))
    assert str(bundle.model) in message
    assert "checksum" in message


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda text: text[: len(text) // 2], "JSON"),
        (lambda text: text.replace('"sha256"', '"sha"'), "sha256: Field required"),
        (lambda text: text.replace('"version": "1"', '"version": "2"'), "that of late 2"),
        (lambda text: text.replace('"UA"', '"DL"'), "not those of its fingerprint"),
        (lambda text: text.replace('"name": "distance"', '"title": "distance"'), "must have a name"),
    ],
    ids=["cut off", "field missing", "other version", "features edited", "feature without name"],
)
def test_a_broken_manifest_is_refused(bundle: Bundle, tmp_path: Path, change: Callable[[str], str], part: str) -> None:
    """The message names the file and what is wrong with it."""
    path = bundle.folder / "manifest.json"
    path.write_text(change(path.read_text()))
    message = refusal(lambda: load(tmp_path, "late"))
    assert str(path) in message
    assert part in message


def test_the_features_of_training_fit(bundle: Bundle) -> None:
    """The same declaration, made anew, is accepted."""
    bundle.check(FeatureSpec((Field("distance"), Category("carrier", ("UA", "AA")), DayOfWeek("at"))))


@pytest.mark.parametrize(
    ("features", "part"),
    [
        (FEATURES[1:], "it was trained with 'distance', which the pipeline does not declare"),
        ((*FEATURES, Field("speed")), "the pipeline declares 'speed', which it was not trained with"),
        (
            (FEATURES[1], FEATURES[0], FEATURES[2]),
            "column 0 is 'carrier' in the pipeline and 'distance' in the model",
        ),
        (
            (FEATURES[0], Category("carrier", ("UA", "B6")), FEATURES[2]),
            "'carrier' is not as in training: vocabulary: the pipeline adds ['B6'] and lacks ['AA']",
        ),
        (
            (FEATURES[0], Category("carrier", ("AA", "UA")), FEATURES[2]),
            "'carrier' is not as in training: vocabulary: other order",
        ),
        (
            (FEATURES[0], Field("carrier"), FEATURES[2]),
            "'carrier' is not as in training: kind is 'Field' in the pipeline and 'Category' in the model",
        ),
    ],
    ids=["missing", "extra", "order", "vocabulary", "vocabulary order", "kind"],
)
def test_other_features_are_refused_by_name(bundle: Bundle, features: tuple[Feature, ...], part: str) -> None:
    """The message names model, version and the first feature that differs, and how."""
    message = refusal(lambda: bundle.check(FeatureSpec(features)))
    assert message.startswith("model late 1 does not fit")
    assert part in message


def test_the_manifest_is_for_people_too(bundle: Bundle) -> None:
    """It is indented JSON in the order of its description, ending with a newline."""
    text = (bundle.folder / "manifest.json").read_text()
    assert list(json.loads(text)) == list(Manifest.model_fields)
    assert text.endswith("}\n")
    assert "\n  " in text


def test_a_model_of_times_in_another_unit_is_refused(bundle: Bundle) -> None:
    """The message says the unit of both."""
    message = refusal(lambda: bundle.check(FeatureSpec(FEATURES, {"at": "us"})))
    assert "'at_day_of_week' is not as in training: time_units is {'at': 'us'} in the pipeline and None" in message
