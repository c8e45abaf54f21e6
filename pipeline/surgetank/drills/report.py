"""The report of a drill: its base, and the file that it is written to."""

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class DrillReport(ABC):
    """The result of a drill as fields that are plain values or dataclasses of them."""

    @property
    @abstractmethod
    def lines(self) -> list[str]:
        """The report as text."""

    @property
    @abstractmethod
    def passed(self) -> bool:
        """Whether the system passed the drill."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"passed": self.passed, **asdict(self)}


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write a report as JSON, one line per entry."""
    path.write_text(json.dumps(report, indent=2) + "\n")
