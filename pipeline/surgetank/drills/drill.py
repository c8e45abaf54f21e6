"""The base of the drills that run workers in an environment of their own."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from surgetank.clock import Clock, SystemClock
from surgetank.drills.environment import DrillEnvironment
from surgetank.drills.report import DrillReport


class Drill(ABC):
    """One run. ``say`` receives a line for each action; ``settings`` are those of the workers."""

    def __init__(
        self, environment: DrillEnvironment, say: Callable[[str], None], settings: dict[str, Any] | None = None
    ) -> None:
        self._pipeline = environment.pipeline
        self._recording = environment.recording
        self._cluster = environment.cluster
        self._kafka = environment.kafka
        self._fleet = environment.fleet(settings)
        self._say = say
        self._clock: Clock = SystemClock()

    @abstractmethod
    def run(self) -> DrillReport:
        """Run the drill. Raises SurgetankError if the system does not recover by itself."""
