"""Decides which plan a worker follows: that of the topic, else the last known one, else the pinned version. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from surgetank.rollout.rollout_log import RolloutLog
from surgetank.rollout.state import serving_plan
from surgetank.serving_plan import ServingPlan


class PlanSource(StrEnum):
    """Where the plan of a worker comes from."""

    TOPIC = "topic"
    LAST_KNOWN = "last known"
    PINNED = "pinned"


@dataclass(frozen=True, slots=True)
class KnownPlan:
    """A plan that the topic named, for a model, after ``revision`` commands."""

    model: str
    revision: int
    plan: ServingPlan


@dataclass(frozen=True, slots=True)
class FollowedPlan:
    """The plan that a worker follows. ``plan`` is None where only the pinned version is known.

    ``warning`` says what an operator should look at ("": nothing); ``mangled`` is the number of records that are no
    commands.
    """

    source: PlanSource
    revision: int = 0
    plan: ServingPlan | None = None
    warning: str = ""
    mangled: int = 0


def followed_plan(model: str, log: RolloutLog | None, known: KnownPlan | None, problem: str = "") -> FollowedPlan:
    """Return the plan to follow for a model.

    ``log`` is what the topic holds, None if it cannot be read, for which ``problem`` is the reason. ``known`` is the
    last plan that it named. A topic without a command for the model, after one was known, was deleted and made again:
    the known plan stays, since nobody asked for another version.
    """
    mangled = len(log.mangled) if log is not None else 0
    plan = serving_plan(log.state) if log is not None else None
    if log is not None and plan is not None:
        return FollowedPlan(PlanSource.TOPIC, log.state.revision, plan, mangled=mangled)
    if known is None or known.model != model:
        return FollowedPlan(PlanSource.PINNED, warning=_pinned(problem), mangled=mangled)
    return FollowedPlan(PlanSource.LAST_KNOWN, known.revision, known.plan, _last_known(known, problem), mangled)


def _pinned(problem: str) -> str:
    return f"the rollout topic is not followed: {problem}; the pinned version of the model serves" if problem else ""


def _last_known(known: KnownPlan, problem: str) -> str:
    goes_on = f"the plan of revision {known.revision}, with version {known.plan.primary}, goes on"
    if problem:
        return f"the rollout topic is not followed: {problem}; {goes_on}"
    return (
        f"the rollout topic has no command for model {known.model} any more; {goes_on}: say anew which version is to "
        "answer, with `surgetank models deploy PIPELINE VERSION`"
    )
