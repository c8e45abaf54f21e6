"""Renders a rollout and its history: as text and tables for the terminal, and as JSON values for scripts."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from surgetank.rollout.rollout_log import Entry, RolloutLog, order
from surgetank.rollout.state import Phase, RolloutState

UNKNOWN = "?"


def state_in_words(state: RolloutState) -> str:
    """Return a state as a sentence."""
    paused = ", paused" if state.phase in (Phase.SHADOW_PAUSED, Phase.CANARY_PAUSED) else ""
    answers = f"version {state.primary} answers"
    match state.phase:
        case Phase.EMPTY:
            return "no command was given: the pinned version answers"
        case Phase.SHADOW | Phase.SHADOW_PAUSED:
            return f"{answers}, version {state.candidate} in shadow{paused}"
        case Phase.CANARY | Phase.CANARY_PAUSED:
            return f"{answers}, version {state.candidate} for {share_in_words(state)}{paused}"
        case Phase.ROLLED_BACK:
            return f"{answers}, version {state.withdrawn} was taken back"
        case Phase.STABLE:
            return f"{answers}; a rollback leads to version {state.previous}" if state.previous else answers


def share_in_words(state: RolloutState) -> str:
    """Return for which keys a canary answers."""
    lists = [f"{len(keys)} {what}" for keys, what in ((state.allow, "allowed"), (state.deny, "denied")) if keys]
    return f"{state.percent:g} % of the keys" + (f" ({', '.join(lists)})" if lists else "")


def state_dict(state: RolloutState) -> dict[str, Any]:
    """Return a state as JSON values; keys as hexadecimal digits, None where there is no version."""
    return {
        "revision": state.revision,
        "phase": str(state.phase),
        "primary": state.primary or None,
        "candidate": state.candidate or None,
        "previous": state.previous or None,
        "withdrawn": state.withdrawn or None,
        "percent": state.percent,
        "allow": sorted(key.hex() for key in state.allow),
        "deny": sorted(key.hex() for key in state.deny),
    }


def entry_dict(entry: Entry) -> dict[str, Any]:
    """Return a command with its outcome as JSON values; ``made_against`` is the revision it was made against."""
    fields = entry.command.model_dump(mode="json", exclude={"format", "revision"})
    return fields | {
        "at": _iso(entry.command.at, "milliseconds"),
        "made_against": entry.command.revision,
        "accepted": entry.accepted,
        "refusal": entry.refusal or None,
        "offset": entry.offset,
        "state": state_dict(entry.state),
    }


def status_table(pipeline: str, rollout: RolloutLog, pinned: str | None, workers: Mapping[str, str] | None) -> Table:
    """Return the table of a rollout. ``workers`` are the versions that they serve, None if that is not known."""
    state, last = rollout.state, rollout.last_accepted
    rows = {
        "model": rollout.model,
        "state": str(state.phase),
        "revision": str(state.revision),
        "answers": state.primary or f"{pinned or UNKNOWN} (pinned)",
        "candidate": state.candidate,
        "for": share_in_words(state) if state.phase in (Phase.CANARY, Phase.CANARY_PAUSED) else "",
        "rollback to": _rollback_target(state),
        "taken back": state.withdrawn,
        "last command": "" if last is None else f"{order(last.command)}, revision {state.revision}",
        "by": "" if last is None else last.command.who,
        "at": "" if last is None else _iso(last.command.at, "seconds"),
        "reason": "" if last is None else last.command.reason,
        "workers": UNKNOWN if workers is None else _workers_in_words(workers),
        "mangled": f"{len(rollout.mangled)} records" if rollout.mangled else "",
    }
    table = Table(title=f"rollout of {pipeline}", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in rows.items():
        if value:
            table.add_row(name, _plain(value))
    return table


def history_table(pipeline: str, rollout: RolloutLog) -> Table:
    """Return the table of all commands, oldest first; refused ones have no revision."""
    table = Table(title=f"rollout of {pipeline}: {len(rollout.entries)} commands for model {rollout.model}")
    table.add_column("rev", justify="right", no_wrap=True)
    for title in ("at", "who", "command", "reason"):
        table.add_column(title)
    for entry in rollout.entries:
        reason = entry.command.reason if entry.accepted else f"refused: {entry.refusal}"
        table.add_row(
            str(entry.state.revision) if entry.accepted else "-",
            _iso(entry.command.at, "seconds"),
            _plain(entry.command.who),
            _plain(order(entry.command)),
            _plain(reason),
        )
    return table


def _rollback_target(state: RolloutState) -> str:
    return state.primary if state.candidate else state.previous if state.phase is Phase.STABLE else ""


def _workers_in_words(workers: Mapping[str, str]) -> str:
    by_version: dict[str, int] = {}
    for version in workers.values():
        by_version[version] = by_version.get(version, 0) + 1
    found = [
        f"{number} serve{'s' if number == 1 else ''} version {each}" for each, number in sorted(by_version.items())
    ]
    return ", ".join(found) or "none that owns a partition"


def _plain(text: str) -> Text:
    """Return text from a topic without control characters; it is no markup."""
    return Text("".join(sign if sign.isprintable() else " " for sign in text))


def _iso(at_ms: int, timespec: str) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
