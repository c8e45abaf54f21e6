"""The table of states and commands: what each command does in each state, and which plan of versions it means."""

import pytest

from surgetank.rollout.commands import Action, Command
from surgetank.rollout.state import TABLE, CommandRefusal, Phase, RolloutState, serving_plan, transition
from surgetank.serving_plan import Canary, ServingPlan
from tests.support.rollout_commands import command, log_of

STATES = {
    Phase.EMPTY: RolloutState(),
    Phase.STABLE: RolloutState(1, Phase.STABLE, "2", previous="1"),
    Phase.SHADOW: RolloutState(2, Phase.SHADOW, "2", "3", previous="1"),
    Phase.SHADOW_PAUSED: RolloutState(3, Phase.SHADOW_PAUSED, "2", "3", previous="1"),
    Phase.CANARY: RolloutState(2, Phase.CANARY, "2", "3", previous="1", percent=5.0),
    Phase.CANARY_PAUSED: RolloutState(3, Phase.CANARY_PAUSED, "2", "3", previous="1", percent=5.0),
    Phase.ROLLED_BACK: RolloutState(3, Phase.ROLLED_BACK, "2", previous="1", withdrawn="3"),
}
S, H, HP, C, CP, R = list(Phase)[1:]
# For each phase the phase after deploy, shadow, canary, promote, rollback, pause and resume; None: refused.
AFTER: dict[Phase, tuple[Phase | None, ...]] = {
    Phase.EMPTY: (S, None, None, None, None, None, None),
    S: (S, H, C, None, R, None, None),
    H: (None, H, C, S, R, HP, None),
    HP: (None, None, None, None, R, None, H),
    C: (None, None, C, S, R, CP, None),
    CP: (None, None, None, None, R, None, C),
    R: (S, H, C, None, None, None, None),
}
VERSIONS = {Action.DEPLOY: "4", Action.SHADOW: "4", Action.CANARY: "3"}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("action", Action)
def test_each_command_has_an_outcome_in_each_state(phase: Phase, action: Action) -> None:
    """As the table in the test says; a refusal is a sentence about the versions of the state."""
    percent = {"percent": 25.0} if action is Action.CANARY else {}
    found = transition(STATES[phase], command(action, version=VERSIONS.get(action), **percent))
    expected = AFTER[phase][list(Action).index(action)]
    assert (None if isinstance(found, CommandRefusal) else found.phase) == expected
    if isinstance(found, CommandRefusal):
        assert "{" not in found.reason
    else:
        assert found.revision == STATES[phase].revision + 1


def test_the_table_has_all_states_and_commands() -> None:
    """No pair is left to chance."""
    assert set(TABLE) == set(Phase)
    assert all(set(rules) == set(Action) for rules in TABLE.values())


def test_a_whole_rollout_keeps_the_version_before_it_loaded() -> None:
    """From shadow to canary to all keys, and back again, which needs no loading."""
    log = log_of(command("shadow", version="2", primary="1"))
    assert serving_plan(log.state) == ServingPlan("1", shadow="2")
    log = log_of(*[each.command for each in log.entries], command("canary"), command("promote"))
    assert serving_plan(log.state) == ServingPlan("2", loaded=frozenset({"1"}))
    log = log_of(*[each.command for each in log.entries], command("rollback"))
    assert serving_plan(log.state) == ServingPlan("1")
    assert log.state.withdrawn == "2"


def test_a_canary_keeps_its_keys_while_its_share_grows() -> None:
    """The salt is that of the version; lists that a command does not have stay, an empty list removes them."""
    commands = [
        command("canary", version="2", primary="1", allow=("4e31",), deny=("00ff",)),
        command("canary", percent=25.0),
        command("canary", percent=50.0, allow=()),
    ]
    plans = [serving_plan(log_of(*commands[:n]).state) for n in (1, 2, 3)]
    assert [plan.canary for plan in plans if plan is not None] == [
        Canary("2", 0.05, "2", frozenset({b"N1"}), frozenset({b"\x00\xff"})),
        Canary("2", 0.25, "2", frozenset({b"N1"}), frozenset({b"\x00\xff"})),
        Canary("2", 0.5, "2", frozenset(), frozenset({b"\x00\xff"})),
    ]


def test_a_pause_changes_no_plan() -> None:
    """It holds the rollout where it is."""
    for phase, paused in ((Phase.SHADOW, Phase.SHADOW_PAUSED), (Phase.CANARY, Phase.CANARY_PAUSED)):
        assert serving_plan(STATES[phase]) == serving_plan(STATES[paused])


@pytest.mark.parametrize(
    ("phase", "given", "says"),
    [
        (Phase.STABLE, command("deploy", version="2"), "version 2 answers already"),
        (Phase.STABLE, command("shadow", version="2"), "version 2 answers already"),
        (Phase.STABLE, command("canary", version="2"), "version 2 answers already"),
        (Phase.STABLE, command("canary"), "name the version"),
        (Phase.STABLE, command("rollback", version="0"), "leads to version 1, not 0"),
        (Phase.SHADOW, command("shadow", version="3"), "in shadow already"),
        (Phase.SHADOW, command("canary", version="4"), "version 3 is in shadow: promote it or roll it back"),
        (Phase.CANARY, command("canary", version="3"), "has this share and these keys already"),
        (Phase.CANARY, command("promote", version="2"), "version 3 is in canary, not 2"),
        (Phase.CANARY, command("rollback", version="1"), "leaves version 2, not 1"),
        (Phase.CANARY_PAUSED, command("promote"), "version 3 is in paused canary: resume it"),
        (Phase.ROLLED_BACK, command("rollback"), "version 3 was taken back already, and version 2 answers"),
        (Phase.EMPTY, command("canary", version="3"), "no version was deployed yet"),
    ],
)
def test_a_refusal_says_what_can_be_done(phase: Phase, given: Command, says: str) -> None:
    """With the versions that it is about."""
    found = transition(STATES[phase], given)
    assert isinstance(found, CommandRefusal)
    assert says in found.reason


def test_nothing_to_return_to_is_said() -> None:
    """After the first deployment there is no version before it."""
    found = transition(log_of(command("deploy", version="1")).state, command("rollback"))
    assert isinstance(found, CommandRefusal)
    assert "no version answered before 1" in found.reason
