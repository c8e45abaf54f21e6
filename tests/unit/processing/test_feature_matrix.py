"""surgetank.processing.feature_matrix: events with features, and dead letters for the others."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest

from surgetank import Field
from surgetank.features.spec import NO_AGGREGATES, FeatureSpec, Float32s, Float64s
from surgetank.processing.feature_matrix import NO_FEATURES, compute_features
from surgetank.records import DecodedBatch, RecordBatch


class Spec(FeatureSpec):
    """Fails for rows with a number in ``bad``, and once more for ``passing`` in the first call."""

    bad: frozenset[float] = frozenset()
    passing = False

    def matrix(self, columns: pa.RecordBatch, aggregates: Mapping[str, Float64s] = NO_AGGREGATES) -> Float32s:
        """Return the columns."""
        if type(self).passing:
            type(self).passing = False
            raise OSError("for a moment")
        if self.bad & set(columns["a"].to_pylist()):
            raise ValueError("no feature")
        return np.column_stack([columns["a"].to_numpy(), aggregates["sum"]]).astype(np.float32)


def batch_of(count: int) -> DecodedBatch:
    """Return events whose rows are 10, 12, 14 ... and whose values are 0, 1, 2 ..."""
    columns = pa.RecordBatch.from_pydict({"a": np.arange(count, dtype=np.float64)})
    return DecodedBatch(RecordBatch.of(()), 10 + 2 * np.arange(count), columns)


@pytest.mark.parametrize(("bad", "passing"), [((), False), ((), True), ((0, 3, 4), False), (range(6), False)])
def test_each_event_has_its_own_features_or_is_dead_lettered(
    monkeypatch: pytest.MonkeyPatch, bad: tuple[int, ...], passing: bool
) -> None:
    """Also if the whole batch failed once and its halves did not: no row moves to another event."""
    monkeypatch.setattr(Spec, "bad", frozenset(map(float, bad)))
    monkeypatch.setattr(Spec, "passing", passing)
    sums = np.arange(100, 106, dtype=np.float64)

    found = compute_features(Spec((Field("a"), Field("b"))), batch_of(6), {"sum": sums})

    good = [row for row in range(6) if row not in bad]
    assert found.matrix.tolist() == [[row, 100.0 + row] for row in good]
    assert found.matrix.shape == (len(good), 2)
    assert found.aggregates["sum"].tolist() == [100.0 + row for row in good]
    assert found.events.rows.tolist() == [10 + 2 * row for row in good]
    assert found.events.columns["a"].to_pylist() == good
    assert [(letter.row, letter.reason) for letter in found.dead] == [(10 + 2 * row, NO_FEATURES) for row in bad]
