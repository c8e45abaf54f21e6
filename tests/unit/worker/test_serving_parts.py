"""surgetank.worker.serving_parts: a worker loads versions of its model, and reports what it serves."""

import logging
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ops.training.flights_schedule import flights
from surgetank.clock import SystemClock
from surgetank.errors import ModelError, SettingsError
from surgetank.features.spec import fingerprint
from surgetank.processing.shadow_scoring import ShadowScoring
from surgetank.records import ModelVersion
from surgetank.serving import bundle
from surgetank.serving_plan import Canary, ServingPlan
from surgetank.settings import Settings
from surgetank.settings.models import ModelSettings
from surgetank.telemetry.health import Health
from surgetank.telemetry.metrics import Metrics
from surgetank.timeline.timeline_reporter import TimelineReporter
from surgetank.worker.serving_parts import ServingParts, serving_parts
from surgetank.worker.wire_parts import WireParts
from tests.support import misbehaving_models

SECONDS = 30.0


class Timeline:
    """Takes the events of a worker's timeline."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self._changed = threading.Condition()

    def model_switched(self, *what: Any) -> None:
        """Take a plan that is in force."""
        self._add("switched", *what)

    def model_refused(self, *what: Any) -> None:
        """Take a plan that is refused."""
        self._add("refused", *what)

    def wait(self, count: int) -> tuple[Any, ...]:
        """Wait for an event."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.events) >= count, SECONDS)
            return self.events[count - 1]

    def _add(self, *event: Any) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()


def parts(folder: Path, metrics: Metrics) -> tuple[ServingParts, Timeline, list[ModelVersion]]:
    """Return the parts of a worker that serves version 1, what they tell a timeline, and the offsets' metadata."""
    for version in ("1", "2"):
        misbehaving_models.publish(folder, version, misbehaving_models.good())
    settings = Settings(model=ModelSettings(version="1"))
    serving = serving_parts(flights, settings, folder, None, "w", SystemClock(), metrics)
    serving.shadow_scoring(cast("WireParts", SimpleNamespace(shadow_writer=None)))
    timeline, claimed = Timeline(), list[ModelVersion]()
    runtime = SimpleNamespace(records=SimpleNamespace(ready_rows=0), serve=claimed.append)
    health = Health(SystemClock(), conditions=())
    serving.connect(cast("TimelineReporter", timeline), cast("Any", runtime), health)
    return serving, timeline, claimed


def served(metrics: Metrics) -> set[tuple[str, ...]]:
    """Return version and role of what the metric names."""
    return {key[1:] for key in metrics.model_info.values()}


def test_a_switch_is_reported_everywhere(tmp_path: Path) -> None:
    """Metrics, timeline, and the metadata of offsets if the primary changed."""
    metrics = Metrics()
    serving, timeline, claimed = parts(tmp_path, metrics)
    assert serving.model == ModelVersion(flights.model, "1")
    assert served(metrics) == {("1", "primary")}

    plan = ServingPlan("1", Canary("2", 0.05))
    serving.models.apply(plan)
    assert timeline.wait(1)[:3] == ("switched", flights.model, plan)
    assert served(metrics) == {("1", "primary"), ("2", "canary")}
    assert claimed == []

    serving.models.apply(ServingPlan("2", shadow="1"))
    assert served(metrics) == {("2", "primary"), ("1", "shadow")}
    assert claimed == [ModelVersion(flights.model, "2")]
    assert serving.model.version == "2"
    assert metrics.model_plans.value(outcome="served") == 2
    assert (metrics.model_switch_seconds.value() or 0) >= 0

    serving.models.apply(ServingPlan("2"))
    assert serving.models.status().loaded == {"2"}
    closed: list[str] = []
    serving.closing(lambda: closed.append("stopped"))()
    assert closed == ["stopped"]


