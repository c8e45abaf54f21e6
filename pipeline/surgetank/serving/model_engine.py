"""Opens the model of a bundle with the engine that its manifest names.

Nothing is measured here, so that all processes agree.
"""

from collections.abc import Sequence
from typing import Protocol

from surgetank.errors import ModelError
from surgetank.scored_rows import ScoreKind
from surgetank.serving.bundle import Bundle
from surgetank.serving.execution_providers import CPU, provider_named
from surgetank.serving.model import Float32s, Float64s, Model
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.onnx_without_telemetry import ort


class ServedModel(Model, Protocol):
    """A ``Model`` as a worker opens it. ``engine`` computes its scores."""

    @property
    def engine(self) -> str:
        """The name of the engine, as in a manifest."""
        ...

    def score(self, matrix: Float32s) -> Float64s:
        """Return float64 [m] for float32 [m, F]."""
        ...

    def warm_up(self, rows_max: int) -> None:
        """Score one row and ``rows_max`` rows of zeros."""
        ...

    def check_row_independence(self, *, relative: float, absolute: float) -> None:
        """Raise ModelError if the score of a row depends on the rest of its batch, beyond the tolerance."""
        ...


def open_model(
    bundle: Bundle, features: Sequence[str], *, kind: ScoreKind = "number", threads: int = 1, provider: str = CPU
) -> ServedModel:
    """Return the model of a bundle. ``threads`` and ``provider`` are those of ONNX Runtime.

    Compiled trees give the number that a graph has by default; a ``kind`` of other scores, and a chosen column, are
    left to ONNX Runtime. Raises ModelError if the engine of the manifest cannot load the model, SettingsError if there
    is no such provider.
    """
    manifest = bundle.manifest
    provider_named(provider, ort.get_available_providers())  # also where trees need none: another version may
    if manifest.engine == "onnxruntime" or kind != "number" or manifest.column:
        return OnnxModel(
            bundle.model,
            name=bundle.name,
            version=bundle.version,
            input=manifest.input,
            output=manifest.output,
            features=features,
            threads=threads,
            kind=kind,
            column=manifest.column,
            classes=manifest.classes,
            label=manifest.label,
            provider=provider,
        )
    from surgetank.serving.trees.compiled_trees import CompiledTrees  # compiled code takes a moment to load
    from surgetank.serving.trees.ensemble import CannotCompile

    try:
        return CompiledTrees(
            bundle.model,
            name=bundle.name,
            version=bundle.version,
            input=manifest.input,
            output=manifest.output,
            features=features,
        )
    except CannotCompile as error:
        raise ModelError(
            f"model {bundle.name} {bundle.version}: its manifest asks for the engine {manifest.engine!r}, which cannot "
            f"score this graph: {error}; build the bundle again, or set its engine to 'onnxruntime'"
        ) from error
