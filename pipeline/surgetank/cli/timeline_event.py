"""Writes the actions of an operator's commands to the pipeline's timeline."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surgetank.declaration import Pipeline
    from surgetank.settings import KafkaSettings


def write_timeline_event(kafka: "KafkaSettings", pipeline: "Pipeline", what: str, **details: Any) -> None:
    """Write an event; if the brokers do not accept it within a few seconds, the command succeeds without it."""
    import getpass
    import socket

    from surgetank.clock import SystemClock
    from surgetank.timeline.events import EventKind
    from surgetank.timeline.writer import TimelineWriter

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "somebody"
    who = f"{user}@{socket.gethostname()}"
    timeline = TimelineWriter(kafka, pipeline, who=who, clock=SystemClock(), ended=lambda _: None)
    timeline.write(EventKind.OPERATOR_COMMAND, what, details)
    timeline.close()
