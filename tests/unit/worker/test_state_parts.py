"""pipeline.worker.state_parts: what keeps a worker with state from its start."""

from pathlib import Path

import pytest

from pipeline.clock import SystemClock
from pipeline.errors import SettingsError
from pipeline.kafka import provisioning
from pipeline.processing.record_warnings import RecordWarnings
from pipeline.settings import Settings, StateSettings, WorkerSettings
from pipeline.state.state_directory import StateDirectory
from pipeline.telemetry.metrics import Metrics
from pipeline.worker.state_parts import stateful_parts
from topology.flights import flights


def test_two_workers_in_one_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The second is refused, with status 2 and the folder."""
    monkeypatch.setattr(provisioning, "anchor", lambda *_: ("cluster", 4))
    settings = Settings(state=StateSettings(directory=tmp_path), worker=WorkerSettings(name="twin"))
    first = StateDirectory(tmp_path / "cluster" / flights.name, "twin")
    with pytest.raises(SettingsError, match=r"twin is in use by another process.*worker\.name") as refused:
        stateful_parts(
            flights,
            settings,
            model_version="1",
            metrics=Metrics(),
            warnings=RecordWarnings(SystemClock()),
            clock=SystemClock(),
        )
    assert refused.value.exit_code == 2
    first.release()
