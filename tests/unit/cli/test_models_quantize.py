"""surgetank models quantize: a table, an object, a written version, or the reason why not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ops.training.flights_schedule import flights
from ops.training.rollout_models import FOLDER
from surgetank.cli import app
from surgetank.errors import StartupError
from surgetank.offline.backfill import FINGERPRINT
from surgetank.offline.feature_file import read_features
from surgetank.serving.bundle import load
from tests.support.flight_features import flight_features

NAMES = flights.spec.names


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """A file of recorded features with a label, which is unknown in one row."""
    matrix = flight_features(500)
    labels = [None, *(np.random.default_rng(2).random(499) < 0.3).tolist()]
    columns = {name: pa.array(matrix[:, place], from_pandas=True) for place, name in enumerate(NAMES)}
    table = pa.table({**columns, "late": labels})
    table = table.replace_schema_metadata({FINGERPRINT: flights.spec.fingerprint()})
    pq.write_table(table, tmp_path / "features.parquet")
    return tmp_path / "features.parquet"


def test_a_form_is_measured_and_written(features: Path, tmp_path: Path) -> None:
    """The new version lies beside the model, and its command is in its manifest."""
    models = tmp_path / "models"
    shutil.copytree(FOLDER / "flights-late" / "network", models / "flights-late" / "network")
    arguments = ["models", "quantize", "flights-late:network", "--calibrate-from", str(features)]
    arguments += ["--directory", str(models)]

    result = CliRunner().invoke(
        app, [*arguments, "--label", "late", "--attach", "int8", "--max-auc-loss", "0.1", "--json"]
    )

    assert result.exit_code == 0, (result.output, result.exception)
    found = json.loads(result.stdout)
    assert (found["model"], found["rows"]) == ("flights-late:network", 499)
    assert [each["kind"] for each in found["forms"]][1:] == ["optimized", "float16", "int8", "int8-dynamic"]
    assert set(found["forms"][0]["cost"]["call_seconds"]) == {"1", "64", "1024"}
    written = load(models, "flights-late", "network-int8")
    assert found["written"] == str(written.folder)
    assert written.manifest.created_by.startswith("surgetank models quantize flights-late:network")

    result = CliRunner().invoke(app, [*arguments, "--attach", "int8", "--version", "other", "--max-difference", "0"])
    assert result.exit_code == 1
    assert "int8 is not attached: a score differs by" in result.stderr
    assert "int8-dynamic is refused: it scales activations" in result.stdout
    assert not (models / "flights-late" / "other").exists()


def test_features_of_a_file_are_the_models_input(features: Path) -> None:
    """Null is a missing value; rows without a label are left out."""
    matrix = flight_features(500)
    whole = read_features(features, NAMES, flights.spec.fingerprint(), None)
    assert whole.labels is None
    np.testing.assert_array_equal(whole.matrix, matrix)
    labelled = read_features(features, NAMES, flights.spec.fingerprint(), "late")
    np.testing.assert_array_equal(labelled.matrix, matrix[1:])
    assert labelled.labels is not None
    assert labelled.labels.dtype == np.bool_


def test_a_file_that_does_not_fit_is_refused(features: Path, tmp_path: Path) -> None:
    """With what is wrong."""
    with pytest.raises(StartupError, match="has other features than the model was trained on"):
        read_features(features, NAMES, "another", None)
    with pytest.raises(StartupError, match="has no column 'delayed'; it has: carrier"):
        read_features(features, NAMES, flights.spec.fingerprint(), "delayed")
    (tmp_path / "text").write_text("no parquet")
    with pytest.raises(StartupError, match="cannot be read as Parquet"):
        read_features(tmp_path / "text", NAMES, "", None)
