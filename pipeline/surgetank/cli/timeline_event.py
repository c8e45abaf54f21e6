"""Writes the actions of an operator's commands to the pipeline's timeline."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surgetank.declaration import Pipeline
    from surgetank.settings import KafkaSettings
    from surgetank.timeline.events import EventKind


def operator_name() -> str:
    """Return the user and the machine of this process, as ``alice@host``."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def write_timeline_event(
    kafka: "KafkaSettings",
    pipeline: "Pipeline",
    what: str,
    *,
    kind: "EventKind | None" = None,
    who: str = "",
    **details: Any,
) -> None:
    """Write an event; if the brokers do not accept it within a few seconds, the command succeeds without it.

    ``kind`` is that of an operator's command by default, ``who`` the operator.
    """
    from surgetank.clock import SystemClock
    from surgetank.timeline.events import EventKind
    from surgetank.timeline.writer import TimelineWriter

    who = who or operator_name()
    timeline = TimelineWriter(kafka, pipeline, who=who, clock=SystemClock(), ended=lambda _: None)
    timeline.write(kind or EventKind.OPERATOR_COMMAND, what, details)
    timeline.close()
