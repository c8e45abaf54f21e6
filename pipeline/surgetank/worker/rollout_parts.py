"""Connects a worker with the rollout of its pipeline: what it follows is in its log, its metrics and its health."""

import logging
from collections.abc import Callable
from pathlib import Path

from surgetank.clock import Clock
from surgetank.declaration import Pipeline
from surgetank.errors import SettingsError
from surgetank.kafka import provisioning
from surgetank.kafka.retry import retry_until_available
from surgetank.kafka.topic_identity import topic_identity
from surgetank.rollout.control_topic import open_rollout
from surgetank.rollout.followed_plan import FollowedPlan
from surgetank.rollout.follower import RolloutFollower, RolloutTopic
from surgetank.rollout.kept_plan import KeptPlan
from surgetank.serving_plan import ServingPlan
from surgetank.settings import Settings
from surgetank.telemetry.health import Health
from surgetank.telemetry.metrics import Metrics
from surgetank.worker.processing_parts import pinned_model

log = logging.getLogger(__name__)


class FollowedRollout:
    """The rollout that a worker follows. ``first`` is the plan when it started, None if the pinned version answers."""

    def __init__(self, follower: RolloutFollower, first: ServingPlan | None) -> None:
        self._follower = follower
        self.first = first

    def follow(self, apply: Callable[[ServingPlan], None]) -> None:
        """Pass the first plan and each later one to ``apply``."""
        if self.first is not None:
            apply(self.first)
        self._follower.follow(apply)

    def closed_before(self, call: Callable[[], None]) -> Callable[[], None]:
        """Return a function that stops following and then makes the call."""

        def close() -> None:
            self._follower.close()
            call()

        return close


def followed_rollout(
    pipeline: Pipeline, settings: Settings, metrics: Metrics, health: Health, clock: Clock
) -> FollowedRollout:
    """Follow the rollout of a pipeline; wait for its first plan, but not long."""
    follower = rollout_follower(pipeline, settings, pinned_model(pipeline, settings).name, metrics, health, clock)
    return FollowedRollout(follower, follower.start(settings.rollout.wait_seconds).plan)


def rollout_follower(
    pipeline: Pipeline, settings: Settings, model: str, metrics: Metrics, health: Health, clock: Clock
) -> RolloutFollower:
    """Return what follows the commands for a model, which reports to the log, to the metrics and to ``/ready``.

    Waits until the brokers are available.
    """
    kafka, topic = settings.kafka, pipeline.rollout
    cluster = retry_until_available(lambda: provisioning.cluster_id(kafka), clock)
    return RolloutFollower(
        RolloutTopic(lambda: open_rollout(kafka, topic), lambda: topic_identity(kafka, topic)),
        model,
        KeptPlan(kept_plan_path(settings, cluster, pipeline.name)),
        clock,
        report=lambda followed: report_followed(followed, metrics, health),
    )


def kept_plan_path(settings: Settings, cluster: str, pipeline: str) -> Path | None:
    """Return the file of the last known plan; None if this user has no folder for local state."""
    try:
        return settings.state.folder / "rollout" / f"{cluster}-{pipeline}.json"
    except SettingsError as error:
        log.warning("the rollout is not kept for a restart without its topic: %s", error)
        return None


def report_followed(followed: FollowedPlan, metrics: Metrics, health: Health) -> None:
    """Report what is followed: a line in the log, metrics, and a warning in ``/ready``, which stays 200."""
    if followed.warning:
        log.warning("%s", followed.warning)
    if followed.plan is not None:
        log.info("rollout, revision %d (%s): %s", followed.revision, followed.source, plan_in_words(followed.plan))
    metrics.rollout_plan_info.replace(dict.fromkeys(plan_roles(followed.plan), 1))
    metrics.rollout_revision.set(followed.revision)
    metrics.rollout_followed.set(0 if followed.warning else 1)
    metrics.rollout_mangled_records.set(followed.mangled)
    health.warn("rollout", followed.warning)


def plan_roles(plan: ServingPlan | None) -> list[tuple[str, str]]:
    """Return the versions of a plan with their roles."""
    if plan is None:
        return []
    found = [("primary", plan.primary), *(("loaded", version) for version in sorted(plan.loaded))]
    if plan.canary is not None:
        found.append(("canary", plan.canary.version))
    if plan.shadow is not None:
        found.append(("shadow", plan.shadow))
    return found


def plan_in_words(plan: ServingPlan) -> str:
    """Return a plan as part of a sentence."""
    words = [f"version {plan.primary} answers"]
    if plan.canary is not None:
        words.append(f"version {plan.canary.version} for {plan.canary.share:.3g} of the keys")
    if plan.shadow is not None:
        words.append(f"version {plan.shadow} in shadow")
    if plan.loaded:
        words.append(f"loaded: {', '.join(sorted(plan.loaded))}")
    return ", ".join(words)
