"""The end of a drill that is interrupted: whatever waits or loops ends with an error soon."""

import threading

from surgetank.errors import SurgetankError


class DrillStopped(SurgetankError):  # noqa: N818 - the name is what happened
    """The drill was interrupted while a pipeline ran; nothing is known about the pipeline."""

    def __init__(self) -> None:
        super().__init__("the drill was stopped")


def raise_if_stopped(stop: threading.Event) -> None:
    """Raise DrillStopped once ``stop`` is set."""
    if stop.is_set():
        raise DrillStopped
