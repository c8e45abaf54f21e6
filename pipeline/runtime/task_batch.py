"""A batch of records on its way through the worker."""

from dataclasses import dataclass

from pipeline.records import TaskRecords


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Records of any number of tasks, processed together. ``number`` is the batch number from ProcessBatch."""

    number: int
    tasks: tuple[TaskRecords, ...]

    def __len__(self) -> int:
        return sum(len(records) for records in self.tasks)
