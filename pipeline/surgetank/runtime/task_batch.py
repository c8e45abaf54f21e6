"""A batch of records on its way through the worker."""

from dataclasses import dataclass

from surgetank.records import TaskRecords


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Records of any number of tasks, processed together. ``number`` is the batch number from ProcessBatch."""

    number: int
    tasks: tuple[TaskRecords, ...]

    def __len__(self) -> int:
        return sum(len(records) for records in self.tasks)

    def rows_by_topic(self) -> dict[str, int]:
        """Return the number of records of each source topic."""
        rows: dict[str, int] = {}
        for task in self.tasks:
            for records in task.partitions:
                rows[records.source.topic] = rows.get(records.source.topic, 0) + len(records)
        return rows