def test_versions_that_cannot_be_served_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each with its sentence, on the log, on the timeline, in a metric; what was served goes on."""
    metrics = Metrics()
    serving, timeline, claimed = parts(tmp_path, metrics)
    rows = misbehaving_models.publish(tmp_path, "rows", misbehaving_models.subtracts_the_mean_of_the_batch())
    misbehaving_models.publish(tmp_path, "wide", misbehaving_models.with_input(99))
    misbehaving_models.publish(tmp_path, "cut", misbehaving_models.good()).model.write_bytes(b"short")
    fewer = flights.spec.declaration()[1:]
    manifest = rows.manifest.model_copy(
        update={
            "version": "features",
            "features": fewer,
            "fingerprint": fingerprint(fewer),
            "sha256": bundle.sha256(misbehaving_models.good()),
        }
    )
    bundle.write(tmp_path, manifest, misbehaving_models.good())
    expected = {
        "rows": "the score of an event depends on the rest of its batch",
        "wide": "has 99 columns and the pipeline",
        "cut": "has not the checksum of its manifest",
        "features": "which it was not trained with",
        "none": "has no version 'none'",
    }
    with caplog.at_level(logging.ERROR):
        for number, (version, says) in enumerate(expected.items(), 1):
            serving.models.apply(ServingPlan(version))
            kind, model, plan, failed, why = timeline.wait(number)
            assert (kind, model, plan, failed) == ("refused", flights.model, ServingPlan(version), version)
            assert says in why
    assert serving.models.status().failed.keys() == expected.keys()
    assert metrics.model_plans.value(outcome="refused") == len(expected)
    assert served(metrics) == {("1", "primary")}
    assert claimed == []
    assert caplog.text.count("what was served goes on") == len(expected)


def test_a_shadow_follows_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told the model at each switch, None for a plan without a shadow."""
    told: list[str | None] = []
    monkeypatch.setattr(ShadowScoring, "serve", lambda _, model: told.append(model and model.version))
    serving, timeline, _ = parts(tmp_path, Metrics())
    serving.models.apply(ServingPlan("1", shadow="2"))
    timeline.wait(1)
    serving.models.apply(ServingPlan("1"))
    assert told == ["2", None]


def test_a_worker_starts_with_the_primary_of_the_rollout(tmp_path: Path) -> None:
    """Also where several versions are there and none is pinned."""
    for version in ("1", "2"):
        misbehaving_models.publish(tmp_path, version, misbehaving_models.good())
    plan = ServingPlan("2", Canary("1", 0.5))
    serving = serving_parts(flights, Settings(), tmp_path, plan, "w", SystemClock(), Metrics())
    assert serving.model.version == "2"


def test_the_pinned_version_answers_if_that_of_the_rollout_cannot_be_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With an error in the log; without a version that answers, the worker does not start."""
    misbehaving_models.publish(tmp_path, "1", misbehaving_models.good())
    serving = serving_parts(flights, Settings(), tmp_path, ServingPlan("9"), "w", SystemClock(), Metrics())
    assert serving.model.version == "1"
    assert "version 9 of the rollout is not served: " in caplog.text
    with pytest.raises(ModelError, match="does not exist"):
        serving_parts(flights, Settings(), tmp_path / "1", ServingPlan("9"), "w", SystemClock(), Metrics())


def test_a_version_that_the_table_of_last_scores_cannot_store_does_not_stop_a_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of any kind leaves the pinned version in force."""
    long = "2" * 70
    for version in ("1", long):
        misbehaving_models.publish(tmp_path, version, misbehaving_models.good())
    remembering = replace(flights, predictions=True)
    settings = Settings(model=ModelSettings(version="1"))
    serving = serving_parts(remembering, settings, tmp_path, ServingPlan(long), "w", SystemClock(), Metrics())
    assert serving.model.version == "1"
    assert "the pinned version answers" in caplog.text


def test_a_provider_that_is_not_installed_is_refused_for_compiled_trees_too(tmp_path: Path) -> None:
    """Another version may need it."""
    settings = Settings(model=ModelSettings(provider="Nonesuch"))
    trees = Path("topology/models").resolve()
    with pytest.raises(SettingsError, match="Nonesuch"):
        serving_parts(flights, settings, trees, None, "w", SystemClock(), Metrics())


def test_ten_versions_one_after_another_are_served(tmp_path: Path) -> None:
    """Metrics name those that are served, not those that were."""
    metrics = Metrics()
    serving, timeline, _ = parts(tmp_path, metrics)
    for number in range(1, 11):
        misbehaving_models.publish(tmp_path, f"v{number}", misbehaving_models.good())
        serving.models.apply(ServingPlan(f"v{number}"))
        assert timeline.wait(number)[0] == "switched"
    assert served(metrics) == {("v10", "primary")}
    assert {key[1] for key in metrics.model_engine_info.values()} == {"v10"}
    assert {key[1] for key in metrics.model_bundle_info.values()} == {"v10"}
