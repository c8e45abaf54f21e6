"""Decides which versions to load, when a plan comes into force, and which versions to drop. Pure: no thread, no model.

A plan comes into force only when all of its versions are loaded; until then the plan before it stays. The newest plan
counts: it replaces one that still loads. Without its primary a plan is refused, and nothing changes. Another version
that does not load is left out of it: a shadow or a spare must not keep a primary from being served.
"""

from dataclasses import dataclass, replace
from math import isfinite

from surgetank.serving_plan import ServingPlan

VERSIONS_MAX = 16  # of one plan: each of them takes memory


@dataclass(frozen=True, slots=True)
class LoadVersion:
    """Load a version, then report it with ``loaded`` or ``failed``."""

    version: str


@dataclass(frozen=True, slots=True)
class ServePlan:
    """Serve a plan from the next batch on; all of its versions are loaded."""

    plan: ServingPlan


@dataclass(frozen=True, slots=True)
class DropVersions:
    """Release the memory of these versions, which no plan needs any more."""

    versions: frozenset[str]


@dataclass(frozen=True, slots=True)
class RefusePlan:
    """Report that a plan does not come into force, or not whole, and why.

    ``version`` is the one that does not load, "" for none.
    """

    plan: ServingPlan
    version: str
    why: str


SwitchAction = LoadVersion | ServePlan | DropVersions | RefusePlan


class PlanSwitch:
    """The plan in force and the one that is being loaded. Its versions are those of one model.

    Each event returns the actions to execute in order. Not thread-safe.
    """

    def __init__(self, plan: ServingPlan) -> None:
        self.in_force = plan
        self.pending: ServingPlan | None = None
        self._requested = plan
        self.loaded = plan.versions
        self.loading: frozenset[str] = frozenset()

    def request(self, plan: ServingPlan) -> list[SwitchAction]:
        """Take a new plan; an equal one that is in force or loads already changes nothing."""
        if plan == self.pending:
            return []
        if plan == self.in_force:
            self.pending = None
            return self._dropped()
        if fault := plan_fault(plan):
            return [RefusePlan(plan, "", fault)]
        self.pending = self._requested = plan
        return [*self._dropped(), *self._advance()]

    def version_loaded(self, version: str) -> list[SwitchAction]:
        """Take a loaded version, unless no plan needs it any more."""
        self.loading -= {version}
        if self.pending is None or version not in self.pending.versions:
            return [DropVersions(frozenset({version}))]
        self.loaded |= {version}
        return self._advance()

    def version_failed(self, version: str, why: str) -> list[SwitchAction]:
        """Refuse the plan whose primary does not load; leave another version out of it."""
        self.loading -= {version}
        if self.pending is None or version not in self.pending.versions:
            return []
        return self._without(frozenset({version}), why)

    def overdue(self, plan: ServingPlan, why: str) -> list[SwitchAction]:
        """Refuse a plan that still loads. A load that goes on is not started a second time."""
        if plan is not self.pending:
            return []
        return self._without(frozenset(self._missing(plan)), why)

    def _advance(self) -> list[SwitchAction]:
        plan = self.pending
        assert plan is not None
        missing = self._missing(plan)
        if not missing:
            self.in_force, self.pending = plan, None
            return [ServePlan(plan), *self._dropped()]
        if self.loading & set(missing):
            return []  # one version at a time: loading takes processor time from scoring
        self.loading |= {missing[0]}
        return [LoadVersion(missing[0])]

    def _without(self, versions: frozenset[str], why: str) -> list[SwitchAction]:
        """Serve the pending plan without these versions; refuse it if its primary is one of them."""
        plan = self.pending
        assert plan is not None
        refusals = [RefusePlan(self._requested, version, why) for version in sorted(versions)]
        if plan.primary in versions:
            self.pending = None
            return [*(each for each in refusals if each.version == plan.primary), *self._dropped()]
        rest = without(plan, versions)
        self.pending = None if rest == self.in_force else rest
        return [*(self._dropped() if self.pending is None else self._advance()), *refusals]

    def _dropped(self) -> list[SwitchAction]:
        pending = frozenset[str]() if self.pending is None else self.pending.versions
        unneeded = self.loaded - self.in_force.versions - pending
        self.loaded -= unneeded
        return [DropVersions(unneeded)] if unneeded else []

    def _missing(self, plan: ServingPlan) -> list[str]:
        """Return the versions that are not loaded; those that answer first, because spares are the least urgent."""
        roles = [plan.primary, plan.canary.version if plan.canary else "", plan.shadow or ""]
        missing = plan.versions - self.loaded
        return sorted(missing, key=lambda version: (roles.index(version) if version in roles else len(roles), version))


def without(plan: ServingPlan, versions: frozenset[str]) -> ServingPlan:
    """Return a plan without versions that are not its primary."""
    return replace(
        plan,
        canary=None if plan.canary is not None and plan.canary.version in versions else plan.canary,
        shadow=None if plan.shadow in versions else plan.shadow,
        loaded=plan.loaded - versions,
    )


def plan_fault(plan: ServingPlan) -> str:
    """Return what is wrong with a plan, "" if nothing is."""
    if not all(plan.versions):
        return "a version without a name"
    if len(plan.versions) > VERSIONS_MAX:
        return f"it names {len(plan.versions)} versions; a worker holds at most {VERSIONS_MAX}"
    if plan.canary is not None and not (isfinite(plan.canary.share) and 0 <= plan.canary.share <= 1):
        return f"the share of its canary is {plan.canary.share:g}; it must be 0 to 1"
    return ""
