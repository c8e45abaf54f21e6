"""A model as files: ``<directory>/<name>/<version>/`` with model.onnx, manifest.json, and what the model needs besides.

The manifest lists the features that the model was trained on, in order, so that a pipeline with other features is
rejected at start. It contains the checksum of each file and the training metrics. ``model.sig`` is the signature.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from surgetank.errors import ModelError
from surgetank.features.spec import FeatureSpec, fingerprint
from surgetank.serving.bundle_files import (
    MANIFEST,
    MODEL,
    SIGNATURE,
    UNLISTED,
    check_files,
    file_inside,
    folder_fault,
    path_fault,
)
from surgetank.serving.external_data import external_files
from surgetank.serving.signature import verify_signature
from surgetank.serving.version_folder import new_version_folder

Engine = Literal["onnxruntime", "compiled-trees"]


class Tolerance(BaseModel):
    """How much two scores of the same row may differ: ``abs(a - b) <= absolute + relative * abs(b)``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    relative: float = Field(default=1e-5, ge=0)
    absolute: float = Field(default=1e-6, ge=0)


class Tensor(BaseModel):
    """An input or output of a model, as its file declares it: type as ``tensor(float)``, dimensions, None if open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: str
    shape: list[int | str | None] | None = None


class Manifest(BaseModel):
    """The content of manifest.json. Manifests of earlier versions lack the fields that have a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    meaning: str = Field(description="what a score says, in one sentence")
    features: list[dict[str, Any]] = Field(description="declarations of the features, in the model's order")
    fingerprint: str = Field(description="SHA-256 of the declarations, see surgetank.features.spec")
    sha256: str = Field(description="SHA-256 of model.onnx")
    input: str = Field(
        default="",
        description="name of the input tensor [rows, features]; empty: the only one, or one for each feature",
    )
    output: str = Field(default="", description="name of the output tensor with the scores; empty: the only one")
    tolerance: Tolerance = Field(
        default=Tolerance(), description="how much the score of a row may differ between batches"
    )
    figures: dict[str, Any] = Field(description="how good it is, on which data")
    created_by: str = Field(description="the command that makes this bundle again")
    files: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 of each file except manifest and signature, by path in the bundle"
    )
    inputs: list[Tensor] = Field(default_factory=list, description="the inputs that model.onnx declares")
    outputs: list[Tensor] = Field(default_factory=list, description="the outputs that model.onnx declares")
    created: str = Field(default="", description="when it was made, as 2026-11-28T12:00:00Z")
    parent: str = Field(default="", description="the version that it replaces or was made from, as flights-late:1")
    licence: str = Field(default="", description="SPDX expression, as Apache-2.0, or the name of a licence")
    column: str = Field(
        default="", description="the column of the output that is the score of kind number: a class, or a number from 0"
    )
    classes: list[str] = Field(
        default=[], description="names of the columns of the output; empty: those in the model, else numbers from 0"
    )
    label: str = Field(
        default="", description="name of the output tensor with the class that the model chose; empty: the only one"
    )
    engine: Engine = Field(
        default="onnxruntime", description="what computes the scores, chosen once by surgetank.serving.engine_choice"
    )

    @field_validator("features")
    @classmethod
    def _named(cls, features: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not all(isinstance(feature.get("name"), str) for feature in features):
            raise ValueError("every feature must have a name")
        return features

    @field_validator("name", "version")
    @classmethod
    def _folder(cls, part: str) -> str:
        if fault := folder_fault(part):
            raise ValueError(fault)
        return part

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, str]) -> dict[str, str]:
        for path in files:
            if fault := path_fault(path):
                raise ValueError(f"{path!r} {fault}; a bundle has only files in its own folder")
            if path in UNLISTED:
                raise ValueError(f"{path!r} cannot have a checksum in the manifest")
        return files

    @model_validator(mode="before")
    @classmethod
    def _with_model(cls, fields: Any) -> Any:
        """A manifest without ``files``, as earlier versions wrote it, has one file."""
        if isinstance(fields, dict) and not fields.get("files") and isinstance(fields.get("sha256"), str):
            return {**fields, "files": {MODEL: fields["sha256"]}}
        return fields

    @model_validator(mode="after")
    def _one_checksum(self) -> Self:
        if self.files.get(MODEL) != self.sha256:
            raise ValueError(f"the checksum of {MODEL} in `files` is not `sha256`")
        return self


@dataclass(frozen=True, slots=True)
class Bundle:
    """One verified version of one model.

    ``digest`` is the SHA-256 of manifest.json as hex. The manifest has the checksums of all files, so that two bundles
    with the same digest are the same in all that a score depends on.
    """

    folder: Path
    manifest: Manifest
    digest: str

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

    @property
    def signed(self) -> bool:
        """Whether there is a signature. ``load`` verifies it if it is given a key."""
        return (self.folder / SIGNATURE).is_file()

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


