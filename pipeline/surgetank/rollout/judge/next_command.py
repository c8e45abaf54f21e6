"""What to do next: a function of the plan, the step, the verdict and the time. It changes nothing itself."""

from dataclasses import dataclass
from enum import StrEnum

from surgetank.rollout.judge.plan import Plan
from surgetank.rollout.judge.verdict import StepDecision, Verdict


class CommandKind(StrEnum):
    """WAIT is no command."""

    WAIT = "wait"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a rollout is: the number of its step in the plan, since when (seconds of the caller's clock), if paused."""

    step: int
    since: float
    paused: bool = False


@dataclass(frozen=True, slots=True)
class NextAction:
    """A command for the rollout. ``from_step``: it holds only while the rollout is still in this step.

    ``to_step``: of ADVANCE, the number of the next step.
    """

    kind: CommandKind
    from_step: int
    why: str
    to_step: int | None = None


def next_command(plan: Plan, progress: Progress, verdict: Verdict, now: float) -> NextAction:
    """Return what follows from a verdict about the step in progress; ``now`` is of the clock of ``progress.since``.

    Raises ValueError if the plan does not have the step. A paused plan, and one at its end, wait for an operator.
    """
    number = progress.step
    if not 0 <= number < len(plan.steps):
        raise ValueError(f"the rollout is in step {number}, the plan has the steps 0 to {len(plan.steps) - 1}")
    step, last = plan.steps[number], number == len(plan.steps) - 1
    if progress.paused:
        return NextAction(CommandKind.WAIT, number, "the plan is paused")
    if last:
        return NextAction(CommandKind.WAIT, number, "the plan is at its end")
    if verdict.decision is StepDecision.ROLL_BACK:
        return NextAction(CommandKind.ROLL_BACK, number, verdict.why)
    if verdict.decision is StepDecision.PAUSE:
        return NextAction(CommandKind.PAUSE, number, verdict.why)
    if verdict.decision is StepDecision.CONTINUE:
        return NextAction(CommandKind.WAIT, number, verdict.why)
    if now - progress.since < step.seconds:
        return NextAction(CommandKind.WAIT, number, f"{step.text} has begun {now - progress.since:,.0f} seconds ago")
    if number == len(plan.steps) - 2:
        return NextAction(CommandKind.PROMOTE, number, verdict.why)
    return NextAction(CommandKind.ADVANCE, number, verdict.why, number + 1)
