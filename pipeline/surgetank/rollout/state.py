"""The table of states and commands of a rollout, and the plan of versions that each state means. Pure.

::

                deploy    shadow    canary    promote   rollback      pause     resume
  empty         stable    shadow    canary    -         -             -         -
  stable        stable    shadow    canary    -         rolled back   -         -
  rolled back   stable    shadow    canary    -         -             -         -
  shadow        -         shadow    canary    stable    rolled back   paused    -
  canary        -         -         canary    stable    rolled back   paused    -
  paused        -         -         -         -         rolled back   -         shadow, canary

``-`` is a refusal. A shadow or a canary begins in the empty state only if the command says which version answers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from surgetank.rollout.commands import Action, Command, key_bytes
from surgetank.serving_plan import Canary, ServingPlan


class Phase(StrEnum):
    """The states, without their versions."""

    EMPTY = "empty"  # no command was given
    STABLE = "stable"  # one version answers
    SHADOW = "shadow"  # a candidate scores beside it
    SHADOW_PAUSED = "paused shadow"
    CANARY = "canary"  # a candidate answers for a share of the keys
    CANARY_PAUSED = "paused canary"
    ROLLED_BACK = "rolled back"  # one version answers; the last candidate was taken back


@dataclass(frozen=True, slots=True)
class RolloutState:
    """The state after ``revision`` accepted commands.

    ``primary`` is the version that answers ("" only in the empty state), ``candidate`` the one in shadow or canary,
    ``previous`` the one that answered before the primary was promoted and stays loaded, ``withdrawn`` the one that the
    last rollback took back; "" is none. ``percent``, ``allow`` and ``deny`` are those of the canary.
    """

    revision: int = 0
    phase: Phase = Phase.EMPTY
    primary: str = ""
    candidate: str = ""
    previous: str = ""
    withdrawn: str = ""
    percent: float = 0.0
    allow: frozenset[bytes] = frozenset()
    deny: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class CommandRefusal:
    """Why a command changes nothing, in one sentence that says what can be done."""

    reason: str


def transition(state: RolloutState, command: Command) -> RolloutState | CommandRefusal:
    """Return the state after a command, or why it is refused. The command's revision is not looked at."""
    if state.phase is Phase.EMPTY and command.primary is not None:
        state = replace(state, phase=Phase.STABLE, primary=command.primary)
    rule = TABLE[state.phase][command.action]
    if isinstance(rule, str):
        return CommandRefusal(rule.format(state=state))
    after = rule(state, command)
    return after if isinstance(after, CommandRefusal) else replace(after, revision=state.revision + 1)


def serving_plan(state: RolloutState) -> ServingPlan | None:
    """Return the versions that serve in a state; None in the empty one.

    The previous version stays loaded until the next promotion or deployment, so that going back needs no loading. The
    salt of a canary is its version: while its share grows, keys that it answers for stay with it, and another version
    gets other keys.
    """
    if state.phase is Phase.EMPTY:
        return None
    canary = None
    if state.phase in (Phase.CANARY, Phase.CANARY_PAUSED):
        canary = Canary(state.candidate, state.percent / 100, state.candidate, state.allow, state.deny)
    shadow = state.candidate if state.phase in (Phase.SHADOW, Phase.SHADOW_PAUSED) else None
    return ServingPlan(state.primary, canary, shadow, frozenset({state.previous} - {""}))


def _deploy(state: RolloutState, command: Command) -> RolloutState | CommandRefusal:
    version = command.version or ""
    if version == state.primary:
        return CommandRefusal(f"version {version} answers already")
    return _answered_by(state, version)


def _shadow(state: RolloutState, command: Command) -> RolloutState | CommandRefusal:
    version = command.version or ""
    if version == state.primary:
        return CommandRefusal(f"version {version} answers already; shadow another one")
    if version == state.candidate:
        return CommandRefusal(f"version {version} is in shadow already")
    return replace(_without_candidate(state), phase=Phase.SHADOW, candidate=version)


def _canary(state: RolloutState, command: Command) -> RolloutState | CommandRefusal:
    version = command.version or state.candidate
    if not version:
        return CommandRefusal("name the version of the canary: none is in shadow or canary")
    if version == state.primary:
        return CommandRefusal(f"version {version} answers already; use another one as canary")
    if state.candidate and version != state.candidate:
        return CommandRefusal(f"version {state.candidate} is in {state.phase}: promote it or roll it back first")
    after = replace(
        state,
        phase=Phase.CANARY,
        candidate=version,
        withdrawn="",
        percent=command.percent or 0.0,
        allow=state.allow if command.allow is None else key_bytes(command.allow),
        deny=state.deny if command.deny is None else key_bytes(command.deny),
    )
    return (
        CommandRefusal(f"the canary of version {version} has this share and these keys already")
        if after == state
        else after
    )


