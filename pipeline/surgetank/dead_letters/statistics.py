"""Counts dead letters by stage and reason."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

_BY = ("stage", "reason", "source_topic")


@dataclass(slots=True)
class Group:
    """The letters of one stage, reason and source topic; ``first`` and ``last`` are times of failures, UTC.

    ``example`` is ``partition:offset`` of one of them in the dead-letter topic. A record that is no dead letter of a
    pipeline has no stage, reason, topic and times.
    """

    stage: str | None
    reason: str | None
    source_topic: str | None
    letters: int = 0
    first: datetime | None = None
    last: datetime | None = None
    example: str = ""


@dataclass(slots=True)
class Statistics:
    """The groups of all letters that were added."""

    groups: dict[tuple[str | None, ...], Group] = field(default_factory=dict)

    def add(self, letters: pa.RecordBatch) -> None:
        """Count n letters, ``letters.SCHEMA``."""
        measures = [("offset", "count"), ("time", "min"), ("time", "max"), ("partition", "min"), ("offset", "max")]
        for row in pa.table(letters).group_by(list(_BY)).aggregate(measures).to_pylist():
            key = tuple(row[name] for name in _BY)
            group = self.groups.setdefault(key, Group(*key))
            group.letters += row["offset_count"]
            group.first = min(_known(group.first, row["time_min"]), default=None)
            group.last = max(_known(group.last, row["time_max"]), default=None)
            group.example = f"{row['partition_min']}:{row['offset_max']}"  # a batch has one partition

    def largest_first(self) -> list[Group]:
        """Return the groups, most letters first."""
        return sorted(self.groups.values(), key=lambda group: (-group.letters, str(group.stage), str(group.reason)))


def _known(*times: datetime | None) -> Iterable[datetime]:
    return (time for time in times if time is not None)
