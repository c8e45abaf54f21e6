"""Folds the records of a rollout topic, in their order, to the state of a rollout. Pure.

Every reader of the topic comes to the same state, also of two commands that were written at the same time: the first
one counts, and the second one was made against a state that is gone.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from surgetank.rollout.commands import Command, decode
from surgetank.rollout.state import CommandRefusal, RolloutState, transition


@dataclass(frozen=True, slots=True)
class Entry:
    """A command at its offset in the topic, the state after it, and why it was refused ("": it was accepted)."""

    offset: int
    command: Command
    state: RolloutState
    refusal: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the command changed the state."""
        return not self.refusal


@dataclass(frozen=True, slots=True)
class Mangled:
    """A record that is no command, and why."""

    offset: int
    reason: str


class RolloutLog:
    """The commands for one model, and the state that they lead to. Commands for another model are passed over."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.state = RolloutState()
        self.entries: list[Entry] = []
        self.mangled: list[Mangled] = []
        self._ids: set[str] = set()

    def add(self, offset: int, value: bytes | None) -> Entry | None:
        """Add the next record; return its entry, or None if it is none of a command for this model, or a repetition."""
        try:
            command = decode(value)
        except ValueError as error:
            self.mangled.append(Mangled(offset, str(error)))
            return None
        if command.model != self.model or command.id in self._ids:
            return None
        self._ids.add(command.id)
        outcome = self.outcome(command)
        if isinstance(outcome, CommandRefusal):
            entry = Entry(offset, command, self.state, outcome.reason)
        else:
            entry = Entry(offset, command, outcome)
            self.state = outcome
        self.entries.append(entry)
        return entry

    def outcome(self, command: Command) -> RolloutState | CommandRefusal:
        """Return the state that a command leads to now, or why it would be refused. Nothing is changed."""
        if command.revision != self.state.revision and not command.force:
            return CommandRefusal(self._stale(command))
        return transition(self.state, command)

    def entry(self, id_: str) -> Entry | None:
        """Return the entry of the command with this id."""
        return next((each for each in reversed(self.entries) if each.command.id == id_), None)

    @property
    def last_accepted(self) -> Entry | None:
        """The command that led to the present state; None in the empty state."""
        return next((each for each in reversed(self.entries) if each.accepted), None)

    def _stale(self, command: Command) -> str:
        """Return why a command against another revision is refused, with what happened since."""
        since = [each for each in self.entries if each.accepted and each.state.revision > command.revision]
        if not since:
            return (
                f"it was made against revision {command.revision}, but the topic has only {self.state.revision}: it "
                "was made again since; look at the status, and repeat the command"
            )
        happened = "; ".join(f"{describe(each.command)}, revision {each.state.revision}" for each in since[-3:])
        return f"it was made against revision {command.revision}; since then: {happened}"


def describe(command: Command) -> str:
    """Return a command in words: ``alice@host: canary 2 5 %, at 2026-11-28T12:00:00Z (less drift)``."""
    at = datetime.fromtimestamp(command.at / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    reason = f" ({command.reason})" if command.reason else ""
    return f"{command.who}: {order(command)}, at {at}{reason}"


def order(command: Command) -> str:
    """Return what a command says: ``canary 2 5 %``."""
    words = [str(command.action)]
    if command.version is not None:
        words.append(command.version)
    if command.percent is not None:
        words.append(f"{command.percent:g} %")
    if command.allow:
        words.append(f"allow {len(command.allow)}")
    if command.deny:
        words.append(f"deny {len(command.deny)}")
    return " ".join(words)
