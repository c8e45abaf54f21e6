"""How far the workers of a pipeline are with restoring, told from their own pages of metrics. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.telemetry.exposition_parser import sample_total


@dataclass(frozen=True, slots=True)
class WorkerRestore:
    """A worker: how many of its tasks wait for their state, records restored since it started, and offsets left."""

    address: str
    tasks: int
    restored: int
    remaining: int

    @classmethod
    def of(cls, address: str, page: str) -> "WorkerRestore":
        """Read it from the worker's page."""
        return cls(
            address,
            int(sample_total(page, "surgetank_tasks", state="restoring")),
            int(sample_total(page, "surgetank_restore_records_total")),
            int(sample_total(page, "surgetank_restore_remaining_records")),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


class RestoreProgress:
    """What workers did since each was first looked at."""

    def __init__(self) -> None:
        self._began: dict[str, int] = {}

    def __call__(self, looks: Mapping[str, WorkerRestore]) -> dict[str, tuple[int, int]]:
        """Return by address how many records were restored since the first look, and how many it will be in all."""
        found: dict[str, tuple[int, int]] = {}
        for address, look in looks.items():
            # Less than before: it is another process by now.
            began = self._began[address] = min(self._began.get(address, look.restored), look.restored)
            found[address] = look.restored - began, look.restored - began + look.remaining
        return found