def load(directory: Path, name: str, version: str = "", *, verify_key: Path | None = None) -> Bundle:
    """Return a verified bundle: the version, or the only one that is there if it is empty.

    ``verify_key``: the public key of the signature that the bundle must have; None: none is needed.
    Raises ModelError if directory, name or version is missing, if several versions are there and none is given, or as
    ``verified`` does.
    """
    if not directory.is_dir():
        raise ModelError(f"model directory {directory} does not exist; set model.directory")
    if not (directory / name).is_dir() or not name:
        raise ModelError(f"no model {name!r} in {directory}; there is: {_listed(models_in(directory))}")
    present = versions_in(directory, name)
    if not present:
        raise ModelError(f"model {name!r} in {directory} has no version")
    if version and version not in present:
        raise ModelError(f"model {name!r} has no version {version!r} in {directory}; there is: {_listed(present)}")
    if not version and len(present) > 1:
        raise ModelError(
            f"model {name!r} in {directory} has the versions {_listed(present)}; name the one to serve: set "
            "model.version, or model_version in the declaration of the pipeline"
        )
    chosen = version or present[0]
    return verified(directory / name / chosen, name, chosen, verify_key=verify_key)


def verified(folder: Path, name: str, version: str, *, verify_key: Path | None = None) -> Bundle:
    """Return the bundle in a folder. ``verify_key`` as for ``load``.

    Raises ModelError if it is another one, if a file is broken or leads out of the folder, if the model needs a file
    without a checksum, or if the signature does not verify.
    """
    content = _content(folder / MANIFEST)
    bundle = Bundle(folder, parse_manifest(content, str(folder / MANIFEST)), sha256(content))
    _check_identity(bundle, name, version)
    check_files(folder, bundle.manifest.files)
    if verify_key is not None:
        verify_signature(folder, verify_key)
    for path in bundle.manifest.files:
        if path.endswith(".onnx"):
            _check_external_files(bundle, folder / path)
    return bundle


def read(folder: Path, *, verify_key: Path | None = None) -> Bundle:
    """Return the verified bundle of a folder of any name, as it was copied to a device. Raises as ``verified``."""
    manifest = parse_manifest(_content(folder / MANIFEST), str(folder / MANIFEST))
    return verified(folder, manifest.name, manifest.version, verify_key=verify_key)


def write(
    directory: Path,
    manifest: Manifest,
    model: bytes,
    *,
    files: Mapping[str, bytes] | None = None,
    replace: bool = False,
) -> Bundle:
    """Write a bundle atomically, and return it as loaded. ``files``: others than the model, by path.

    Raises ModelError if the version exists and ``replace`` is not set: published versions are immutable.
    """
    others = files or {}
    listed = {MODEL: manifest.sha256} | {path: sha256(content) for path, content in others.items()}
    with new_version_folder(directory, manifest.name, manifest.version, replace=replace) as folder:
        for path, content in {MODEL: model, **others}.items():
            file = file_inside(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        write_manifest(folder, manifest.model_copy(update={"files": listed}))
    return load(directory, manifest.name, manifest.version)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json into a folder: indented, in the order of the description, with a newline at the end."""
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(), indent=2, ensure_ascii=False) + "\n")


def models_in(directory: Path) -> list[str]:
    """Return the names of the models in a folder of bundles, in order. Raises ModelError if it cannot be read."""
    return sorted(_folders(directory))


def versions_in(directory: Path, name: str) -> list[str]:
    """Return the versions of a model in a folder of bundles, 1.9 before 1.10; they are not verified."""
    return sorted(_folders(directory / name), key=natural)


def sha256(model: bytes) -> str:
    """Return the checksum for a manifest, as hex."""
    return hashlib.sha256(model).hexdigest()


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Return the manifest in the bytes of a file. Raises ModelError, naming ``where``, if it is none."""
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"model manifest {where}: {f'{field}: ' if field else ''}{first['msg']}") from None


def natural(version: str) -> tuple[tuple[int, int, str], ...]:
    """Return the key by which versions are sorted: numbers in them by their value. Pure."""
    parts = re.findall(r"\d+|\D+", version)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"model manifest {path}: {error.strerror}") from None


def _check_identity(bundle: Bundle, name: str, version: str) -> None:
    manifest = bundle.manifest
    if (manifest.name, manifest.version) != (name, version):
        raise ModelError(
            f"model manifest {bundle.folder / MANIFEST} is that of {manifest.name} {manifest.version}; "
            "the folder was renamed or copied"
        )
    if manifest.fingerprint != fingerprint(manifest.features):
        raise ModelError(f"model manifest {bundle.folder / MANIFEST}: the features are not those of its fingerprint")


def _check_external_files(bundle: Bundle, model: Path) -> None:
    for location in external_files(model):
        path = (model.parent / location).relative_to(bundle.folder).as_posix()
        if path not in bundle.manifest.files:
            raise ModelError(
                f"model {model} keeps tensors in {path!r}, which has no checksum in the manifest; make the bundle with "
                "`surgetank models build`, which lists all its files"
            )


def _folders(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in directory.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise ModelError(f"model directory {directory}: {error.strerror}") from None


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
