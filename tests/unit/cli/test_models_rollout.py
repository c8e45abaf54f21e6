"""What `surgetank models` makes of its options before it asks Kafka."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from surgetank.cli import app
from surgetank.errors import ModelError, RolloutRefused, SurgetankError
from surgetank.rollout import control_topic
from surgetank.rollout.commands import Action, Command
from surgetank.rollout.rollout_log import Entry, RolloutLog
from surgetank.rollout.state import RolloutState
from surgetank.settings import KafkaSettings
from tests.support.rollout_commands import MODEL
from topology.flights import flights


@pytest.fixture(autouse=True)
def rollout(monkeypatch: pytest.MonkeyPatch) -> RolloutLog:
    """Return the rollout of the commands that are given; nothing reaches Kafka."""
    log = RolloutLog(flights.model)

    def give(_: KafkaSettings, topic: str, model: str, command_for: Callable[[RolloutState, str], Command]) -> Entry:
        assert (topic, model) == (flights.rollout, flights.model)
        entry = log.add(len(log.entries), command_for(log.state, f"c{len(log.entries)}").encode())
        assert entry is not None
        if entry.refusal:
            raise RolloutRefused(entry.refusal)
        return entry

    monkeypatch.setattr(control_topic, "give_command", give)
    monkeypatch.setattr(control_topic, "read_rollout", lambda *_: log)
    monkeypatch.setattr("surgetank.cli.timeline_event.write_timeline_event", lambda *_, **__: None)
    return log


def run(*words: str) -> Any:
    """Run a command on flights; return its result."""
    action, *arguments = words
    return CliRunner().invoke(app, ["models", action, "flights", *arguments])


def test_the_first_command_says_which_version_answers(rollout: RolloutLog) -> None:
    """That of the declaration; a deployment of the same version stands for itself."""
    assert run("canary", "2", "--no-check").output == "revision 1: version 1 answers, version 2 for 5 % of the keys\n"
    assert rollout.entries[0].command.primary == "1"
    assert run("rollback", "--reason", "too low").output == "revision 2: version 1 answers, version 2 was taken back\n"
    assert rollout.entries[1].command.primary is None


def test_the_pinned_version_can_be_deployed(rollout: RolloutLog) -> None:
    """The bundle of the project is found and fits."""
    assert run("deploy", "1").output == "revision 1: version 1 answers\n"
    assert (rollout.entries[0].command.primary, rollout.state.previous) == (None, "")


def test_a_version_whose_bundle_is_not_here(rollout: RolloutLog, tmp_path: Path) -> None:
    """The command is refused, with the option for those who give commands elsewhere."""
    for words in (("deploy", "99"), ("shadow", "99"), ("canary", "99"), ("deploy", "1", "--set")):
        options = [f"model.directory={tmp_path}"] if words[-1] == "--set" else []
        result = run(*words, *options)
        assert isinstance(result.exception, ModelError)
        assert "--no-check" in str(result.exception)
    assert rollout.entries == []


def test_keys_of_any_bytes(rollout: RolloutLog) -> None:
    """As text or as hexadecimal digits; an empty text removes the keys of a list."""
    run("canary", "2", "--no-check", "--allow-keys", "N1", "--allow-keys", "hex:00ff", "--deny-keys", "\u00e9")
    assert rollout.state.allow == {b"N1", b"\x00\xff"}
    assert rollout.state.deny == {"\u00e9".encode()}
    run("canary", "--percent", "25", "--allow-keys", "")
    assert not rollout.state.allow
    assert rollout.state.deny == {"\u00e9".encode()}
    assert "pairs of hexadecimal digits" in run("canary", "--percent", "30", "--deny-keys", "hex:0").output


def test_wrong_values_are_options_to_correct(rollout: RolloutLog) -> None:
    """They end with the status of a wrong command line."""
    assert run("canary", "2", "--percent", "101", "--no-check").exit_code == 2
    assert run("deploy", "../1", "--no-check").exit_code == 2
    assert rollout.entries == []


def test_a_refused_command_ends_with_status_1(rollout: RolloutLog) -> None:
    """And says where to look."""
    run("deploy", "2", "--no-check", "--set", "rollout.operator=bob")
    result = run("rollback", "--revision", "0")
    assert isinstance(result.exception, SurgetankError)
    assert result.exception.exit_code == 1
    assert "since then: bob: deploy 2" in str(result.exception)
    assert "surgetank models status flights" in str(result.exception)
    assert run("rollback", "--revision", "0", "--force").exit_code == 0
    assert rollout.state.primary == "1"


def test_each_action_has_a_command() -> None:
    """And a test of this file or on a real Kafka."""
    from surgetank.cli.models_rollout import COMMANDS

    assert {each.__name__ for each in COMMANDS} == {*map(str, Action), "status", "history"}
    assert MODEL == "flights-late"
