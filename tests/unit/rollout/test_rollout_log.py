"""The log of commands: any order of commands of two operators, replays, records that are no commands."""

from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from surgetank.rollout.commands import Action, Command, decode
from surgetank.rollout.rollout_log import RolloutLog
from surgetank.rollout.state import Phase, RolloutState, serving_plan
from tests.support.rollout_commands import MODEL, command, log_of

VERSIONS = st.sampled_from(["1", "2", "3"])
OPERATORS = st.sampled_from(["alice", "bob"])
DIGITS = st.lists(st.binary(max_size=3).map(bytes.hex), max_size=2).map(tuple)
NOT_COMMANDS: list[bytes | None] = [
    None,
    b"",
    b"\xff\xfe",
    b"[]",
    b"null",
    b"{}",
    b'{"format": 1}',
    b"[" * 5000,
    command("deploy", version="1").encode().replace(b'"format": 1', b'"format": 2'),
    command("deploy", version="1").encode().replace(b'"1"', b'"../1"'),
    command("deploy", version="1").encode().replace(b'"version": "1"', b'"version": null'),
    command("canary", version="1").encode().replace(b"5.0", b"NaN"),
    command("canary", version="1").encode().replace(b"5.0", b"101"),
    command("promote").encode().replace(b'"revision": 0', b'"revision": -1'),
    command("promote").encode().replace(b'"promote"', b'"explode"'),
    command("promote").encode().replace(b'"at": 0', b'"at": 1e300'),
]


class TwoOperators(RuleBasedStateMachine):
    """Two operators give any commands, each against the state that he saw last; records are mangled or repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.log = RolloutLog(MODEL)
        self.values: list[bytes | None] = []
        self.seen = {"alice": 0, "bob": 0}
        self.answered: list[str] = []  # the versions that answered, one promotion or deployment after the other

    @rule(who=OPERATORS)
    def looks(self, who: str) -> None:
        """See the present state."""
        self.seen[who] = self.log.state.revision

    @rule(
        who=OPERATORS,
        action=st.sampled_from(Action),
        version=VERSIONS | st.none(),
        percent=st.sampled_from([0.0, 5.0, 100.0]),
        allow=DIGITS | st.none(),
        primary=st.sampled_from(["1", None]),
        force=st.booleans(),
    )
    def commands(self, who: str, action: Action, version: str | None, force: bool, **fields: Any) -> None:
        """Give a command."""
        if action in (Action.DEPLOY, Action.SHADOW) and version is None:
            version = "2"
        given_ = command(
            action, who=who, version=version, force=force, revision=self.seen[who], **self.fitting(action, fields)
        )
        before, stale = self.log.state, self.seen[who] != self.log.state.revision
        entry = self.log.add(len(self.values), given_.encode())
        self.values.append(given_.encode())
        assert entry is not None
        if not entry.accepted:
            assert self.log.state == before
            return
        assert force or not stale
        assert self.log.state.revision == before.revision + 1
        self.check_answers(before, given_)

    def fitting(self, action: Action, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the fields that the action and the state take."""
        if action is not Action.CANARY:
            fields = {name: value for name, value in fields.items() if name == "primary"}
        return fields if not self.log.state.revision else {**fields, "primary": None}

    def check_answers(self, before: RolloutState, given_: Command) -> None:
        """Compare the version that answers with the versions that were promoted."""
        state = self.log.state
        if before.phase is Phase.EMPTY and given_.primary is not None:
            self.answered.append(given_.primary)
        if given_.action in (Action.DEPLOY, Action.PROMOTE):
            self.answered.append(state.primary)
        if given_.action is Action.ROLLBACK:
            if not before.candidate:
                self.answered.pop()
            plan = serving_plan(before)
            assert plan is not None
            assert state.primary in plan.versions, "a rollback needs no loading"
        assert state.primary == self.answered[-1]

    @rule(value=st.sampled_from(NOT_COMMANDS) | st.binary(max_size=20))
    def mangles(self, value: bytes | None) -> None:
        """Write a record that is no command."""
        before = self.log.state
        assert self.log.add(len(self.values), value) is None
        self.values.append(value)
        assert self.log.state == before

    @rule(data=st.data())
    def repeats(self, data: st.DataObject) -> None:
        """Write a record again."""
        if not self.values:
            return
        value, before = data.draw(st.sampled_from(self.values)), self.log.state
        assert self.log.add(len(self.values), value) is None
        self.values.append(value)
        assert self.log.state == before

    @rule()
    def other_model(self) -> None:
        """Give a command for another model of the pipeline."""
        given_ = command("deploy", version="9", model="another")
        before = self.log.state
        assert self.log.add(len(self.values), given_.encode()) is None
        self.values.append(given_.encode())
        assert self.log.state == before

    @invariant()
    def one_version_answers(self) -> None:
        """Of a plan exactly one is the primary, and no version has two parts in it."""
        state, plan = self.log.state, serving_plan(self.log.state)
        assert (plan is None) == (state.phase is Phase.EMPTY) == (not state.primary)
        if plan is not None:
            others = [plan.shadow, plan.canary and plan.canary.version]
            assert plan.primary == state.primary
            assert plan.primary not in [*others, *plan.loaded]
            assert sum(each is not None for each in others) == bool(state.candidate)

    @invariant()
    def a_late_worker_ends_in_the_same_state(self) -> None:
        """Whoever reads the whole topic has the state and the history of those who followed it."""
        again = RolloutLog(MODEL)
        for offset, value in enumerate(self.values):
            again.add(offset, value)
        assert (again.state, again.entries, again.mangled) == (self.log.state, self.log.entries, self.log.mangled)


