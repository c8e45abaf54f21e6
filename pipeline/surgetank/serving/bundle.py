"""A model as files: ``<directory>/<name>/<version>/`` with model.onnx and manifest.json.

The manifest lists the features that the model was trained on, in order, so that a pipeline with other features is
rejected at start. It contains the checksum of model.onnx and the training metrics.
"""

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from surgetank.errors import ModelError
from surgetank.features.spec import FeatureSpec, fingerprint

MODEL = "model.onnx"
MANIFEST = "manifest.json"

Engine = Literal["onnxruntime", "compiled-trees"]


class Tolerance(BaseModel):
    """How much two scores of the same row may differ: ``abs(a - b) <= absolute + relative * abs(b)``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    relative: float = Field(default=1e-5, ge=0)
    absolute: float = Field(default=1e-6, ge=0)


class Manifest(BaseModel):
    """The content of manifest.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    meaning: str = Field(description="what a score says, in one sentence")
    features: list[dict[str, Any]] = Field(description="declarations of the features, in the model's order")
    fingerprint: str = Field(description="SHA-256 of the declarations, see surgetank.features.spec")
    sha256: str = Field(description="SHA-256 of model.onnx")
    input: str = Field(description="name of the input tensor, float32 [rows, features]")
    output: str = Field(description="name of the output tensor with the scores")
    tolerance: Tolerance = Field(
        default=Tolerance(), description="how much the score of a row may differ between batches"
    )
    figures: dict[str, Any] = Field(description="how good it is, on which data")
    created_by: str = Field(description="the command that makes this bundle again")
    engine: Engine = Field(
        default="onnxruntime", description="what computes the scores, chosen once by surgetank.serving.engine_choice"
    )

    @field_validator("features")
    @classmethod
    def _named(cls, features: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not all(isinstance(feature.get("name"), str) for feature in features):
            raise ValueError("every feature must have a name")
        return features


@dataclass(frozen=True, slots=True)
class Bundle:
    """One verified version of one model."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The model's version."""
        return self.manifest.version

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in the model's order."""
        return tuple(feature["name"] for feature in self.manifest.features)

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL

    def check(self, spec: FeatureSpec) -> None:
        """Raise ModelError, naming the first difference, unless the model was trained on these features."""
        if self.manifest.fingerprint == spec.fingerprint():
            return
        what = f"model {self.name} {self.version} does not fit the pipeline's features"
        ours = {feature["name"]: feature for feature in spec.declaration()}
        theirs = {feature["name"]: feature for feature in self.manifest.features}
        missing = [name for name in theirs if name not in ours]
        if missing:
            raise ModelError(f"{what}: it was trained with {missing[0]!r}, which the pipeline does not declare")
        extra = [name for name in ours if name not in theirs]
        if extra:
            raise ModelError(f"{what}: the pipeline declares {extra[0]!r}, which it was not trained with")
        for position, (mine, its) in enumerate(zip(ours, theirs, strict=True)):
            if mine != its:
                raise ModelError(
                    f"{what}: column {position} is {mine!r} in the pipeline and {its!r} in the model; "
                    "declare them in the model's order"
                )
        for name in ours:
            if ours[name] != theirs[name]:
                raise ModelError(f"{what}: {name!r} is not as in training: {_difference(ours[name], theirs[name])}")


def load(directory: Path, name: str, version: str = "") -> Bundle:
    """Return a verified bundle: the version, or the only one that is there if it is empty.

    Raises ModelError if directory, name or version is missing, if several versions are there and none is given, if a
    file is broken, or if model.onnx does not match the manifest.
    """
    if not directory.is_dir():
        raise ModelError(f"model directory {directory} does not exist; set model.directory")
    if not (directory / name).is_dir() or not name:
        raise ModelError(f"no model {name!r} in {directory}; there is: {_listed(_folders(directory))}")
    present = sorted(_folders(directory / name), key=_natural)
    if not present:
        raise ModelError(f"model {name!r} in {directory} has no version")
    if version and version not in present:
        raise ModelError(f"model {name!r} has no version {version!r} in {directory}; there is: {_listed(present)}")
    if not version and len(present) > 1:
        raise ModelError(
            f"model {name!r} in {directory} has the versions {_listed(present)}; name the one to serve: set "
            "model.version, or model_version in the declaration of the pipeline"
        )
    folder = directory / name / (version or present[0])
    bundle = Bundle(folder, _manifest(folder / MANIFEST))
    _verify(bundle, name, folder.name)
    return bundle


def write(directory: Path, manifest: Manifest, model: bytes, *, replace: bool = False) -> Bundle:
    """Write a bundle atomically, and return it as loaded.

    Raises ModelError if the version exists and ``replace`` is not set: published versions are immutable.
    """
    folder = directory / manifest.name / manifest.version
    if folder.exists() and not replace:
        raise ModelError(f"model {manifest.name} {manifest.version} exists in {directory}; choose another version")
    unfinished = folder.with_name(f".{folder.name}")  # a name that load() ignores
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    (unfinished / MODEL).write_bytes(model)
    (unfinished / MANIFEST).write_text(json.dumps(manifest.model_dump(), indent=2, ensure_ascii=False) + "\n")
    if folder.exists():
        shutil.rmtree(folder)
    unfinished.rename(folder)
    return load(directory, manifest.name, manifest.version)


def sha256(model: bytes) -> str:
    """Return the checksum for a manifest, as hex."""
    return hashlib.sha256(model).hexdigest()


def _manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"model manifest {path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"model manifest {path}: {f'{where}: ' if where else ''}{first['msg']}") from None


def _verify(bundle: Bundle, name: str, version: str) -> None:
    manifest = bundle.manifest
    if (manifest.name, manifest.version) != (name, version):
        raise ModelError(
            f"model manifest {bundle.folder / MANIFEST} is that of {manifest.name} {manifest.version}; "
            "the folder was renamed or copied"
        )
    if manifest.fingerprint != fingerprint(manifest.features):
        raise ModelError(f"model manifest {bundle.folder / MANIFEST}: the features are not those of its fingerprint")
    try:
        content = bundle.model.read_bytes()
    except OSError as error:
        raise ModelError(f"model file {bundle.model}: {error.strerror}") from None
    if sha256(content) != manifest.sha256:
        raise ModelError(
            f"model file {bundle.model} has not the checksum of its manifest: it is damaged or was "
            "exchanged; restore the bundle"
        )


def _folders(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _natural(version: str) -> tuple[tuple[int, int, str], ...]:
    parts = re.findall(r"\d+|\D+", version)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)


def _difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    for key in [*theirs, *ours]:
        mine, its = ours.get(key), theirs.get(key)
        if mine != its and isinstance(mine, list) and isinstance(its, list):
            added, gone = [x for x in mine if x not in its], [x for x in its if x not in mine]
            return f"{key}: the pipeline adds {added} and lacks {gone}" if added or gone else f"{key}: other order"
        if mine != its:
            return f"{key} is {mine!r} in the pipeline and {its!r} in the model"
    return "no field differs"


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "nothing"
