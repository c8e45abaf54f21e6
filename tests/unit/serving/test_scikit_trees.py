"""surgetank.serving.scikit_trees: the converted model takes the same branches as the trained one."""

import math
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.scikit_trees import INPUT, OUTPUT, onnx_bytes


@pytest.fixture(scope="module")
def trained() -> HistGradientBoostingClassifier:
    """A classifier of values that float32 cannot hold exactly, a tenth of them missing."""
    random = np.random.default_rng(7)
    values = random.normal(size=(4_000, 3)) / 3
    values[random.random(values.shape) < 0.1] = math.nan
    answer = np.nan_to_num(values[:, 0]) + np.isnan(values[:, 1]) + random.normal(size=4_000) > 0.3
    return HistGradientBoostingClassifier(max_iter=30, random_state=1).fit(values, answer)


def test_scores_agree_at_every_threshold(trained: HistGradientBoostingClassifier) -> None:
    """At each threshold, in float32, just below and just above it, and for NaN, scores agree to rounding."""
    nodes = np.concatenate([of_class[0].nodes for of_class in trained._predictors])
    near: list[list[Any]] = [[], [], []]
    for node in nodes[nodes["is_leaf"] == 0]:
        threshold = np.float32(node["num_threshold"])
        near[node["feature_idx"]] += [np.nextafter(threshold, np.float32(s)) for s in (-np.inf, np.inf)]
        near[node["feature_idx"]].append(threshold)
    random = np.random.default_rng(8)
    matrix = np.stack([random.choice([*column, math.nan], 20_000) for column in near], axis=1).astype(np.float32)
    served = OnnxModel(
        onnx_bytes(trained, 3), name="m", version="1", input=INPUT, output=OUTPUT, features=("a", "b", "c")
    ).score(matrix)
    # A wrong branch would change a score by a leaf, a hundred times more than this.
    np.testing.assert_allclose(served, trained.predict_proba(matrix)[:, 1], rtol=0, atol=1e-6)


def test_the_bytes_are_the_same_every_time(trained: HistGradientBoostingClassifier) -> None:
    """Converting twice gives the same file: no dates, no random names."""
    assert onnx_bytes(trained, 3) == onnx_bytes(trained, 3)


def test_categorical_splits_are_refused() -> None:
    """A classifier with splits that the conversion does not know is not converted wrongly."""
    values = np.repeat(np.arange(6.0), 200).reshape(-1, 1)
    answer = np.isin(values[:, 0], [0, 2, 5])
    trained = HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]).fit(values, answer)
    with pytest.raises(ValueError, match="categorical splits"):
        onnx_bytes(trained, 1)
