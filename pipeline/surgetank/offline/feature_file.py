"""Reads a file of features, as ``surgetank features backfill`` writes it, as a model's input."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surgetank.errors import StartupError
from surgetank.features.spec import Float32s
from surgetank.offline.backfill import FINGERPRINT


class RecordedFeatures(NamedTuple):
    """Inputs float32 [n, F], NaN for missing values, and labels bool [n], None if none were asked for."""

    matrix: Float32s
    labels: npt.NDArray[np.bool_] | None


def read_features(file: Path, names: tuple[str, ...], fingerprint: str, label: str | None) -> RecordedFeatures:
    """Return the features ``names`` of a Parquet file; with ``label``, the rows where this column is known.

    A label is a boolean or a number, and true if it is not 0. Raises StartupError if the file cannot be read, is one of
    features with another fingerprint, or lacks a column.
    """
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise StartupError(f"{file}: it cannot be read as Parquet: {error}") from None
    written = (table.schema.metadata or {}).get(FINGERPRINT, b"").decode()
    if written and written != fingerprint:
        raise StartupError(
            f"{file} has other features than the model was trained on (fingerprint {written[:12]}, the model's is "
            f"{fingerprint[:12]}); write it with: surgetank features backfill PIPELINE"
        )
    for name in (*names, *([] if label is None else [label])):
        if name not in table.schema.names:
            raise StartupError(f"{file} has no column {name!r}; it has: {', '.join(table.schema.names)}")
    labels = None
    if label is not None:
        table = table.filter(pc.is_valid(table[label]))
        labels = table[label].cast(pa.float64()).to_numpy() != 0
    columns = [table[name].cast(pa.float32()).to_numpy() for name in names]
    return RecordedFeatures(np.column_stack(columns).astype(np.float32), labels)
