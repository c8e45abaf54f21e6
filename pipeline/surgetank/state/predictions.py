"""The row of a prediction table: the last score of a key, its time and the version of the model."""

import numpy as np
import numpy.typing as npt

from surgetank.errors import StateError
from surgetank.state.row_serde import Rows

VERSION_BYTES = 64
NOT_SCORED = np.nan

# Times are milliseconds since the epoch. The version is UTF-8, padded with zero bytes.
PREDICTION = np.dtype(
    [("score", "<f8"), ("event_ms", "<i8"), ("scored_ms", "<i8"), ("model_version", f"S{VERSION_BYTES}")]
)
FRESH = np.array((NOT_SCORED, 0, 0, b""), dtype=PREDICTION)


def encode_version(model_version: str) -> bytes:
    """Return a model version as rows store it. Raises StateError if it is too long."""
    version = model_version.encode()
    if len(version) > VERSION_BYTES:
        raise StateError(
            f"model version {model_version!r} has {len(version)} bytes; the prediction table has room for "
            f"{VERSION_BYTES}: publish the model with a shorter version"
        )
    return version


def predictions(
    scores: npt.NDArray[np.floating],
    event_ms: npt.NDArray[np.int64],
    scored_ms: int,
    model_versions: npt.NDArray[np.bytes_],
) -> Rows:
    """Return rows of dtype PREDICTION [k] for scores, event times and encoded model versions, each [k].

    All have the score time ``scored_ms``.
    """
    rows = np.empty(len(scores), dtype=PREDICTION)
    rows["score"] = scores
    rows["event_ms"] = event_ms
    rows["scored_ms"] = scored_ms
    rows["model_version"] = model_versions
    return rows
