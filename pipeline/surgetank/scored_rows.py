"""What models said of the events of a batch."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.records import DeadLetter, Int32s, ModelVersion

ScoreKind = Literal["number", "vector", "label"]  # what a model says of an event
VECTOR = pa.list_(pa.field("item", pa.float64(), nullable=False))  # the column of vectors


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """The scores of a batch of m rows.

    ``kept`` is int64 [k], the batch positions, ascending, that have a score; ``scores`` is float64 [k], all finite. The
    other rows are in ``dead``. ``model`` is int32 [k], the model of each score as an index into ``models``.
    ``vectors`` [k] of type ``VECTOR`` has what a model of vectors said, and ``scores`` the largest element of each;
    ``labels`` [k], text, has the classes of a model of labels, and ``scores`` their probabilities. ``failed`` has for
    each model the number of its rows without a score; empty: there are none.
    """

    kept: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    dead: tuple[DeadLetter, ...]
    models: tuple[ModelVersion, ...]
    model: Int32s
    vectors: pa.Array | None = None
    labels: pa.Array | None = None
    failed: tuple[int, ...] = ()
