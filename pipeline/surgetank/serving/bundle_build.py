"""Makes a bundle from an ONNX file and the features of a pipeline.

The files are copied first; then each of ``BUILD_STEPS`` completes the manifest or refuses the model; checksums and the
signature come last, so that a step may write files too. A step for another property of bundles is one more entry.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from surgetank.errors import ModelError
from surgetank.features.spec import FeatureSpec
from surgetank.scored_rows import ScoreKind
from surgetank.serving.bundle import Bundle, Manifest, Tensor, Tolerance, load, verified, write_manifest
from surgetank.serving.bundle_files import MANIFEST, MODEL, UNLISTED, checksum, checksums, file_inside
from surgetank.serving.engine_choice import choose_engine
from surgetank.serving.external_data import external_files
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.onnx_without_telemetry import ort
from surgetank.serving.score_output import choose_input, choose_output
from surgetank.serving.signature import sign
from surgetank.serving.version_folder import new_version_folder

_LOG_FATAL = 4


@dataclass(frozen=True, slots=True)
class Request:
    """What a bundle is made of.

    ``model``: an ONNX file; the files of its external tensors are copied too. ``files``: others, by path in the bundle.
    ``input`` and ``output``: the tensors with features and score; empty: the only ones that can be. ``kind``: what a
    score of the pipeline is. ``created``: UTC, ISO 8601. The other fields are those of ``Manifest``.
    """

    name: str
    version: str
    model: Path
    spec: FeatureSpec
    meaning: str
    created_by: str
    created: str
    input: str = ""
    output: str = ""
    column: str = ""
    kind: ScoreKind = "number"
    tolerance: Tolerance = field(default_factory=Tolerance)
    figures: Mapping[str, Any] = field(default_factory=dict)
    parent: str = ""
    licence: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """A bundle that is being made: the folder has its files, except manifest and signature."""

    folder: Path
    manifest: Manifest
    spec: FeatureSpec
    kind: ScoreKind

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL


BuildStep = Callable[[Draft], Manifest]


def describe_tensors(draft: Draft) -> Manifest:
    """Write the declared inputs and outputs into the manifest. Raises ModelError if ONNX Runtime cannot load the model.

    An operator that it lacks is one reason: its message has the operator's name.
    """
    inputs, outputs = declared_tensors(draft.model)
    return draft.manifest.model_copy(update={"inputs": inputs, "outputs": outputs})


def choose_score(draft: Draft) -> Manifest:
    """Write the names of the input and of the output with the score into the manifest, unless they were asked for.

    Inputs that are the features, one each, need no name; nor does the output of scores that are not one number, which
    ``OnnxModel`` finds. Raises ModelError, with a list, if there is a choice.
    """
    manifest = draft.manifest
    chosen = {}
    if manifest.input or {each.name for each in manifest.inputs} != set(draft.spec.names):
        chosen["input"] = choose_input(manifest.inputs, manifest.input)
    if manifest.output or draft.kind == "number":
        chosen["output"] = choose_output(manifest.outputs, manifest.output)
    return manifest.model_copy(update=chosen)


def check_scores(draft: Draft) -> Manifest:
    """Return the manifest as it is. Raises ModelError unless a worker could serve the model."""
    manifest = draft.manifest
    model = OnnxModel(
        draft.model,
        name=manifest.name,
        version=manifest.version,
        input=manifest.input,
        output=manifest.output,
        features=draft.spec.names,
        kind=draft.kind,
        column=manifest.column,
    )
    model.check_row_independence(relative=manifest.tolerance.relative, absolute=manifest.tolerance.absolute)
    return manifest


def measure_engines(draft: Draft) -> Manifest:
    """Write the engine into the manifest: compiled trees where they are equal to ONNX Runtime and faster."""
    manifest = draft.manifest
    if draft.kind != "number" or manifest.column or not manifest.input or not manifest.output:
        return manifest
    choice = choose_engine(
        draft.model,
        input=manifest.input,
        output=manifest.output,
        features=draft.spec.names,
        tolerance=manifest.tolerance,
    )
    return choice.written_to(manifest)


# What every machine does alike; which engine is faster depends on the machine, and is asked once, by ``build``.
BUILD_STEPS: tuple[BuildStep, ...] = (describe_tensors, choose_score, check_scores)


def build(directory: Path, request: Request, *, sign_key: Path | None = None) -> Bundle:
    """Make a bundle below a folder of bundles, atomically, and return it as loaded.

    ``sign_key``: the private key to sign it with. Raises ModelError if the version exists, or as ``assemble`` does;
    SettingsError if the key cannot be used.
    """
    with new_version_folder(directory, request.name, request.version) as folder:
        assemble(folder, request, (*BUILD_STEPS, measure_engines))
        if sign_key is not None:
            sign(folder, sign_key)
        verified(folder, request.name, request.version)
    return load(directory, request.name, request.version)


def assemble(folder: Path, request: Request, steps: tuple[BuildStep, ...] = BUILD_STEPS) -> None:
    """Write the files of a bundle, without a signature, into an empty folder.

    With ``BUILD_STEPS`` the same request gives the same bytes on every machine.

    Raises ModelError if a file cannot be read, or as the steps do.
    """
    manifest = _first_manifest(request)
    _copy_files(request, folder)
    try:
        for step in steps:
            manifest = step(Draft(folder, manifest, request.spec, request.kind))
    except ModelError as error:  # it names the copy, which is removed
        raise ModelError(str(error).replace(str(folder / MODEL), str(request.model))) from error
    files = checksums(folder)
    write_manifest(folder, manifest.model_copy(update={"files": files, "sha256": files[MODEL]}))


def utc_text(seconds: float) -> str:
    """Return seconds since the epoch as a manifest has them, 2026-11-28T12:00:00Z. Pure."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def declared_tensors(model: Path) -> tuple[list[Tensor], list[Tensor]]:
    """Return the inputs and the outputs that an ONNX file declares. Raises ModelError if it cannot be loaded."""
    external_files(model)  # refused before ONNX Runtime reads a file outside the folder
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_FATAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        raise ModelError(f"model {model}: ONNX Runtime {ort.__version__} cannot load it: {error}") from error
    return [_tensor(each) for each in session.get_inputs()], [_tensor(each) for each in session.get_outputs()]


