"""surgetank.worker.rollout_parts: what a worker tells of the rollout that it follows."""

import logging
from pathlib import Path

import pytest

from surgetank.clock import SystemClock
from surgetank.rollout.followed_plan import FollowedPlan, PlanSource
from surgetank.serving_plan import Canary, ServingPlan
from surgetank.settings import Settings
from surgetank.settings.schema import StateSettings
from surgetank.telemetry.health import Health
from surgetank.telemetry.metrics import Metrics
from surgetank.worker.rollout_parts import kept_plan_path, plan_in_words, report_followed

PLAN = ServingPlan("1", Canary("2", 0.05, "2"), loaded=frozenset({"0"}))


def test_a_plan_is_in_metrics_and_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each version with its role; those of the plan before are gone."""
    metrics, health = Metrics(), Health(SystemClock(), conditions=())
    caplog.set_level(logging.INFO)
    report_followed(FollowedPlan(PlanSource.TOPIC, 3, ServingPlan("1", shadow="2")), metrics, health)
    report_followed(FollowedPlan(PlanSource.TOPIC, 4, PLAN, mangled=2), metrics, health)
    assert metrics.rollout_plan_info.values() == {("primary", "1"): 1, ("canary", "2"): 1, ("loaded", "0"): 1}
    assert (metrics.rollout_revision.value(), metrics.rollout_followed.value()) == (4, 1)
    assert metrics.rollout_mangled_records.value() == 2
    assert "version 1 answers, version 2 for 0.05 of the keys, loaded: 0" in caplog.text
    assert "warnings" not in health.ready()[1]


def test_a_worker_without_its_topic_is_ready_and_says_so() -> None:
    """With a warning, until the topic is followed again."""
    metrics, health = Metrics(), Health(SystemClock(), conditions=("group",))
    health.set("group", True)
    report_followed(FollowedPlan(PlanSource.LAST_KNOWN, 4, PLAN, "the topic is missing"), metrics, health)
    ready, body = health.ready()
    assert ready
    assert [(each["name"], each["why"]) for each in body["warnings"]] == [("rollout", "the topic is missing")]
    assert metrics.rollout_followed.value() == 0
    report_followed(FollowedPlan(PlanSource.PINNED), metrics, health)
    assert metrics.rollout_plan_info.values() == {}
    assert (metrics.rollout_revision.value(), metrics.rollout_followed.value()) == (0, 1)
    assert "warnings" not in health.ready()[1]


def test_a_shadow_is_named() -> None:
    """In words, for the log."""
    assert plan_in_words(ServingPlan("1", shadow="2")) == "version 1 answers, version 2 in shadow"


def test_the_last_known_plan_is_kept_by_cluster_and_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside the state; a user without a home folder gets a warning."""
    settings = Settings(state=StateSettings(directory=tmp_path))
    assert kept_plan_path(settings, "cluster", "flights") == tmp_path / "rollout" / "cluster-flights.json"
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)

    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    assert kept_plan_path(Settings(), "cluster", "flights") is None
    assert "state.directory" in caplog.text
