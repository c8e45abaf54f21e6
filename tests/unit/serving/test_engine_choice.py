"""The engine of a bundle is chosen once, when it is built: compiled trees only where they are equal and faster."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from surgetank.errors import ModelError
from surgetank.features.spec import fingerprint
from surgetank.serving import bundle
from surgetank.serving.bundle import Bundle, Engine, Manifest, Tolerance
from surgetank.serving.bundle_files import MANIFEST
from surgetank.serving.engine_choice import (
    EngineChoice,
    choose_engine,
    choose_engine_of,
    measure,
    verdict,
    worst_difference,
)
from surgetank.serving.model import Float32s, Float64s
from surgetank.serving.model_engine import open_model
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.trees.compiled_trees import CompiledTrees
from tests.support.random_trees import INPUT, OUTPUT, graph, identity, nodes, regressor

FEATURES = ("a", "b", "c")


def forest(trees: int = 60) -> bytes:
    """Return trees that compiled loops can score."""
    random = np.random.default_rng(1)
    return graph([regressor(nodes(random, trees=trees, leaves=16, features=3), random), identity()], 3)


def linear() -> bytes:
    """Return a model without trees."""
    return graph([helper.make_node("ReduceMax", [INPUT, "axes"], [OUTPUT])], 3, {"axes": np.array([1])})


def published(folder: Path, model: bytes, engine: Engine = "onnxruntime") -> Bundle:
    """Write a bundle."""
    declaration = [{"name": name} for name in FEATURES]
    manifest = Manifest(
        name="m",
        version="1",
        meaning="nothing: it is for tests",
        features=declaration,
        fingerprint=fingerprint(declaration),
        sha256=bundle.sha256(model),
        input=INPUT,
        output=OUTPUT,
        figures={"auc": 0.5},
        created_by="a test",
        engine=engine,
    )
    return bundle.write(folder, manifest, model)


def test_equal_trees_are_compared_and_measured(tmp_path: Path) -> None:
    """The figures say how many rows were compared, by how much the scores differ, and the times of both."""
    choice = choose_engine_of(published(tmp_path, forest()))

    assert choice.figures is not None
    assert choice.figures["rows_compared"] > 5_000
    assert choice.figures["difference_max"] == 0  # without a link, sums are equal to the last bit
    times = choice.figures["nanoseconds_per_row"]
    assert {name: list(each) for name, each in times.items()} == {
        "onnxruntime": ["1", "64", "1024"],
        "compiled-trees": ["1", "64", "1024"],
    }
    assert (choice.engine, choice.reason) == verdict(times)


def test_what_cannot_be_compiled_stays_on_onnx_runtime(tmp_path: Path) -> None:
    """The reason says why; nothing is measured."""
    choice = choose_engine_of(published(tmp_path, linear()))
    assert choice == EngineChoice(
        "onnxruntime", "not compiled because an operation ReduceMax is between the input, the trees and the output"
    )


def test_recorded_rows_are_compared_too() -> None:
    """They are also those that are timed."""
    rows = np.random.default_rng(2).normal(size=(300, 3)).astype(np.float32)
    names = {"input": INPUT, "output": OUTPUT, "features": FEATURES, "tolerance": Tolerance()}
    with_rows, without = (choose_engine(forest(), rows=each, **names) for each in (rows, None))  # type: ignore[arg-type]
    assert with_rows.figures is not None
    assert without.figures is not None
    assert with_rows.figures["rows_compared"] == without.figures["rows_compared"] + 300


@pytest.mark.parametrize(
    ("at_one", "at_many", "engine"),
    [(90.0, 10.0, "compiled-trees"), (110.0, 10.0, "onnxruntime"), (90.0, 60.0, "onnxruntime")],
)
def test_trees_must_be_faster_for_each_number_of_rows(at_one: float, at_many: float, engine: str) -> None:
    """Slower for one row or for many rows is not chosen."""
    chosen, reason = verdict({"onnxruntime": {"1": 100, "64": 50}, "compiled-trees": {"1": at_one, "64": at_many}})
    assert chosen == engine
    assert f"{50 / at_many:.1f} times at 64" in reason


def test_scores_that_differ_are_counted() -> None:
    """NaN equals NaN, an infinity itself, and a difference within the tolerance is none."""
    expected = np.array([1.0, 1.0, np.nan, np.inf, 0.5, np.nan])
    scores = np.array([1.0 + 5e-6, 1.1, np.nan, np.inf, np.nan, 0.5])
    worst = worst_difference(scores, expected, Tolerance(relative=1e-5, absolute=0))
    assert (worst.beyond, round(worst.largest, 6)) == (3, 0.1)


def test_times_are_of_batches_of_each_size() -> None:
    """Each engine is called with exactly this many rows, also where there are fewer."""
    seen: set[int] = set()

    def score(matrix: Float32s) -> Float64s:
        seen.add(len(matrix))
        return np.zeros(len(matrix))

    found = measure({"one": score, "other": score}, np.zeros((50, 3), np.float32), (1, 20, 64))
    assert seen == {1, 20, 64}
    assert {name: set(each) for name, each in found.items()} == {"one": {"1", "20", "64"}, "other": {"1", "20", "64"}}
    assert min(min(each.values()) for each in found.values()) > 0


def test_the_choice_is_written_into_the_manifest(tmp_path: Path) -> None:
    """The other figures stay; choosing again replaces the figures of the engine."""
    manifest = published(tmp_path, forest()).manifest
    chosen = EngineChoice("compiled-trees", "faster", {"rows_compared": 7}).written_to(manifest)
    assert (chosen.engine, chosen.figures) == ("compiled-trees", {"auc": 0.5, "engine": {"rows_compared": 7}})
    again = EngineChoice("onnxruntime", "slower").written_to(chosen)
    assert (again.engine, again.figures) == ("onnxruntime", {"auc": 0.5})


@pytest.mark.parametrize(("engine", "kind"), [("onnxruntime", OnnxModel), ("compiled-trees", CompiledTrees)])
def test_a_bundle_is_opened_with_the_engine_of_its_manifest(tmp_path: Path, engine: Engine, kind: type) -> None:
    """Both give the same scores."""
    opened = open_model(published(tmp_path, forest(), engine), FEATURES)

    assert isinstance(opened, kind)
    assert (opened.name, opened.version, opened.engine) == ("m", "1", engine)
    opened.warm_up(8)
    opened.check_row_independence(relative=0, absolute=0)
    assert opened.score(np.zeros((2, 3), np.float32)).shape == (2,)


def test_an_old_manifest_is_served_by_onnx_runtime(tmp_path: Path) -> None:
    """It has no engine."""
    written = published(tmp_path, forest())
    path = written.folder / MANIFEST
    path.write_text(path.read_text().replace(',\n  "engine": "onnxruntime"', ""))
    assert "engine" not in path.read_text()

    assert open_model(bundle.load(tmp_path, "m"), FEATURES).engine == "onnxruntime"


def test_a_manifest_that_asks_for_trees_of_another_graph_is_refused(tmp_path: Path) -> None:
    """The message has the cause and what to do; ONNX Runtime does not answer in its place."""
    refused = published(tmp_path, linear(), "compiled-trees")
    with pytest.raises(
        ModelError, match=r"m 1: its manifest asks for the engine 'compiled-trees', .* operation ReduceMax .* build"
    ):
        open_model(refused, FEATURES)