def _promote(state: RolloutState, command: Command) -> RolloutState | CommandRefusal:
    if command.version not in (None, state.candidate):
        return CommandRefusal(f"version {state.candidate} is in {state.phase}, not {command.version}")
    return _answered_by(state, state.candidate)


def _withdraw(state: RolloutState, command: Command) -> RolloutState | CommandRefusal:
    if command.version not in (None, state.primary):
        return CommandRefusal(f"a rollback leaves version {state.primary}, not {command.version}: {_OTHER_VERSION}")
    return replace(_without_candidate(state), phase=Phase.ROLLED_BACK, withdrawn=state.candidate)


def _return(state: RolloutState, command: Command) -> RolloutState | CommandRefusal:
    if not state.previous:
        return CommandRefusal(f"no version answered before {state.primary}: {_OTHER_VERSION}")
    if command.version not in (None, state.previous):
        return CommandRefusal(f"a rollback leads to version {state.previous}, not {command.version}: {_OTHER_VERSION}")
    return replace(state, phase=Phase.ROLLED_BACK, primary=state.previous, previous="", withdrawn=state.primary)


def _pause(state: RolloutState, _: Command) -> RolloutState:
    return replace(state, phase=Phase.SHADOW_PAUSED if state.phase is Phase.SHADOW else Phase.CANARY_PAUSED)


def _resume(state: RolloutState, _: Command) -> RolloutState:
    return replace(state, phase=Phase.SHADOW if state.phase is Phase.SHADOW_PAUSED else Phase.CANARY)


def _answered_by(state: RolloutState, version: str) -> RolloutState:
    return replace(_without_candidate(state), phase=Phase.STABLE, primary=version, previous=state.primary, withdrawn="")


def _without_candidate(state: RolloutState) -> RolloutState:
    nobody: frozenset[bytes] = frozenset()
    return replace(state, candidate="", withdrawn="", percent=0.0, allow=nobody, deny=nobody)


Rule = Callable[[RolloutState, Command], RolloutState | CommandRefusal] | str
Rules = Mapping[Action, Rule]

_OTHER_VERSION = "deploy the version that is to answer"
_NO_PRIMARY = "no version was deployed yet: deploy one first"
_NO_CANDIDATE = "no version is in shadow or canary"
_FIRST = "version {state.candidate} is in {state.phase}: promote it or roll it back first"
_RESUME_FIRST = "version {state.candidate} is in {state.phase}: resume it or roll it back first"
_RUNS = "version {state.candidate} is in {state.phase}, and is not paused"
_AGAIN = (
    "version {state.withdrawn} was taken back already, and version {state.primary} answers; to go further back, deploy "
    "the version that is to answer"
)


def _rules(rules: Rules, otherwise: str) -> Rules:
    """Return a rule for each command: a refusal with the reason ``otherwise`` where ``rules`` has none."""
    return {action: rules.get(action, otherwise) for action in Action}


_BEGIN: Rules = {Action.DEPLOY: _deploy, Action.SHADOW: _shadow, Action.CANARY: _canary}
_GO_ON: Rules = {Action.CANARY: _canary, Action.PROMOTE: _promote, Action.ROLLBACK: _withdraw, Action.PAUSE: _pause}
_PAUSED: Rules = {Action.ROLLBACK: _withdraw, Action.RESUME: _resume}
TABLE: Mapping[Phase, Rules] = {
    Phase.EMPTY: _rules({Action.DEPLOY: _deploy}, _NO_PRIMARY),
    Phase.STABLE: _rules({**_BEGIN, Action.ROLLBACK: _return}, _NO_CANDIDATE),
    Phase.ROLLED_BACK: _rules({**_BEGIN, Action.ROLLBACK: _AGAIN}, _NO_CANDIDATE),
    Phase.SHADOW: _rules({**_GO_ON, Action.SHADOW: _shadow, Action.RESUME: _RUNS}, _FIRST),
    Phase.CANARY: _rules({**_GO_ON, Action.RESUME: _RUNS}, _FIRST),
    Phase.SHADOW_PAUSED: _rules(_PAUSED, _RESUME_FIRST),
    Phase.CANARY_PAUSED: _rules(_PAUSED, _RESUME_FIRST),
}