TestTwoOperators = TwoOperators.TestCase
TestTwoOperators.settings = settings(max_examples=40, stateful_step_count=20)


def test_two_operators_give_opposite_commands() -> None:
    """The second one, against a state that is gone, is refused with what happened since; with force it counts."""
    running = log_of(command("canary", version="2", primary="1"))
    promote = command("promote", revision=1, reason="good")
    rollback = command("rollback", who="bob", revision=1)
    for first, second, primary in ((promote, rollback, "2"), (rollback, promote, "1")):
        log = log_of(*[each.command for each in running.entries], first)
        entry = log.add(9, second.encode())
        assert entry is not None
        assert (entry.accepted, log.state.primary) == (False, primary)
        assert "it was made against revision 1; since then: " in entry.refusal
        assert f"{first.who}: {first.action}" in entry.refusal
        assert "revision 2" in entry.refusal
    forced = log_of(*[each.command for each in running.entries], promote)
    forced.add(9, rollback.model_copy(update={"force": True}).encode())
    assert (forced.state.phase, forced.state.primary) == (Phase.ROLLED_BACK, "1")


def test_a_command_for_a_topic_that_was_made_again_is_refused() -> None:
    """Its revision is larger than any that the topic has."""
    entry = RolloutLog(MODEL).add(0, command("deploy", version="2", revision=7).encode())
    assert entry is not None
    assert "made against revision 7, but the topic has only 0" in entry.refusal


def test_a_record_of_the_rollout_topic_is_mangled() -> None:
    """It is skipped with its offset and the reason; commands before and behind it count."""
    for number, value in enumerate(NOT_COMMANDS):
        log = log_of(command("deploy", version="1"))
        assert log.add(1, value) is None, number
        assert [each.offset for each in log.mangled] == [1]
        assert log.mangled[0].reason
        log.add(2, command("deploy", version="2", revision=1).encode())
        assert log.state.primary == "2"


def test_commands_of_later_versions_of_the_engine_may_have_more_fields() -> None:
    """They are ignored; what changes the meaning has another format."""
    value = command("deploy", version="1").encode().replace(b'{"format"', b'{"note": [1], "format"')
    assert decode(value).version == "1"


def test_refused_commands_stay_in_the_history() -> None:
    """Without a revision of their own."""
    log = log_of(command("deploy", version="1"), command("promote"), command("deploy", version="2"))
    assert [each.accepted for each in log.entries] == [True, False, True]
    assert [each.state.revision for each in log.entries] == [1, 1, 2]
    last = log.last_accepted
    assert last is not None
    assert last.command.version == "2"


@given(st.lists(st.sampled_from(Action), max_size=12), st.integers(0, 12))
def test_a_log_goes_on_from_any_prefix(actions: list[Action], cut: int) -> None:
    """The state depends on the commands alone, not on when they were read."""
    versions = {Action.DEPLOY: "1", Action.SHADOW: "2", Action.CANARY: "2"}
    commands = [command(each, version=versions.get(each)) for each in actions]
    whole = log_of(*commands)
    parts = log_of(*commands[:cut])
    for entry in whole.entries[cut:]:
        parts.add(entry.offset, entry.command.encode())
    assert (parts.state, parts.entries) == (whole.state, whole.entries)
    assert all(two.state.revision - one.state.revision in (0, 1) for one, two in pairwise(whole.entries))
