"""Measures the cheaper forms of a bundle's model, decides which may be served, and writes one as a new version.

A form is a version of its own, with the bundle's manifest: it is loaded, rolled out and rolled back like any other, and
nothing chooses between forms when it is loaded.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgetank.clock import Clock
from surgetank.errors import ModelError
from surgetank.serving.bundle import Bundle, Manifest, sha256, write
from surgetank.serving.bundle_build import utc_text
from surgetank.serving.bundle_files import MODEL
from surgetank.serving.external_data import external_files
from surgetank.serving.model import Float32s
from surgetank.serving.model_comparison import ModelCost, ScoreDifference, compare_scores, open_and_measure
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.quantization import DYNAMIC, KINDS, make_variant

ORIGINAL = "as it is"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a form may lose: AUC, and the largest absolute difference of a score."""

    auc_loss: float
    difference: float


@dataclass(frozen=True, slots=True)
class CheaperModel:
    """One form of a model. ``refused`` says why it may not be served; it is empty if it may.

    ``cost`` and ``difference`` are None for a form that could not be made.
    """

    kind: str
    model: bytes
    cost: ModelCost | None
    difference: ScoreDifference | None
    refused: str = ""


def cheaper_models(
    bundle: Bundle, rows: Float32s, labels: npt.NDArray[np.bool_] | None, limits: Limits, clock: Clock
) -> list[CheaperModel]:
    """Return the model as it is, then each of its forms, measured with recorded rows float32 [n, F].

    ``labels`` is bool [n]. Raises ModelError if the model itself cannot be measured.
    """
    content = bundle.model.read_bytes()
    if external_files(bundle.model):
        raise ModelError(
            f"model {bundle.name} {bundle.version} keeps tensors in other files, which cheaper forms cannot have: save "
            "it as one file (onnx.save_model with save_as_external_data=False), and build it as another version"
        )
    if not bundle.manifest.input:
        raise ModelError(
            f"model {bundle.name} {bundle.version} has an input for each feature; cheaper forms need one matrix of all"
        )
    original, cost = open_and_measure(lambda: opened(bundle, content), len(content), rows, clock)
    expected = original.score(rows)
    found = [CheaperModel(ORIGINAL, content, cost, compare_scores(expected, expected, labels))]
    for kind in KINDS:
        try:
            made = make_variant(kind, content, input_name=bundle.manifest.input, calibration=rows)
            model, cost = open_and_measure(lambda made=made: opened(bundle, made), len(made), rows, clock)  # type: ignore[misc]
            difference = compare_scores(expected, model.score(rows), labels)
        except ModelError as error:
            found.append(CheaperModel(kind, b"", None, None, str(error).removeprefix(f"{kind}: ")))
            continue
        refused = _dependence(bundle, model, kind) or beyond(difference, limits)
        found.append(CheaperModel(kind, made, cost, difference, refused))
    return found


def opened(bundle: Bundle, model: bytes) -> OnnxModel:
    """Return another form of a bundle's model, on one thread. Raises ModelError if it cannot be loaded."""
    manifest = bundle.manifest
    return OnnxModel(
        model,
        name=bundle.name,
        version=bundle.version,
        input=manifest.input,
        output=manifest.output,
        features=bundle.features,
        column=manifest.column,
        classes=manifest.classes,
        label=manifest.label,
    )


def beyond(difference: ScoreDifference, limits: Limits) -> str:
    """Return which limit a form is beyond, as a sentence; empty if none. Pure."""
    if difference.largest > limits.difference:
        return f"a score differs by {difference.largest:.3g}; --max-difference is {limits.difference:g}"
    if difference.auc_loss is not None and difference.auc_loss > limits.auc_loss:
        return f"the AUC is lower by {difference.auc_loss:.3g}; --max-auc-loss is {limits.auc_loss:g}"
    return ""


def write_version(
    directory: Path, bundle: Bundle, form: CheaperModel, version: str, command: str, now: float
) -> Bundle:
    """Write a form as a new version of the bundle's model, with its other files, and return it.

    ``now`` is in seconds since the epoch. Raises ModelError if the version exists.
    """
    assert form.difference is not None
    difference = {
        name: value
        for name, value in (
            ("largest", form.difference.largest),
            ("p99", form.difference.p99),
            ("auc", form.difference.auc),
            ("auc_loss", form.difference.auc_loss),
        )
        if value is not None
    }
    # What was measured is ONNX Runtime with this graph.
    figures = {name: value for name, value in bundle.manifest.figures.items() if name != "engine"}
    figures = {**figures, f"{form.kind} against {bundle.version}": difference}
    changed = {
        "version": version,
        "sha256": sha256(form.model),
        "figures": figures,
        "created_by": command,
        "parent": f"{bundle.name}:{bundle.version}",
        "created": utc_text(now),
        "engine": "onnxruntime",
    }
    # Checksums by file are those of the other model.
    manifest = Manifest.model_validate(bundle.manifest.model_dump(exclude={"files"}) | changed)
    others = {path: (bundle.folder / path).read_bytes() for path in bundle.manifest.files if path != MODEL}
    return write(directory, manifest, form.model, files=others)


def _dependence(bundle: Bundle, model: OnnxModel, kind: str) -> str:
    """Return that scores depend on the batch, and what to use instead, if they do."""
    tolerance = bundle.manifest.tolerance
    try:
        model.check_row_independence(relative=tolerance.relative, absolute=tolerance.absolute)
    except ModelError as error:
        if kind == DYNAMIC:
            return (
                "it scales activations by the values of the whole batch, so that the score of an event depends on the "
                "others; use int8, which is scaled by recorded inputs. It suits models that score one event at a time"
            )
        return str(error)
    return ""
