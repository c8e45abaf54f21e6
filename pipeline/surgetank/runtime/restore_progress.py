"""Computes the restore progress of a pipeline's workers from their metrics pages. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from surgetank.telemetry.exposition_parser import sample_total


@dataclass(frozen=True, slots=True)
class WorkerRestore:
    """The restore figures of a worker: restoring tasks, records restored since its start, and remaining offsets."""

    address: str
    tasks: int
    restored: int
    remaining: int

    @classmethod
    def of(cls, address: str, page: str) -> "WorkerRestore":
        """Parse the figures from the worker's metrics page."""
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
    """Restore progress of workers since the first observation of each."""

    def __init__(self) -> None:
        self._began: dict[str, int] = {}

    def __call__(self, looks: Mapping[str, WorkerRestore]) -> dict[str, tuple[int, int]]:
        """Return by address the records restored since the first observation, and the expected total."""
        found: dict[str, tuple[int, int]] = {}
        for address, look in looks.items():
            # A lower count means that the worker was restarted.
            began = self._began[address] = min(self._began.get(address, look.restored), look.restored)
            found[address] = look.restored - began, look.restored - began + look.remaining
        return found