def _tensor(argument: Any) -> Tensor:
    shape = argument.shape if isinstance(argument.shape, list) else None
    return Tensor(name=argument.name, type=argument.type, shape=shape)


def _first_manifest(request: Request) -> Manifest:
    """Return the manifest before the steps: nothing of it is read from the model."""
    content = checksum(request.model)
    try:
        return Manifest(
            name=request.name,
            version=request.version,
            meaning=request.meaning,
            features=request.spec.declaration(),
            fingerprint=request.spec.fingerprint(),
            sha256=content,
            input=request.input,
            output=request.output,
            column=request.column,
            tolerance=request.tolerance,
            figures=dict(request.figures),
            created_by=request.created_by,
            files={MODEL: content},
            created=request.created,
            parent=request.parent,
            licence=request.licence,
        )
    except ValueError as error:
        raise ModelError(f"model {request.name!r} {request.version!r}: {_first_line(error)}") from None


def _copy_files(request: Request, folder: Path) -> None:
    """Copy model, external tensors and further files. Raises ModelError if two have one path, or one cannot be read."""
    sources = {MODEL: request.model}
    tensors = {path: request.model.parent / path for path in external_files(request.model)}
    for path, source in (*tensors.items(), *request.files.items()):
        if path in sources or path in UNLISTED:
            raise ModelError(
                f"two files of the bundle would be {path!r}; rename {source} ({MODEL} and {MANIFEST} are taken)"
            )
        sources[path] = source
    for path, source in sources.items():
        target = file_inside(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise ModelError(f"file {source} cannot be copied into the bundle: {error.strerror or error}") from None


def _first_line(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    return str(errors()[0]["msg"]) if callable(errors) else str(error)
